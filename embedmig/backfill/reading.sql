-- name: list_lacking
-- The rows of a key range that have text and no vector by the slot's model, with the length of their text.
SELECT {keys}, {bytes} AS bytes, {ctid} AS ctid
  FROM {table} AS d {look_up_slot}
 WHERE ({keys}) >= ({first}) AND ({keys}) <= ({last}) AND {wants} AND {lacking}
   AND NOT EXISTS (SELECT FROM embedmig.failure f WHERE f.slot_id = %(slot_id)s AND f.key = {key_array});

-- name: read_rows
-- Rows by key: what is to be done with each, and the text where it is to be embedded. LATERAL ... OFFSET 0 looks each
-- key up by the primary key, whatever the planner thinks of the array, and computes the text hash once.
--   w: embed and write; c: remove a vector of ours that has no text any more; n: right as it is.
-- brought: the last entry that tells of a vector by the application, in the same snapshot as the vector itself.
SELECT {keys_of_k}, v.action, CASE WHEN v.action = 'w' THEN {text} END AS text, t.hash, {seen} AS seen,
       {hash} IS NOT NULL AS recorded, {brought} AS brought, {vector} IS NULL AS fresh
  FROM (SELECT {typed_keys}, q.embedmig_forced, q.embedmig_place
          FROM unnest({key_parameters}, %(forced)s::boolean[]) WITH ORDINALITY AS q
                  ({places}, embedmig_forced, embedmig_place)) AS k
  LEFT JOIN LATERAL (SELECT * FROM {table} AS d WHERE {match} OFFSET 0) AS d ON true
  {look_up_slot_of_k}
 CROSS JOIN LATERAL (SELECT {wants} AS wants, CASE WHEN {wants} THEN {text_hash} END AS hash OFFSET 0) AS t
 CROSS JOIN LATERAL (
    SELECT CASE WHEN t.wants AND ({lacking} OR {hash} <> t.hash OR (k.embedmig_forced AND {hash} IS NULL)) THEN 'w'
                WHEN NOT t.wants AND {vector} IS NOT NULL AND ({ours} OR (k.embedmig_forced AND {in_scope})) THEN 'c'
                ELSE 'n' END AS action OFFSET 0) AS v
 ORDER BY k.embedmig_place;
