-- name: replica_lag
-- NULL without replicas, for one that has nothing to replay, and for a role that may not see it.
SELECT max(extract(epoch FROM replay_lag))::float8 AS value FROM pg_stat_replication;

-- name: running_queries
-- Of this database, by others than embedmig's workers; a role without pg_read_all_stats sees its own only.
SELECT count(*)::float8 AS value FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend' AND state = 'active'
   AND application_name NOT LIKE 'embedmig %%' AND pid <> pg_backend_pid();

-- name: wal_waiting
-- Needs pg_monitor.
SELECT count(*)::float8 AS value FROM pg_ls_archive_statusdir() WHERE name LIKE '%%.ready';

-- name: retained
-- The replication slot that keeps the most WAL from being removed.
SELECT slot_name, (pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) / 1048576)::float8 AS mb
  FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY restart_lsn LIMIT 1;

-- name: vacuum
-- By hand or by the autovacuum; of a partitioned table, any partition.
SELECT p.relid::regclass::text AS relation, p.phase
  FROM unnest(%(tables)s::text[]) AS t (name)
 CROSS JOIN LATERAL (
    SELECT to_regclass(t.name)::oid AS oid
     UNION SELECT relid::oid FROM pg_partition_tree(to_regclass(t.name))) AS r
  JOIN pg_stat_progress_vacuum p ON p.relid = r.oid AND p.datname = current_database() LIMIT 1;

-- name: dead_rows
SELECT sum(s.n_dead_tup)::bigint AS dead, sum(s.n_live_tup)::bigint AS live
  FROM (SELECT to_regclass(%(table)s)::oid AS oid
         UNION SELECT relid::oid FROM pg_partition_tree(to_regclass(%(table)s))) AS r
  JOIN pg_stat_all_tables s ON s.relid = r.oid;

-- name: agree_on_baseline
-- What the canary took before the job began, by where it was measured: the first one stands.
UPDATE embedmig.backfill
   SET options = CASE WHEN options #> ARRAY['canary_ms', %(place)s] IS NOT NULL THEN options
                      ELSE options || jsonb_build_object('canary_ms', coalesce(options -> 'canary_ms', '{}')
                                                         || jsonb_build_object(%(place)s::text, %(ms)s::float8)) END
 WHERE slot_id = ANY (%(slot_ids)s) AND ended_at IS NULL
RETURNING (options #>> ARRAY['canary_ms', %(place)s])::float8 AS ms;
