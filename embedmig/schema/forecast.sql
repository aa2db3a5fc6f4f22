-- name: count_indexes
SELECT count(*) AS n FROM pg_index WHERE indrelid = %(oid)s;

-- name: horizon_held
-- Whether a transaction older than a minute keeps dead row versions from being pruned.
SELECT EXISTS (
    SELECT FROM pg_stat_activity
     WHERE xact_start < clock_timestamp() - interval '1 minute' AND pid <> pg_backend_pid()
       AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL) AND datname = current_database()
    UNION ALL SELECT FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL SELECT FROM pg_replication_slots WHERE xmin IS NOT NULL AND NOT active
) AS held;
