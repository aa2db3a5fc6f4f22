-- name: vector_schema
-- Where pgvector is, when a bare "vector" would not be found.
SELECT n.nspname AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = 'vector' AND n.nspname <> ALL (current_schemas(true));

-- name: names_in_embedmig
SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = 'embedmig'::regnamespace;

-- name: names_of_columns
SELECT a.attname AS name FROM pg_attribute a
 WHERE a.attrelid = %(table)s::regclass AND a.attnum > 0 AND NOT a.attisdropped;
