-- name: count_app_writes
SELECT count(*) AS writes FROM embedmig.pending
 WHERE slot_id = %(slot_id)s AND kind = 'a' AND queued_at > clock_timestamp() - make_interval(days => %(days)s);

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
