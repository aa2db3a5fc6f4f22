-- name: find_budget
-- The strictest of the open jobs: all of them were given the same.
SELECT min((options ->> 'max_cost')::float8) AS max_cost, min((options ->> 'max_rows')::float8) AS max_rows,
       min((options ->> 'max_seconds')::float8) AS max_seconds
  FROM embedmig.backfill WHERE slot_id = ANY (%(slot_ids)s) AND ended_at IS NULL;

-- name: set_budget
-- A limit that is taken off is stored as null.
UPDATE embedmig.backfill SET options = options || %(said)s::jsonb
 WHERE slot_id = ANY (%(slot_ids)s) AND ended_at IS NULL;

-- name: spent
SELECT (b.rows_written + coalesce(c.rows, 0))::bigint AS rows, (b.tokens_spent + coalesce(c.tokens, 0))::bigint AS tokens,
       coalesce((b.options ->> 'seconds')::float8, 0) AS seconds,
       coalesce((b.options ->> 'requests')::bigint, 0) AS requests,
       coalesce((b.options ->> 'retries')::bigint, 0) AS retries,
       coalesce((b.options ->> 'billed')::boolean, false) AS billed
  FROM embedmig.backfill b
  LEFT JOIN LATERAL (SELECT sum(k.rows_written) AS rows, sum(k.tokens_spent) AS tokens
                       FROM embedmig.chunk k WHERE k.backfill_id = b.id) AS c ON true
 WHERE b.slot_id = %(slot_id)s AND b.ended_at IS NULL;

-- name: note_use
-- Each run adds its own share, so that nothing is lost when several do.
UPDATE embedmig.backfill
   SET options = options || jsonb_build_object(
         'seconds', coalesce((options ->> 'seconds')::float8, 0) + %(seconds)s::float8,
         'requests', coalesce((options ->> 'requests')::bigint, 0) + %(requests)s::bigint,
         'retries', coalesce((options ->> 'retries')::bigint, 0) + %(retries)s::bigint,
         'billed', coalesce((options ->> 'billed')::boolean, true) AND %(billed)s::boolean)
 WHERE slot_id = ANY (%(slot_ids)s) AND ended_at IS NULL;
