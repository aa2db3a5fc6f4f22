-- name: refuse_expand
SELECT embedmig.refuse_expand_v1(%(collection_id)s) AS reason;
