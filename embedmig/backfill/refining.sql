-- name: lock_rows
-- Of these keys (a JSON array of arrays) those that no other session is embedding at this moment, now held by this one.
-- Advisory, so that nothing of a killed process is left, and no transaction is open while a model computes.
WITH wanted AS MATERIALIZED (
    SELECT ARRAY(SELECT jsonb_array_elements_text(k)) AS key FROM jsonb_array_elements(%(keys)s::jsonb) AS k)
SELECT key FROM wanted WHERE pg_try_advisory_lock(hashtextextended(key::text, %(slot_id)s));

-- name: unlock_rows
SELECT pg_advisory_unlock(hashtextextended(k.key::text, %(slot_id)s))
  FROM (SELECT ARRAY(SELECT jsonb_array_elements_text(k)) AS key FROM jsonb_array_elements(%(keys)s::jsonb) AS k) AS k;

-- name: claim_refinement
-- A chunk of its own for what is written, fenced as a worker's: buckets from 100 on hold no queue, and are nobody's to
-- claim but a refinement's.
WITH free AS (
    SELECT id FROM embedmig.chunk
     WHERE slot_id = %(slot_id)s AND bucket >= 100 AND lease_until < clock_timestamp()
     ORDER BY bucket LIMIT 1 FOR UPDATE SKIP LOCKED)
UPDATE embedmig.chunk AS c
   SET token = token + 1, worker = %(worker)s, backend = %(backend)s,
       lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
  FROM free WHERE c.id = free.id
RETURNING c.id, slot_id, bucket, first_key, last_key, row_count, token;

-- name: add_refinement
INSERT INTO embedmig.chunk (slot_id, bucket)
SELECT %(slot_id)s, coalesce(max(bucket), 99) + 1 FROM embedmig.chunk WHERE slot_id = %(slot_id)s AND bucket >= 100
ON CONFLICT (slot_id, bucket) WHERE bucket IS NOT NULL DO NOTHING;

-- name: book
-- What a model was called for counts against the budget of the slot's job, whatever becomes of the vectors.
UPDATE embedmig.backfill SET rows_written = rows_written + %(rows)s, tokens_spent = tokens_spent + %(tokens)s
 WHERE slot_id = %(slot_id)s AND ended_at IS NULL;

-- name: forget_found
-- The rows are true now: nobody need look at them again for having been found.
DELETE FROM embedmig.pending AS p
 USING (SELECT ARRAY(SELECT jsonb_array_elements_text(k)) AS key FROM jsonb_array_elements(%(keys)s::jsonb) AS k) AS k
 WHERE p.slot_id = %(slot_id)s AND p.kind = 'f' AND p.key = k.key;

-- name: key_texts
-- Keys as the driver gave them, as the queue holds them: Postgres itself prints them.
SELECT ARRAY[{printed}]::text[] AS key
  FROM unnest({arrays}) WITH ORDINALITY AS k ({places}, embedmig_place) ORDER BY embedmig_place;
