-- name: count_rows
-- Every row of the table in one pass and one snapshot. wrong_key is built only where something is wrong, so that the
-- join with the queue costs nothing on a table that is right; OFFSET 0 keeps the text hash from being computed twice.
WITH queued AS MATERIALIZED (
    SELECT key, bool_or(kind = 'e') AS edited, bool_or(kind = 'a') AS brought
      FROM embedmig.pending
     WHERE slot_id = %(slot_id)s AND key IS NOT NULL AND ready < 'infinity' AND kind IN ('e', 'a')
     GROUP BY key),
failed AS MATERIALIZED (
    SELECT key FROM embedmig.failure WHERE slot_id = %(slot_id)s),
state AS (
    SELECT scoped, wants, there, model, recorded, stale, unwanted,
           CASE WHEN (wants AND NOT there) OR stale OR unwanted THEN key END AS wrong_key
      FROM (SELECT {in_scope} AS scoped, {wants} AS wants, {vector} IS NOT NULL AS there, {model} AS model,
                   {hash} IS NOT NULL AS recorded, {wants} AND {stale} AS stale, {unwanted} AS unwanted,
                   {key} AS key
              FROM {table} AS d {join_slot} OFFSET 0) AS row),
judged AS (
    SELECT state.*, coalesce(q.edited, false) AS edited,
           coalesce(q.brought AND NOT q.edited, false) AS brought,
           q.key IS NULL AND f.key IS NULL AS unnoticed
      FROM state
      LEFT JOIN queued q ON q.key = state.wrong_key
      LEFT JOIN failed f ON f.key = state.wrong_key),
gone AS (
    SELECT count(*) AS orphans, count(*) FILTER (WHERE q.key IS NULL) AS unnoticed
      FROM ({gone}) AS g LEFT JOIN queued q USING (key))
SELECT count(*) FILTER (WHERE scoped) AS rows,
       count(*) FILTER (WHERE scoped AND NOT wants) AS without_text,
       count(*) FILTER (WHERE wants AND there AND model = %(model_id)s) AS "true",
       count(*) FILTER (WHERE wants AND there AND model = %(bridge_id)s) AS bridged,
       count(*) FILTER (WHERE wants AND there AND (model IN (%(model_id)s, %(bridge_id)s)) IS NOT TRUE) AS other_model,
       count(*) FILTER (WHERE wants AND NOT there) AS missing,
       count(*) FILTER (WHERE stale AND NOT brought) AS stale,
       count(*) FILTER (WHERE wants AND there AND (NOT recorded OR brought)) AS unrecorded,
       count(*) FILTER (WHERE wants AND NOT there AND unnoticed) AS missing_not_queued,
       count(*) FILTER (WHERE stale AND unnoticed) AS stale_not_queued,
       count(*) FILTER (WHERE unwanted) + (SELECT orphans FROM gone) AS orphans,
       count(*) FILTER (WHERE unwanted AND unnoticed) + (SELECT unnoticed FROM gone) AS orphans_not_queued,
       (SELECT count(*) FROM queued WHERE queued.edited) AS queued,
       (SELECT extract(epoch FROM clock_timestamp() - min(queued_at))::float8 FROM embedmig.pending
         WHERE slot_id = %(slot_id)s AND kind = 'e') AS oldest_queued_s,
       (SELECT count(*) FROM embedmig.failure WHERE slot_id = %(slot_id)s AND NOT ignored) AS failed,
       (SELECT count(*) FROM embedmig.failure WHERE slot_id = %(slot_id)s AND ignored) AS ignored
  FROM judged;

-- name: wrong_rows
-- The keys behind the counts, in the order of the key, at most %(limit)s.
WITH queued AS MATERIALIZED (
    SELECT DISTINCT key FROM embedmig.pending
     WHERE slot_id = %(slot_id)s AND key IS NOT NULL AND ready < 'infinity' AND kind IN ('e', 'a')),
wrong AS (
    SELECT key, what, nr
      FROM (SELECT {key} AS key, row_number() OVER (ORDER BY {keys}) AS nr,
                   CASE WHEN {unwanted} THEN 'orphan'
                        WHEN NOT {wants} THEN NULL
                        WHEN {vector} IS NULL THEN 'missing'
                        WHEN ({model} IN (%(model_id)s, %(bridge_id)s)) IS NOT TRUE THEN 'other_model'
                        WHEN {stale} THEN 'stale' END AS what
              FROM {table} AS d {join_slot}) AS row
     WHERE what IS NOT NULL
     UNION ALL SELECT key, 'orphan', NULL FROM ({gone}) AS g)
SELECT wrong.key, wrong.what, q.key IS NOT NULL AS queued, f.reason AS failure, coalesce(f.ignored, false) AS ignored
  FROM wrong LEFT JOIN queued q USING (key)
  LEFT JOIN embedmig.failure f ON f.slot_id = %(slot_id)s AND f.key = wrong.key
 ORDER BY wrong.nr NULLS LAST LIMIT %(limit)s;
