-- name: open_run
-- Rows of processes that died are taken along.
WITH gone AS (
    DELETE FROM embedmig.run
     WHERE collection_id = %(collection_id)s AND seen_at < clock_timestamp() - interval '1 hour')
INSERT INTO embedmig.run (collection_id, host, pid, workers, follow)
VALUES (%(collection_id)s, %(host)s, %(pid)s, %(workers)s, %(follow)s) RETURNING id;

-- name: report_run
UPDATE embedmig.run
   SET phase = %(phase)s, held_back = %(held_back)s, rows_per_s = %(rows_per_s)s, tokens_per_s = %(tokens_per_s)s,
       eta_s = %(eta_s)s, seen_at = clock_timestamp()
 WHERE id = %(id)s;

-- name: end_run
DELETE FROM embedmig.run WHERE id = %(id)s;

-- name: list_runs
SELECT host, pid, workers, follow, phase, held_back, rows_per_s, tokens_per_s, eta_s, began_at,
       extract(epoch FROM clock_timestamp() - seen_at)::float8 AS silent_s
  FROM embedmig.run
 WHERE collection_id = %(collection_id)s AND seen_at > clock_timestamp() - interval '1 minute'
 ORDER BY began_at, id;
