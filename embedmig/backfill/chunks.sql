-- name: ensure_buckets
-- The slots' queue buckets, 8 each, as chunks that are never done.
INSERT INTO embedmig.chunk (slot_id, bucket)
SELECT s, b FROM unnest(%(slot_ids)s::int[]) AS s, generate_series(0, 7) AS b
ON CONFLICT (slot_id, bucket) WHERE bucket IS NOT NULL DO NOTHING;

-- name: claim
-- One chunk for one worker: a queue bucket that has something ready, else a chunk of a running job, at random. Never one
-- that another holds by a live lease; SKIP LOCKED: claims never queue, nor wait for a writer's fence.
-- Each claim raises the token, and only who shows it may write.
UPDATE embedmig.chunk AS c
   SET token = token + 1, worker = %(worker)s, backend = %(backend)s,
       lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s),
       position = CASE WHEN bucket IS NULL THEN position ELSE random() END
 WHERE id = coalesce(
    (SELECT q.id FROM embedmig.chunk q
      WHERE q.slot_id = ANY (%(slot_ids)s) AND q.bucket IS NOT NULL AND q.lease_until < clock_timestamp()
        AND EXISTS (SELECT FROM embedmig.pending p
                     WHERE p.slot_id = q.slot_id AND p.bucket = q.bucket AND p.ready <= clock_timestamp())
      ORDER BY q.position LIMIT 1 FOR UPDATE OF q SKIP LOCKED),
    (SELECT r.id FROM embedmig.chunk r JOIN embedmig.backfill b ON b.id = r.backfill_id
      WHERE r.slot_id = ANY (%(slot_ids)s) AND r.bucket IS NULL AND r.done_at IS NULL
        AND r.lease_until < clock_timestamp() AND b.state = 'running'
        AND (b.limit_rows IS NULL OR b.limit_rows >
             (SELECT coalesce(sum(t.row_count), 0) FROM embedmig.chunk t
               WHERE t.backfill_id = b.id AND (t.done_at IS NOT NULL OR t.lease_until >= clock_timestamp())))
      ORDER BY r.position LIMIT 1 FOR UPDATE OF r SKIP LOCKED))
RETURNING id, slot_id, bucket, first_key, last_key, row_count, token;

-- name: claim_bucket
-- One named bucket, unless another holds it. One that only rests has no worker.
UPDATE embedmig.chunk AS c
   SET token = token + 1, worker = %(worker)s, backend = %(backend)s,
       lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
 WHERE id = (SELECT q.id FROM embedmig.chunk q
              WHERE q.slot_id = %(slot_id)s AND q.bucket = %(bucket)s
                AND (q.lease_until < clock_timestamp() OR q.worker IS NULL)
                FOR UPDATE OF q SKIP LOCKED)
RETURNING id, slot_id, bucket, first_key, last_key, row_count, token;

-- name: renew
-- The heartbeat. A chunk that is being written is locked and renewed by its fence: skipped, so that we never wait.
UPDATE embedmig.chunk AS c SET lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
  FROM (SELECT h.id FROM embedmig.chunk h
          JOIN unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) AS held (id, token)
            ON held.id = h.id AND held.token = h.token
         WHERE h.done_at IS NULL FOR UPDATE OF h SKIP LOCKED) AS held
 WHERE c.id = held.id;

-- name: release
-- Gives chunks back at once; what was written of them stays.
UPDATE embedmig.chunk AS c SET lease_until = '-infinity', token = c.token + 1
  FROM unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) AS held (id, token)
 WHERE c.id = held.id AND c.token = held.token AND c.done_at IS NULL;

-- name: end_stuck_writers
-- A process that was stopped in the middle of a COPY keeps its chunk locked though its lease ran out: nobody could claim
-- it. Its backend is ended, which rolls its transaction back.
SELECT c.id, pg_terminate_backend(a.pid)
  FROM embedmig.chunk c JOIN pg_stat_activity a ON a.pid = c.backend AND a.application_name = c.worker
 WHERE c.slot_id = ANY (%(slot_ids)s) AND c.done_at IS NULL
   AND c.lease_until > '-infinity' AND c.lease_until < clock_timestamp() - make_interval(secs => %(lease_s)s)
   AND a.state <> 'idle' AND a.xact_start < c.lease_until AND a.pid <> pg_backend_pid();

-- name: left_behind
-- Nothing can be claimed, and a worker whose connection is gone holds a chunk: when the last such lease ends. A role
-- may see less of others' sessions than their pid, so that alone is asked; a pid that came again hides it.
SELECT c.worker, extract(epoch FROM max(c.lease_until) - clock_timestamp())::float8 AS left_s
  FROM embedmig.chunk c JOIN embedmig.backfill b ON b.id = c.backfill_id AND b.state = 'running'
 WHERE c.slot_id = ANY (%(slot_ids)s) AND c.done_at IS NULL AND c.lease_until > clock_timestamp()
   AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = c.backend)
   AND NOT EXISTS (SELECT FROM embedmig.chunk o WHERE o.backfill_id = b.id AND o.done_at IS NULL
                                                  AND o.lease_until <= clock_timestamp())
 GROUP BY c.worker ORDER BY left_s DESC LIMIT 1;
