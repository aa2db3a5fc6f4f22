-- name: tail
-- What is queued for a slot: rows and the age of the oldest, from the queue alone.
SELECT count(DISTINCT key) AS queued,
       extract(epoch FROM clock_timestamp() - min(queued_at))::float8 AS oldest_s,
       (SELECT count(*) FROM embedmig.failure f WHERE f.slot_id = %(slot_id)s AND NOT f.ignored) AS failed
  FROM embedmig.pending WHERE slot_id = %(slot_id)s AND kind = 'e';
