-- name: sample_pairs
-- Rows whose old vector is true and of their present text, in an order that key and seed alone decide: what comes after
-- the last place of one sample was in none before it. The new vector comes along where it is as true.
WITH k AS MATERIALIZED (
    SELECT {keys}, hashtextextended({key}::text, %(seed)s) AS embedmig_place
      FROM {table} AS d {join_old}
     WHERE {wants} AND {old_is_true}
       AND (%(after)s::bigint IS NULL OR hashtextextended({key}::text, %(seed)s) > %(after)s)
     ORDER BY embedmig_place, {keys} LIMIT %(limit)s)
SELECT {key} AS key, k.embedmig_place AS place, {text} AS text, {old} AS old, {new} AS new
  FROM k JOIN {table} AS d ON {match} {join_old} {join_new}
 ORDER BY k.embedmig_place, {keys};

-- name: pairs_of_keys
-- The same of rows that are named; those that cannot be paired are left out.
WITH k AS MATERIALIZED (
    SELECT {typed}
      FROM jsonb_array_elements(%(given)s) AS j (element),
           LATERAL (SELECT array(SELECT jsonb_array_elements_text(element)) AS embedmig_given) AS g)
SELECT {key} AS key, hashtextextended({key}::text, %(seed)s) AS place, {text} AS text, {old} AS old, {new} AS new
  FROM k JOIN {table} AS d ON {match} {join_old} {join_new}
 WHERE {wants} AND {old_is_true}
 ORDER BY {keys};
