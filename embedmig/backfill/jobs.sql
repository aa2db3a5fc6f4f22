-- name: lock_planning
-- One at a time plans for a slot; it ends with the transaction.
SELECT pg_advisory_xact_lock(hashtext('embedmig backfill'), %(slot_id)s);

-- name: find_open
SELECT b.id, b.slot_id, b.state, b.rows_planned, b.limit_rows, b.opened_at,
       coalesce(c.rows_done, 0) AS rows_done, coalesce(c.open, 0) AS open, coalesce(c.held, 0) AS held
  FROM embedmig.backfill b
  LEFT JOIN LATERAL (
    SELECT (sum(row_count) FILTER (WHERE done_at IS NOT NULL))::bigint AS rows_done, count(*) FILTER (WHERE done_at IS NULL) AS open,
           count(*) FILTER (WHERE done_at IS NULL AND lease_until > clock_timestamp()) AS held
      FROM embedmig.chunk WHERE backfill_id = b.id) c ON true
 WHERE b.slot_id = %(slot_id)s AND b.ended_at IS NULL;

-- name: open_job
INSERT INTO embedmig.backfill (slot_id, rows_planned) VALUES (%(slot_id)s, 0) RETURNING id;

-- name: drop_open_chunks
-- What nobody holds is cut anew: rows may have come, gone, or been done otherwise since. What was spent stays counted.
WITH gone AS (
    DELETE FROM embedmig.chunk WHERE backfill_id = %(job_id)s AND done_at IS NULL RETURNING rows_written, tokens_spent)
UPDATE embedmig.backfill
   SET rows_written = rows_written + (SELECT coalesce(sum(g.rows_written), 0) FROM gone g),
       tokens_spent = tokens_spent + (SELECT coalesce(sum(g.tokens_spent), 0) FROM gone g)
 WHERE id = %(job_id)s;

-- name: cut_chunks
-- Chunks of %(chunk_rows)s rows each of those that lack a vector, in the order of the key: by rows, so that gaps in the
-- keys make no empty ones. Their position is random, and claims go by it; those with a row that has no vector at all
-- come before those whose rows are bridged.
WITH numbered AS (
    SELECT {key_array} AS key, row_number() OVER (ORDER BY {keys}) AS place, count(*) OVER () AS total,
           {missing} AS is_missing, count(*) FILTER (WHERE {missing}) OVER (ORDER BY {keys}) AS missing
      FROM {table} AS d {join_slot}
     WHERE {wants} AND {lacking}
       AND NOT EXISTS (SELECT FROM embedmig.failure f WHERE f.slot_id = %(slot_id)s AND f.key = {key_array})),
edges AS (
    SELECT key, place, total, lead(key) OVER (ORDER BY place) AS next_key, lead(place) OVER (ORDER BY place) AS next_place,
           missing, is_missing, lead(missing) OVER (ORDER BY place) AS next_missing
      FROM numbered
     WHERE (place - 1) %% %(chunk_rows)s = 0 OR place %% %(chunk_rows)s = 0 OR place = total)
INSERT INTO embedmig.chunk (slot_id, backfill_id, first_key, last_key, row_count, position)
SELECT %(slot_id)s, %(job_id)s, key,
       CASE WHEN place = total OR %(chunk_rows)s = 1 THEN key ELSE next_key END,
       CASE WHEN place = total OR %(chunk_rows)s = 1 THEN 1 ELSE next_place - place + 1 END,
       random() - (is_missing OR place < total AND %(chunk_rows)s > 1 AND next_missing > missing)::int
  FROM edges WHERE (place - 1) %% %(chunk_rows)s = 0;

-- name: set_planned
UPDATE embedmig.backfill b
   SET rows_planned = (SELECT coalesce(sum(row_count), 0) FROM embedmig.chunk c WHERE c.backfill_id = b.id),
       limit_rows = %(limit_rows)s
 WHERE b.id = %(job_id)s RETURNING rows_planned;

-- name: drop_job
DELETE FROM embedmig.backfill WHERE id = %(job_id)s;

-- name: end_job
UPDATE embedmig.backfill SET state = 'done', ended_at = clock_timestamp()
 WHERE id = %(job_id)s AND state = 'running' AND ended_at IS NULL
   AND NOT EXISTS (SELECT FROM embedmig.chunk WHERE backfill_id = %(job_id)s AND done_at IS NULL)
RETURNING id;

-- name: fold_chunks
-- The chunks of a job that ended are no more than a sum.
WITH gone AS (DELETE FROM embedmig.chunk WHERE backfill_id = %(job_id)s RETURNING rows_written, tokens_spent)
UPDATE embedmig.backfill
   SET rows_written = rows_written + (SELECT coalesce(sum(g.rows_written), 0) FROM gone g),
       tokens_spent = tokens_spent + (SELECT coalesce(sum(g.tokens_spent), 0) FROM gone g)
 WHERE id = %(job_id)s;

-- name: table_shape
SELECT greatest(reltuples, 0)::float8 AS rows, relpages::float8 AS pages FROM pg_class
 WHERE oid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = %(schema)s AND c.relname = %(table)s);
