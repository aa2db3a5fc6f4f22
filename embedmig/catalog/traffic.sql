-- name: report_served
SELECT embedmig.report_served_v1(%(counts)s);

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
