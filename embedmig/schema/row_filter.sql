-- All of these are for the index embedmig_filter on the temporary twin, whose predicate the filter is.

-- name: columns_read
SELECT a.attname::text AS name
  FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
 WHERE d.classid = 'pg_class'::regclass AND d.objid = 'pg_temp.embedmig_filter'::regclass
   AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
 ORDER BY a.attnum;

-- name: qualify_all_names
-- pg_get_expr leaves out the schemas that the search path leads to.
SELECT set_config('search_path', 'pg_catalog', true);

-- name: print_condition
SELECT pg_get_expr(indpred, indrelid) AS condition FROM pg_index
 WHERE indexrelid = 'pg_temp.embedmig_filter'::regclass;
