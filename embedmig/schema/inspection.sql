-- name: parse_name
-- Raises 22023 where the text is no identifier, such as one with an unquoted space.
SELECT parse_ident(%(text)s) AS parts;

-- name: find_relation
-- One relation by its exact names; without a schema, the first on the search path.
SELECT n.nspname AS schema, c.relname AS table
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname = %(table)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND (n.nspname = %(schema)s OR (%(schema)s::text IS NULL AND n.nspname = ANY (current_schemas(false))))
 ORDER BY array_position(current_schemas(false), n.nspname) LIMIT 1;

-- name: list_tables
SELECT n.nspname AS schema, c.relname AS table
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'embedmig') AND n.nspname NOT LIKE 'pg\_%%'
 ORDER BY 1, 2;

-- name: describe_relation
SELECT c.oid, n.nspname AS schema, c.relname AS table, c.relkind::text AS kind, pg_get_userbyid(c.relowner) AS owner,
       c.relpersistence = 't' AS temporary, c.relispartition AS is_partition,
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS has_children,
       (SELECT i.inhparent::regclass::text FROM pg_inherits i WHERE i.inhrelid = c.oid LIMIT 1) AS parent,
       c.relrowsecurity AS row_security, c.relforcerowsecurity AS force_row_security,
       row_security_active(c.oid) AS rows_hidden, c.relreplident::text AS replica_identity,
       coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions)
                  WHERE option_name = 'fillfactor'), 100) AS fillfactor,
       coalesce((SELECT option_value::boolean FROM pg_options_to_table(c.reloptions)
                  WHERE option_name = 'autovacuum_enabled'), true) AS autovacuum,
       EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid) AS subscribed
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f');

-- name: list_columns
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, t.typname AS type_name,
       CASE WHEN t.typname IN ('vector', 'halfvec') AND a.atttypmod > 0 THEN a.atttypmod END AS dimensions,
       t.typcategory::text AS category, NOT a.attnotnull AS nullable,
       nullif(a.attgenerated::text, '') AS generated, col_description(a.attrelid, a.attnum) AS comment
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum;

-- name: list_key
-- In the order of the key, which need not be the order of the columns. A type outside pg_catalog is always
-- qualified: the name is cast to in sessions with other search paths.
SELECT a.attname AS name,
       CASE WHEN n.nspname = 'pg_catalog' THEN format_type(a.atttypid, a.atttypmod)
            ELSE format('%%I.%%I', n.nspname, t.typname) END AS type
  FROM pg_index i
  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
  JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE i.indrelid = %(oid)s AND i.indisprimary AND k.place <= i.indnkeyatts
 ORDER BY k.place;

-- name: list_leaves
-- The partitions that hold rows, at any depth; none for a plain table.
SELECT n.nspname AS schema, c.relname AS table
  FROM pg_partition_tree(%(oid)s::oid::regclass) p
  JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE p.isleaf AND p.relid <> %(oid)s::oid
 ORDER BY 1, 2;

-- name: measure
-- Of the table, or of all its leaves: heap pages, bytes with TOAST, bytes of indexes, statistics.
SELECT coalesce(sum(pg_relation_size(c.oid)), 0)::bigint AS heap_bytes,
       coalesce(sum(pg_table_size(c.oid)), 0)::bigint AS size_bytes,
       coalesce(sum(pg_indexes_size(c.oid)), 0)::bigint AS index_bytes,
       coalesce(sum(s.n_dead_tup), 0)::bigint AS dead_rows
  FROM (SELECT %(oid)s::oid AS relid UNION SELECT relid FROM pg_partition_tree(%(oid)s::oid::regclass) WHERE isleaf) p
  JOIN pg_class c ON c.oid = p.relid AND c.relkind = 'r'
  LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid;

-- name: list_triggers
-- The user's own, by which of a row's changes fire them. tgtype: 1 row, 2 before, 4 insert, 8 delete, 16 update.
SELECT t.tgname AS name, t.tgtype & 1 = 1 AS for_each_row, t.tgtype & 16 = 16 AS on_update,
       t.tgenabled::text AS enabled, array_length(t.tgattr::int2[], 1) AS column_count,
       pg_get_triggerdef(t.oid) AS definition
  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE t.tgrelid = %(oid)s AND NOT t.tgisinternal AND n.nspname <> 'embedmig'
 ORDER BY 1;

-- name: list_publications
-- Those that carry the table, and whether a column added to it would be carried too.
SELECT p.pubname AS name,
       NOT EXISTS (SELECT FROM pg_publication_rel r
                    WHERE r.prpubid = p.oid AND r.prrelid = %(oid)s AND r.prattrs IS NOT NULL) AS carries_new_columns
  FROM pg_publication_tables t JOIN pg_publication p ON p.pubname = t.pubname
 WHERE t.schemaname = %(schema)s AND t.tablename = %(table)s
    OR EXISTS (SELECT FROM pg_partition_tree(%(oid)s::oid::regclass) l JOIN pg_class c ON c.oid = l.relid
                WHERE c.relnamespace = t.schemaname::regnamespace AND c.relname = t.tablename)
 GROUP BY p.oid, p.pubname ORDER BY 1;

-- name: list_ann_indexes
-- Indexes whose access method is none of Postgres's own, with the column that the first key is or is computed from;
-- on the table and on leaves where no index of the parent covers them. Names are printed as typed in SQL.
SELECT ic.relname AS name, n.nspname AS schema, tc.relname AS table, am.amname AS kind, opc.opcname AS opclass,
       coalesce((SELECT jsonb_object_agg(option_name, option_value) FROM pg_options_to_table(ic.reloptions)), '{}')
           AS options,
       i.indisvalid AS valid, i.indisready AS ready, pg_get_indexdef(i.indexrelid) AS definition,
       CASE WHEN i.indkey[0] = 0 THEN pg_get_indexdef(i.indexrelid, 1, false) END AS expression,
       pg_get_expr(i.indpred, i.indrelid) AS predicate, ic.relkind = 'I' AS partitioned,
       CASE WHEN ic.relkind = 'I'
            THEN (SELECT coalesce(sum(pg_relation_size(t.relid)), 0)::bigint
                    FROM pg_partition_tree(i.indexrelid) t WHERE t.isleaf)
            ELSE pg_relation_size(i.indexrelid) END AS size_bytes,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = i.indrelid AND (a.attnum = i.indkey[0] OR i.indkey[0] = 0 AND EXISTS (
                    SELECT FROM pg_depend d
                     WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                       AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
                       AND d.refobjsubid = a.attnum))) AS columns
  FROM (SELECT %(oid)s::oid AS relid UNION SELECT relid FROM pg_partition_tree(%(oid)s::oid::regclass)) p
  JOIN pg_index i ON i.indrelid = p.relid
  JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
  JOIN pg_opclass opc ON opc.oid = i.indclass[0]
  JOIN pg_class tc ON tc.oid = i.indrelid JOIN pg_namespace n ON n.oid = tc.relnamespace
 WHERE am.amname NOT IN ('btree', 'hash', 'gist', 'gin', 'spgist', 'brin', 'bloom')
   AND (i.indrelid = %(oid)s OR NOT ic.relispartition)
 ORDER BY i.indrelid <> %(oid)s, ic.relname;

-- name: find_vector_columns
SELECT n.nspname AS schema, c.relname AS table, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.atttypmod > 0 THEN a.atttypmod END AS dimensions,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_key
  FROM pg_attribute a
  JOIN pg_type t ON t.oid = a.atttypid AND t.typname IN ('vector', 'halfvec')
  JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
   AND c.relpersistence <> 't' AND a.attgenerated = ''
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'embedmig') AND n.nspname NOT LIKE 'pg\_%%'
   AND has_table_privilege(c.oid, 'SELECT')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
 ORDER BY 1, 2, 3;

-- name: has_extension
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = %(name)s) AS there;

-- name: find_statements
-- Statements as pg_stat_statements keeps them, their constants replaced by parameters.
SELECT DISTINCT query FROM pg_stat_statements
 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query ~* %(pattern)s
 LIMIT 100;
