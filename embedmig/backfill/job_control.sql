-- name: pause
-- Nothing is claimed of a paused job; paused_at stays that of the first time.
UPDATE embedmig.backfill
   SET state = 'paused',
       options = CASE state WHEN 'paused' THEN options
                            ELSE options || jsonb_build_object('paused_at', clock_timestamp()) END
 WHERE slot_id = ANY (%(slot_ids)s) AND ended_at IS NULL
RETURNING slot_id;

-- name: take_away
-- The token grows: who held the chunk cannot write any more.
UPDATE embedmig.chunk c SET token = c.token + 1, lease_until = '-infinity'
  FROM embedmig.backfill b
 WHERE b.id = c.backfill_id AND b.slot_id = ANY (%(slot_ids)s) AND b.state = 'paused' AND b.ended_at IS NULL
   AND c.done_at IS NULL AND c.lease_until > clock_timestamp()
   AND (b.options ->> 'paused_at')::timestamptz < clock_timestamp() - make_interval(secs => %(after_s)s);

-- name: resume
UPDATE embedmig.backfill SET state = 'running', options = options - 'paused_at'
 WHERE slot_id = ANY (%(slot_ids)s) AND state = 'paused' AND ended_at IS NULL
RETURNING slot_id;

-- name: cancel
UPDATE embedmig.backfill SET state = 'cancelled', ended_at = clock_timestamp()
 WHERE slot_id = ANY (%(slot_ids)s) AND ended_at IS NULL
RETURNING slot_id;

-- name: fold_cancelled
-- What was spent stays counted; without its chunks nobody can write for the job.
WITH gone AS (
    DELETE FROM embedmig.chunk c USING embedmig.backfill b
     WHERE b.id = c.backfill_id AND b.slot_id = ANY (%(slot_ids)s) AND b.state = 'cancelled'
    RETURNING c.backfill_id, c.rows_written, c.tokens_spent),
sums AS (
    SELECT g.backfill_id, sum(g.rows_written)::bigint AS rows, sum(g.tokens_spent)::bigint AS tokens
      FROM gone g GROUP BY g.backfill_id)
UPDATE embedmig.backfill b
   SET rows_written = b.rows_written + s.rows, tokens_spent = b.tokens_spent + s.tokens
  FROM sums s WHERE s.backfill_id = b.id;

-- name: was_cancelled
SELECT true AS so FROM embedmig.backfill
 WHERE slot_id = ANY (%(slot_ids)s) AND state = 'cancelled' AND ended_at > %(since)s LIMIT 1;

-- name: holders
SELECT coalesce(worker, '') AS worker, count(*)::int AS chunks,
       extract(epoch FROM min(lease_until) - clock_timestamp())::float8 AS lease_left_s
  FROM embedmig.chunk
 WHERE slot_id = %(slot_id)s AND bucket IS NULL AND done_at IS NULL AND lease_until > clock_timestamp()
 GROUP BY worker ORDER BY worker;
