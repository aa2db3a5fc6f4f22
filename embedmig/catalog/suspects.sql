-- name: mark
INSERT INTO embedmig.suspect AS t (slot_id, key, writer, written_at, cosine, vector)
VALUES (%(slot_id)s, %(key)s, %(writer)s, %(written_at)s, %(cosine)s, %(vector)s)
ON CONFLICT (slot_id, key) DO UPDATE
   SET writer = excluded.writer, written_at = excluded.written_at, cosine = excluded.cosine, vector = excluded.vector,
       found_at = clock_timestamp();

-- name: clear
DELETE FROM embedmig.suspect WHERE slot_id = %(slot_id)s AND key = %(key)s;

-- name: list_marked
SELECT slot_id, key, writer, written_at, cosine, vector, found_at FROM embedmig.suspect
 WHERE slot_id = %(slot_id)s ORDER BY found_at, key LIMIT %(limit)s;

-- name: list_writers
-- Who wrote what is marked, by slot that is still there.
SELECT s.name AS slot, m.name || '@' || m.revision AS model, coalesce(t.writer, 'somebody') AS writer,
       count(*) AS rows, min(t.written_at) AS since
  FROM embedmig.suspect t JOIN embedmig.slot s ON s.id = t.slot_id JOIN embedmig.model m ON m.id = s.model_id
 WHERE s.collection_id = %(collection_id)s AND s.dropped_at IS NULL
 GROUP BY s.id, m.id, t.writer ORDER BY s.id, since;

-- name: add_compared
INSERT INTO embedmig.guarded AS t (slot_id, compared, mismatched) VALUES (%(slot_id)s, %(compared)s, %(mismatched)s)
ON CONFLICT (slot_id) DO UPDATE
   SET compared = t.compared + excluded.compared, mismatched = t.mismatched + excluded.mismatched,
       looked_at = clock_timestamp();

-- name: guarded
SELECT s.name AS slot, g.compared, g.mismatched, g.looked_at
  FROM embedmig.guarded g JOIN embedmig.slot s ON s.id = g.slot_id
 WHERE s.collection_id = %(collection_id)s AND s.dropped_at IS NULL ORDER BY s.id;
