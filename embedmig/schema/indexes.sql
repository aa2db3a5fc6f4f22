-- name: hold
-- One build of a slot at a time; the lock goes with the session.
SELECT pg_try_advisory_lock(%(class_id)s, %(slot_id)s) AS held;

-- name: who_holds
SELECT a.pid, a.application_name, a.client_addr::text AS host,
       round(extract(epoch FROM clock_timestamp() - coalesce(a.query_start, a.backend_start)))::int AS seconds
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.classid = %(class_id)s AND l.objid = %(slot_id)s AND l.granted
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: progress
-- Of one backend's CREATE INDEX. pgvector counts blocks while it reads the table, tuples while it sorts or assigns.
SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total, lockers_done, lockers_total,
       nullif(current_locker_pid, 0) AS waits_for_pid
  FROM pg_stat_progress_create_index WHERE pid = %(pid)s;

-- name: find_index
-- By name in the table's schema, where the index's own name would be taken.
SELECT i.indisvalid AS valid, i.indrelid = to_regclass(%(table)s) AS same_table, c.relkind::text AS kind,
       (SELECT p.pid FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid LIMIT 1) AS building_pid
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_index i ON i.indexrelid = c.oid
 WHERE n.nspname = %(schema)s AND c.relname = %(name)s;

-- name: vector_schema
SELECT n.nspname AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = 'vector';

-- name: partition_tree
-- The table and its partitions, the deepest first, each with its parent; the table alone when it has none.
SELECT n.nspname AS schema, c.relname AS table, c.relkind = 'p' AS partitioned,
       pn.nspname AS parent_schema, p.relname AS parent_table
  FROM (SELECT %(oid)s::oid AS relid, NULL::oid AS parentrelid, 0 AS level
         WHERE NOT EXISTS (SELECT FROM pg_partition_tree(%(oid)s::oid::regclass))
        UNION ALL
        SELECT relid, parentrelid, level FROM pg_partition_tree(%(oid)s::oid::regclass)) t
  JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_class p ON p.oid = t.parentrelid LEFT JOIN pg_namespace pn ON pn.oid = p.relnamespace
 ORDER BY t.level DESC, 1, 2;

-- name: is_attached
SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(%(child)s) AND inhparent = to_regclass(%(parent)s))
    AS attached;

-- name: memory_settings
SELECT pg_size_bytes(current_setting('maintenance_work_mem')) AS maintenance_work_mem_bytes,
       pg_size_bytes(current_setting('shared_buffers')) AS shared_buffers_bytes,
       current_setting('max_parallel_maintenance_workers')::int AS parallel_workers,
       current_setting('dynamic_shared_memory_type') = 'posix' AS shares_by_posix;

-- name: who_blocks
SELECT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'another role') AS name
  FROM unnest(pg_blocking_pids(%(pid)s)) AS blocking (pid) JOIN pg_stat_activity a USING (pid)
 ORDER BY a.xact_start LIMIT 1;

-- name: read_size
SELECT pg_size_bytes(%(text)s) AS bytes;

-- name: read_mounts
-- Only those who may read the server's files see it.
SELECT pg_read_file('/proc/mounts') AS mounts, pg_read_file('/proc/meminfo') AS meminfo;

-- name: set_for_the_session
-- A role's own time-outs must not end a build of hours.
SELECT set_config('maintenance_work_mem', %(memory)s, false),
       set_config('max_parallel_maintenance_workers', %(workers)s, false),
       set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false);

-- name: set_lock_timeout
SELECT set_config('lock_timeout', %(timeout)s, false);

-- name: index_size
SELECT CASE WHEN c.relkind = 'I'
            THEN (SELECT coalesce(sum(pg_relation_size(relid)), 0) FROM pg_partition_tree(c.oid) WHERE isleaf)
            ELSE pg_relation_size(c.oid) END::bigint AS bytes
  FROM pg_class c WHERE c.oid = to_regclass(%(index)s);
