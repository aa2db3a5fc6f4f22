-- name: unvalidated_checks
-- Checks of ours that hold for new rows only so far.
SELECT c.conname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
 WHERE n.nspname = %(schema)s AND t.relname = %(table)s AND c.contype = 'c' AND NOT c.convalidated
   AND starts_with(c.conname::text, 'embedmig_') ORDER BY c.conname;
