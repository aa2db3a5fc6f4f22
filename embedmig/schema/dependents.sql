-- name: list_dependents
-- Whatever Postgres itself says would break, or silently go, with a column (or with a whole table, when the column is
-- NULL), on the table and its partitions. Ours are left out: they go with what they are for.
WITH relation AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s AND c.relname = %(table)s
    UNION
    SELECT t.relid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_partition_tree(c.oid) t
     WHERE n.nspname = %(schema)s AND c.relname = %(table)s
), target AS (
    SELECT r.oid, a.attnum FROM relation r
      LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = %(column)s AND NOT a.attisdropped
), reference AS (
    SELECT DISTINCT d.classid, d.objid FROM target t
      JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
       AND (%(column)s::text IS NULL OR d.refobjsubid = t.attnum) AND d.deptype IN ('n', 'a')
    UNION
    -- Functions that take or give rows of the table know its row type, not the table.
    SELECT d.classid, d.objid FROM target t JOIN pg_class c ON c.oid = t.oid
      JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = c.reltype
     WHERE %(column)s::text IS NULL AND d.classid = 'pg_proc'::regclass
)
SELECT DISTINCT CASE v.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'rule' END AS kind,
       CASE WHEN v.relkind IN ('v', 'm') THEN format('%%I.%%I', n.nspname, v.relname)
            ELSE quote_ident(w.rulename) END AS name,
       CASE WHEN v.relkind NOT IN ('v', 'm') THEN format('%%I.%%I', n.nspname, v.relname) END AS on_table
  FROM reference r JOIN pg_rewrite w ON r.classid = 'pg_rewrite'::regclass AND w.oid = r.objid
  JOIN pg_class v ON v.oid = w.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace
 WHERE n.nspname <> 'embedmig'
UNION ALL
SELECT CASE WHEN a.attgenerated = '' THEN 'default' ELSE 'generated column' END, quote_ident(a.attname),
       format('%%I.%%I', n.nspname, c.relname)
  FROM reference r JOIN pg_attrdef f ON r.classid = 'pg_attrdef'::regclass AND f.oid = r.objid
  JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
  JOIN pg_class c ON c.oid = f.adrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT EXISTS (SELECT FROM target t WHERE t.oid = f.adrelid AND (t.attnum = f.adnum OR t.attnum IS NULL))
UNION ALL
SELECT 'index', format('%%I.%%I', n.nspname, c.relname), NULL
  FROM reference r JOIN pg_class c ON r.classid = 'pg_class'::regclass AND c.oid = r.objid AND c.relkind IN ('i', 'I')
  JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am m ON m.oid = c.relam
  JOIN pg_index i ON i.indexrelid = c.oid
 WHERE m.amname IN ('btree', 'hash', 'gist', 'gin', 'spgist', 'brin', 'bloom') AND NOT c.relispartition
   AND NOT (%(column)s::text IS NULL AND i.indrelid IN (SELECT oid FROM relation))
   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
UNION ALL
SELECT DISTINCT CASE k.contype WHEN 'f' THEN 'foreign key' ELSE 'constraint' END, quote_ident(k.conname),
       format('%%I.%%I', n.nspname, c.relname)
  FROM reference r JOIN pg_constraint k ON r.classid = 'pg_constraint'::regclass AND k.oid = r.objid
  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT starts_with(k.conname, 'embedmig_') AND k.conparentid = 0 AND k.contype <> 'n'
   AND NOT (%(column)s::text IS NULL AND k.conrelid IN (SELECT oid FROM relation))
UNION ALL
SELECT 'trigger', quote_ident(g.tgname), format('%%I.%%I', n.nspname, c.relname)
  FROM reference r JOIN pg_trigger g ON r.classid = 'pg_trigger'::regclass AND g.oid = r.objid AND NOT g.tgisinternal
  JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace pn ON pn.oid = p.pronamespace
  JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE pn.nspname <> 'embedmig' AND g.tgparentid = 0
UNION ALL
SELECT 'policy', quote_ident(p.polname), format('%%I.%%I', n.nspname, c.relname)
  FROM reference r JOIN pg_policy p ON r.classid = 'pg_policy'::regclass AND p.oid = r.objid
  JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT starts_with(p.polname, 'embedmig_')
UNION ALL
SELECT 'statistics', format('%%I.%%I', n.nspname, s.stxname), NULL
  FROM reference r JOIN pg_statistic_ext s ON r.classid = 'pg_statistic_ext'::regclass AND s.oid = r.objid
  JOIN pg_namespace n ON n.oid = s.stxnamespace
UNION ALL
SELECT 'publication', quote_ident(p.pubname), format('%%I.%%I', n.nspname, c.relname)
  FROM reference r JOIN pg_publication_rel l ON r.classid = 'pg_publication_rel'::regclass AND l.oid = r.objid
  JOIN pg_publication p ON p.oid = l.prpubid
  JOIN pg_class c ON c.oid = l.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'function', p.oid::regprocedure::text, NULL
  FROM reference r JOIN pg_proc p ON r.classid = 'pg_proc'::regclass AND p.oid = r.objid
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname <> 'embedmig'
UNION ALL
SELECT 'object', pg_describe_object(r.classid, r.objid, 0), NULL
  FROM reference r
 WHERE r.classid NOT IN ('pg_rewrite'::regclass, 'pg_attrdef'::regclass, 'pg_class'::regclass,
                         'pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass,
                         'pg_statistic_ext'::regclass, 'pg_publication_rel'::regclass, 'pg_proc'::regclass)
 ORDER BY 1, 2, 3;

-- name: is_there
SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s
   AND (%(column)s::text IS NULL OR EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = %(column)s AND NOT a.attisdropped));
