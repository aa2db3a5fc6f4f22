-- name: sample_vectors
-- Rows with text and a vector, in an order that key and seed alone decide. A vector by another model than the slot's
-- comes along, to be counted; a stale one too: its text is not the present one.
SELECT {key} AS key, {text} AS text, {vector} AS vector, {bridged} AS bridged, {stale} AS stale
  FROM {table} AS d {join_slot}
 WHERE {wants} AND {vector} IS NOT NULL
 ORDER BY hashtextextended({key}::text, %(seed)s), {keys} LIMIT %(limit)s;
