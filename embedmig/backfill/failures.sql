-- name: list_failures
SELECT key, reason, attempts, failed_at, ignored FROM embedmig.failure
 WHERE slot_id = %(slot_id)s AND (%(with_ignored)s OR NOT ignored)
 ORDER BY failed_at DESC, key LIMIT %(limit)s;

-- name: count_failures
SELECT count(*) FILTER (WHERE NOT ignored) AS failed, count(*) FILTER (WHERE ignored) AS ignored
  FROM embedmig.failure WHERE slot_id = %(slot_id)s;

-- name: retry
-- Queues rows that failed, once: the failure stays until the row succeeds, or fails again.
WITH asked AS (
    UPDATE embedmig.failure SET ignored = false
     WHERE slot_id = %(slot_id)s AND (%(keys)s::text[] IS NULL OR array_to_json(key)::text = ANY (%(keys)s))
       AND (%(keys)s::text[] IS NOT NULL OR NOT ignored)
    RETURNING key)
INSERT INTO embedmig.pending (slot_id, bucket, key)
SELECT %(slot_id)s, embedmig.bucket_v1(key), key FROM asked;

-- name: ignore
UPDATE embedmig.failure SET ignored = true
 WHERE slot_id = %(slot_id)s AND NOT ignored
   AND (%(keys)s::text[] IS NULL OR array_to_json(key)::text = ANY (%(keys)s))
RETURNING key;
