-- name: count_app_writes
SELECT count(*) AS writes FROM embedmig.pending
 WHERE slot_id = %(slot_id)s AND kind = 'a' AND queued_at > clock_timestamp() - make_interval(days => %(days)s);

-- name: scanned_indexes
-- Indexes over the slot's vectors that were scanned since; the server says so from PostgreSQL 16 on.
SELECT i.relname AS name, (to_jsonb(u) ->> 'last_idx_scan')::timestamptz AS scanned_at
  FROM pg_attribute a
  JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
   AND d.classid = 'pg_class'::regclass
  JOIN pg_stat_user_indexes u ON u.indexrelid = d.objid
  JOIN pg_class i ON i.oid = d.objid
 WHERE a.attrelid = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) AND a.attname = %(column)s
   AND (to_jsonb(u) ->> 'last_idx_scan')::timestamptz > %(since)s
 ORDER BY 1;

-- name: retire_work
-- Nobody embeds for the slot any more. Chunks first: a worker holds its own while it writes. What tells of the
-- application's writes stays, for the guard before the drop.
WITH c AS (DELETE FROM embedmig.chunk WHERE slot_id = %(slot_id)s),
     f AS (DELETE FROM embedmig.failure WHERE slot_id = %(slot_id)s),
     b AS (UPDATE embedmig.backfill SET state = 'cancelled', ended_at = clock_timestamp()
            WHERE slot_id = %(slot_id)s AND ended_at IS NULL)
DELETE FROM embedmig.pending WHERE slot_id = %(slot_id)s AND kind <> 'a';

-- name: build_seconds
-- How long the newest index build of the collection took.
SELECT (details ->> 'seconds')::double precision AS seconds FROM embedmig.event
 WHERE collection = %(collection)s AND verb = 'index' AND details ? 'seconds' ORDER BY id DESC LIMIT 1;
