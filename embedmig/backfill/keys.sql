-- name: key_types
SELECT a.attname AS name, a.atttypid::bigint AS oid, t.typarray::bigint AS array_oid,
       t.typsend <> 0 AND t.typreceive <> 0 AS "binary", format_type(a.atttypid, a.atttypmod) AS type
  FROM unnest(%(names)s::text[]) WITH ORDINALITY AS k (name, place)
  JOIN pg_attribute a ON a.attname = k.name AND NOT a.attisdropped
   AND a.attrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                      WHERE n.nspname = %(schema)s AND c.relname = %(table)s)
  JOIN pg_type t ON t.oid = a.atttypid
 ORDER BY k.place;
