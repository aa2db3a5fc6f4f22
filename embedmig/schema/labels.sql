-- name: ours_among
SELECT a.attname AS name
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND a.attname = ANY (%(names)s) AND NOT a.attisdropped
   AND starts_with(coalesce(col_description(a.attrelid, a.attnum), ''), 'embedmig: ');

-- name: is_declared
-- A label that came with a migration is what was declared of vectors that were there; expand's comment says so.
SELECT col_description(a.attrelid, a.attnum) ~ '^embedmig: .*, as declared$' AS declared
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND a.attname = %(name)s AND NOT a.attisdropped;
