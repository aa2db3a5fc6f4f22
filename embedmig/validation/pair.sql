-- name: count_pair
-- Which rows can be judged, in one pass and one snapshot; rows without text count only where both slots hold a vector.
SELECT count(*) FILTER (WHERE old AND new) AS judged,
       count(*) FILTER (WHERE wants AND old AND NOT new) AS only_source,
       count(*) FILTER (WHERE wants AND new AND NOT old) AS only_target,
       count(*) FILTER (WHERE old AND new AND source_bridged) AS source_bridged,
       count(*) FILTER (WHERE old AND new AND target_bridged) AS target_bridged
  FROM (SELECT {wants} AS wants, coalesce({source_held}, false) AS old, coalesce({target_held}, false) AS new,
               {source_bridged} AS source_bridged, {target_bridged} AS target_bridged
          FROM {rows} WHERE {in_scope}) AS r;

-- name: count_ignored
-- Rows that a person gave up: they lack a vector for good, and are no part that is still to come.
SELECT count(*) AS ignored FROM embedmig.failure WHERE slot_id = %(slot_id)s AND ignored;

-- name: stream
-- The vectors first: they have the same width in every row, the key has not.
SELECT {vectors}, {key} FROM {rows} WHERE {judged};

-- name: sample_rows
-- In an order that the key alone decides: the same sample for the same seed, whatever was written in between.
SELECT {key} AS key, {columns} FROM {rows} WHERE {judged}
 ORDER BY hashtextextended({key}::text, %(seed)s), {keys} LIMIT %(limit)s;

-- name: find_keys
-- Keys as people write them beside the same as Postgres prints them; what is no judged row's key is left out.
WITH k AS MATERIALIZED (
    SELECT embedmig_given, {typed}
      FROM jsonb_array_elements(%(given)s) AS j (element),
           LATERAL (SELECT array(SELECT jsonb_array_elements_text(element)) AS embedmig_given) AS g)
SELECT k.embedmig_given AS given, {key} AS key FROM k JOIN {rows} ON {match} WHERE {judged};

-- name: read_rows
-- What judged rows hold, by their keys.
WITH k AS MATERIALIZED (
    SELECT {typed}
      FROM jsonb_array_elements(%(given)s) AS j (element),
           LATERAL (SELECT array(SELECT jsonb_array_elements_text(element)) AS embedmig_given) AS g)
SELECT {key} AS key, {columns} FROM k JOIN {rows} ON {match} WHERE {judged};

-- name: read_column
WITH k AS MATERIALIZED (
    SELECT {typed}
      FROM jsonb_array_elements(%(given)s) AS j (element),
           LATERAL (SELECT array(SELECT jsonb_array_elements_text(element)) AS embedmig_given) AS g)
SELECT {key} AS key, {value} AS value FROM k JOIN {table} AS d ON {match};

-- name: find_documents
-- Which documents have a judged row.
SELECT DISTINCT {document} AS document FROM {rows} WHERE {judged} AND {document} = ANY(%(given)s);

-- name: read_first_of
-- What each document begins with: of its first row by key.
SELECT DISTINCT ON ({document}) {document} AS document, {value} AS value FROM {table} AS d
 WHERE {document} = ANY(%(given)s) ORDER BY {document}, {keys};
