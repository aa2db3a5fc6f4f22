-- name: report_served
SELECT embedmig.report_served_v1(%(counts)s);

-- name: report_shadows
SELECT embedmig.report_shadows_v1(%(counts)s);

-- name: report_queries
SELECT embedmig.report_queries_v1(%(collection_id)s, %(queries)s);

-- name: list_served
-- What was answered since, by hour and slot, the newest hour first.
SELECT t.hour, s.name AS slot, t.slot_id, t.epoch, t.chosen_by, t.requests, t.errors, t.empty, t.embed_us, t.latency
  FROM embedmig.served t JOIN embedmig.slot s ON s.id = t.slot_id
 WHERE s.collection_id = %(collection_id)s AND t.hour + interval '1 hour' > %(since)s
 ORDER BY t.hour DESC, s.id, t.epoch, t.chosen_by;

-- name: count_served
-- An hour counts whole when a part of it does: counts know no minutes.
SELECT coalesce(sum(t.requests), 0)::bigint AS requests, max(t.hour) AS last_hour FROM embedmig.served t
 WHERE t.slot_id = %(slot_id)s AND t.hour + interval '1 hour' > clock_timestamp() - make_interval(secs => %(hours)s * 3600);

-- name: list_shadows
-- Pairs of the migration's two slots since, at these epochs or later, the newest hour first.
SELECT hour, epoch, label, drawn, overlap, errors, empty, source_embed_us, target_embed_us, source_latency,
       target_latency, dropped_queue, dropped_epoch, not_shadowed
  FROM embedmig.shadow
 WHERE source_id = %(source_id)s AND target_id = %(target_id)s AND epoch >= %(epoch)s
   AND hour + interval '1 hour' > %(since)s
 ORDER BY hour DESC, epoch, label, drawn;

-- name: list_queries
-- The most frequent first.
SELECT text, label, times FROM embedmig.shadow_query WHERE collection_id = %(collection_id)s
 ORDER BY times DESC, text_hash, label LIMIT %(limit)s;

-- name: forget_queries
DELETE FROM embedmig.shadow_query WHERE collection_id = %(collection_id)s;
