-- name: foreign_companion
-- A table where a companion would go, unless its comment says that it is one.
SELECT FROM pg_class c
 WHERE c.relnamespace = to_regnamespace('embedmig') AND c.relname = %(name)s
   AND NOT starts_with(coalesce(obj_description(c.oid, 'pg_class'), ''), %(ours)s);
