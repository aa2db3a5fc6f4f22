-- name: cut
-- The moment up to which a claim looks: entries are forgotten by list, this only bounds where they are searched for.
SELECT clock_timestamp()::text AS cut;

-- name: seen
-- What is queued in a bucket, by key, edits before what searches found, and the oldest first. edited: the last edit, by its own seq or that of the entry it
-- stands for; updates of one row are in the order of their seq, since its lock was held between.
-- wanted: these keys alone, each as a JSON array.
SELECT key, array_agg(seq) AS seqs, array_agg(seq) FILTER (WHERE kind = 'a') AS brought_seqs,
       max(coalesce(origin, seq)) FILTER (WHERE kind = 'e') AS edited,
       coalesce(max(settled), 0)::int AS settled,
       (extract(epoch FROM coalesce(min(queued_at) FILTER (WHERE kind <> 'a'), min(queued_at))
                           - timestamptz '2000-01-01 00:00:00+00') * 1000000)::bigint AS queued_us
  FROM (SELECT key, seq, kind, settled, origin, queued_at FROM embedmig.pending
         WHERE slot_id = %(slot_id)s AND bucket = %(bucket)s AND ready <= %(cut)s::timestamptz
           AND (%(wanted)s::text[] IS NULL OR array_to_json(key)::text = ANY (%(wanted)s))
         ORDER BY ready LIMIT %(entries)s) AS entry
 GROUP BY key ORDER BY key IS NOT NULL, bool_and(kind = 'f'), min(seq) LIMIT %(keys)s;

-- name: queue_key
-- Queues one key for one slot, as an edit would.
INSERT INTO embedmig.pending (slot_id, bucket, key)
VALUES (%(slot_id)s, embedmig.bucket_v1(%(key)s::text[]), %(key)s::text[]);

-- name: bucket_of
SELECT embedmig.bucket_v1(%(key)s::text[]) AS bucket;

-- name: forget_expired
-- Vectors that the application brought are remembered for 7 days.
DELETE FROM embedmig.pending
 WHERE slot_id = ANY (%(slot_ids)s) AND kind = 'a' AND ready = 'infinity'
   AND queued_at < clock_timestamp() - interval '7 days';
