-- name: refuse_expand
SELECT embedmig.refuse_expand_v1(%(collection_id)s) AS reason;

-- name: is_our_column
-- By its comment: the name alone could be the user's own.
SELECT starts_with(coalesce(col_description(a.attrelid, a.attnum), ''), 'embedmig: ') AS ours
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND a.attname = %(column)s AND NOT a.attisdropped;
