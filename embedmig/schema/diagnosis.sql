-- name: server
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_num,
       current_user AS role, current_database() AS database, pg_is_in_recovery() AS standby,
       (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS pgvector,
       current_setting('wal_level') AS wal_level, current_setting('autovacuum')::boolean AS autovacuum,
       has_database_privilege(current_database(), 'CREATE') AS may_create_schema,
       -- Not to_regclass, which fails for a role without USAGE on the schema.
       EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'embedmig' AND c.relname = 'slot') AS installed,
       coalesce((SELECT has_table_privilege(c.oid, 'SELECT')
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = 'embedmig' AND c.relname = 'alembic_version'), false) AS may_read_revision;

-- name: revision
SELECT version_num AS revision FROM embedmig.alembic_version;

-- name: control_rights
SELECT has_schema_privilege('embedmig', 'USAGE') AS usage,
       (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'embedmig') AS owns,
       (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'embedmig') AS owner;

-- name: old_sessions
-- Whose transactions are older than a minute and hold the xmin horizon back: nothing is pruned, no build ends.
SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS name, state, usename AS role,
       extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds
  FROM pg_stat_activity
 WHERE xact_start < clock_timestamp() - interval '1 minute' AND pid <> pg_backend_pid()
   AND backend_type NOT LIKE 'autovacuum%%'
   AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL OR state LIKE 'idle in transaction%%')
 ORDER BY xact_start LIMIT 5;

-- name: prepared_transactions
SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::int AS seconds
  FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 5;

-- name: replication_slots
SELECT slot_name AS name, active, wal_status,
       CASE WHEN NOT pg_is_in_recovery()
            THEN greatest(0, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::bigint END AS retained_bytes,
       xmin IS NOT NULL OR catalog_xmin IS NOT NULL AS holds_horizon
  FROM pg_replication_slots ORDER BY 1;

-- name: table_rights
SELECT pg_has_role(c.relowner, 'USAGE') AS owns, pg_get_userbyid(c.relowner) AS owner,
       current_user AS role, has_table_privilege(c.oid, 'SELECT') AS may_select,
       has_schema_privilege(c.relnamespace, 'USAGE') AS may_look
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s;

-- name: readers
-- Roles that were granted SELECT on a table of the user's: those that may want to search. PUBLIC is none.
SELECT DISTINCT pg_get_userbyid(a.grantee) AS role
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND a.privilege_type = 'SELECT'
   AND a.grantee NOT IN (c.relowner, 0)
 ORDER BY 1;

-- name: reader_rights
SELECT has_schema_privilege(%(role)s, 'embedmig', 'USAGE') AS usage,
       ARRAY(SELECT t FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS named (t, place)
               JOIN pg_namespace n ON n.nspname = (parse_ident(t))[1]
               JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = (parse_ident(t))[2]
              WHERE NOT has_table_privilege(%(role)s, c.oid, 'SELECT') ORDER BY place) AS unreadable;

-- name: is_there
-- Not to_regclass, here and below, which fails for a role without USAGE on the schema.
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = %(schema)s AND c.relname = %(table)s) AS there;

-- name: triggers
-- Ours on a table, and those that a collection's maintained slots call for.
SELECT w.name, t.tgenabled::text AS enabled
  FROM (SELECT format('embedmig_%%s_%%s', %(collection_id)s::int, e) AS name
          FROM unnest(CASE WHEN %(apart)s THEN ARRAY['insert', 'update', 'delete', 'truncate']
                           ELSE ARRAY['insert', 'update'] END) e) w
  LEFT JOIN (pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid AND c.relname = %(table)s
                          JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = %(schema)s) ON t.tgname = w.name
 ORDER BY 1;

-- name: unvalidated_checks
SELECT k.conname AS name FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND starts_with(k.conname, 'embedmig_') AND NOT k.convalidated
 ORDER BY 1;
