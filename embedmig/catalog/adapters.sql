-- name: insert_adapter
-- The digests of both fingerprints are those of this moment: they are what the pairs were made with.
INSERT INTO embedmig.adapter (collection_id, name, direction, from_model_id, to_model_id, from_fingerprint,
                              to_fingerprint, kind, normalise, body, provenance)
SELECT %(collection_id)s, %(name)s, %(direction)s, f.id, t.id, md5(f.fingerprint)::uuid, md5(t.fingerprint)::uuid,
       %(kind)s, %(normalise)s, %(body)s, %(provenance)s
  FROM embedmig.model f, embedmig.model t
 WHERE f.id = %(from_model_id)s AND t.id = %(to_model_id)s
ON CONFLICT DO NOTHING RETURNING id;

-- name: list_adapters
-- The newest first, without their bodies; the slot's name is that of a slot dropped since, too.
SELECT a.id, a.collection_id, a.name, a.direction, a.kind, a.normalise, a.provenance, a.health, a.created_at, a.slot_id,
       a.used_since, a.dropped_at, s.name AS slot, octet_length(a.body) AS size_bytes,
       f.name || '@' || f.revision AS from_model, t.name || '@' || t.revision AS to_model,
       a.from_fingerprint IS DISTINCT FROM md5(f.fingerprint)::uuid AS from_changed,
       a.to_fingerprint IS DISTINCT FROM md5(t.fingerprint)::uuid AS to_changed
  FROM embedmig.adapter a
  JOIN embedmig.model f ON f.id = a.from_model_id
  JOIN embedmig.model t ON t.id = a.to_model_id
  LEFT JOIN embedmig.slot s ON s.id = a.slot_id
 WHERE a.collection_id = %(collection_id)s AND (a.dropped_at IS NULL OR %(dropped)s)
 ORDER BY a.id DESC;

-- name: next_number
-- As with slots, a number means one adapter only, in old events too.
SELECT coalesce(max(substring(name FROM '^a([0-9]{1,9})$')::int), 0) + 1 AS number
  FROM embedmig.adapter WHERE collection_id = %(collection_id)s;

-- name: find_body
-- With both models' fingerprints as they are registered now.
SELECT a.body, f.fingerprint AS from_fingerprint, t.fingerprint AS to_fingerprint,
       f.name || '@' || f.revision AS from_model, t.name || '@' || t.revision AS to_model
  FROM embedmig.adapter a
  JOIN embedmig.model f ON f.id = a.from_model_id
  JOIN embedmig.model t ON t.id = a.to_model_id
 WHERE a.id = %(id)s AND a.dropped_at IS NULL;

-- name: mark_used
UPDATE embedmig.adapter SET slot_id = %(slot_id)s, used_since = clock_timestamp()
 WHERE id = %(id)s AND dropped_at IS NULL;

-- name: mark_unused
-- Whatever adapter of that direction stood at the slot.
UPDATE embedmig.adapter SET slot_id = NULL, used_since = NULL
 WHERE slot_id = %(slot_id)s AND direction = %(direction)s AND dropped_at IS NULL;

-- name: mark_dropped
-- What it was, and where it was used, stays for the record; the map goes.
UPDATE embedmig.adapter SET dropped_at = clock_timestamp(), body = NULL WHERE id = %(id)s AND dropped_at IS NULL;

-- name: note_health
UPDATE embedmig.adapter SET health = %(health)s WHERE id = %(id)s;

-- name: insert_output
INSERT INTO embedmig.adapter_output (adapter_id, position, weights, bias)
VALUES (%(adapter_id)s, %(position)s, %(weights)s, %(bias)s) ON CONFLICT DO NOTHING;

-- name: delete_outputs
DELETE FROM embedmig.adapter_output WHERE adapter_id = %(adapter_id)s;
