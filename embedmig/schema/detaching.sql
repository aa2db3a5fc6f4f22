-- name: name_is_taken
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = %(schema)s AND c.relname = %(name)s) AS taken;

-- name: has_catalog
SELECT to_regclass('embedmig.collection') IS NOT NULL AS has;

-- name: table_of
SELECT table_schema AS schema, table_name AS "table" FROM embedmig.collection WHERE name = %(name)s;
