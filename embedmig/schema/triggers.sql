-- name: replace_triggers
SELECT embedmig.replace_triggers_v1(%(collection_id)s);

-- name: list_triggers
-- Ours by their name, not by their function: that may be gone or broken. Copies on partitions go with their parent's.
SELECT t.tgname AS name, n.nspname AS schema, c.relname AS "table"
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE t.tgname ~ '^embedmig_[0-9]+_(insert|update|delete|truncate)$' AND t.tgparentid = 0 AND NOT t.tgisinternal
   AND (%(schema)s::text IS NULL OR n.nspname = %(schema)s) AND (%(table)s::text IS NULL OR c.relname = %(table)s)
 ORDER BY 2, 3, 1;
