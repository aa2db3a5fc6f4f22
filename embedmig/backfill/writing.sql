-- name: make_stage
-- toast_tuple_target: vectors stay in line, whatever their size, as long as a row fits a page.
CREATE TEMP TABLE IF NOT EXISTS {stage} (
    {key_definitions}, embedmig_vector {vector_type}, embedmig_hash uuid, embedmig_seen uuid, embedmig_action "char",
    embedmig_settled smallint, embedmig_origin bigint, embedmig_queued timestamptz, embedmig_reason text
) WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS;

-- name: write_column
-- Compare-and-set: only where the row still has the text that was read and the vector that was seen. SKIP LOCKED: a row
-- that a user holds is left alone, so that we neither wait for users nor deadlock with them; settling queues it.
WITH held AS MATERIALIZED (
    SELECT {keys_of_d}, k.embedmig_vector, k.embedmig_hash
      FROM {stage} AS k JOIN {table} AS d ON {d_is_k}
     WHERE {seen} IS NOT DISTINCT FROM k.embedmig_seen
       AND CASE k.embedmig_action WHEN 'w' THEN {wants} AND {text_hash} = k.embedmig_hash
                                  WHEN 'c' THEN NOT {wants} ELSE false END
       FOR NO KEY UPDATE OF d SKIP LOCKED)
UPDATE {table} AS d SET {assignments} FROM held WHERE {d_is_held};

-- name: write_unrecorded
-- The same into a slot without a hash column, where nothing could tell later what was left out: queued again at once.
WITH held AS MATERIALIZED (
    SELECT {keys_of_d}, k.embedmig_vector, k.embedmig_hash
      FROM {stage} AS k JOIN {table} AS d ON {d_is_k}
     WHERE {seen} IS NOT DISTINCT FROM k.embedmig_seen
       AND CASE k.embedmig_action WHEN 'w' THEN {wants} AND {text_hash} = k.embedmig_hash
                                  WHEN 'c' THEN NOT {wants} ELSE false END
       FOR NO KEY UPDATE OF d SKIP LOCKED),
wrote AS (UPDATE {table} AS d SET {assignments} FROM held WHERE {d_is_held} RETURNING {keys_of_d})
INSERT INTO embedmig.pending (slot_id, bucket, key, ready, settled, origin, queued_at)
SELECT {again} FROM {stage} AS k
 WHERE k.embedmig_action IN ('w', 'c') AND NOT EXISTS (SELECT FROM wrote AS d WHERE {d_is_k});

-- name: unrecord
-- The application brought the vector: of which text is not known any more.
WITH held AS MATERIALIZED (
    SELECT {keys_of_d} FROM {stage} AS k JOIN {table} AS d ON {d_is_k}
     WHERE k.embedmig_action = 'u' AND {seen} IS NOT DISTINCT FROM k.embedmig_seen
       FOR NO KEY UPDATE OF d SKIP LOCKED)
UPDATE {table} AS d SET {hash_column} = NULL FROM held WHERE {d_is_held};

-- name: settle_unrecorded
-- What was locked is looked at again, by the entry it has: a new one would pass for later than an edit between.
UPDATE embedmig.pending AS p SET ready = clock_timestamp() + interval '1 s'
  FROM {stage} AS k JOIN LATERAL (SELECT * FROM {table} AS d WHERE {d_is_k} OFFSET 0) AS d ON true
 WHERE k.embedmig_action = 'u' AND {hash} IS NOT NULL AND {seen} IS NOT DISTINCT FROM k.embedmig_seen
   AND p.slot_id = {slot_id} AND p.kind = 'a' AND p.key = {key_array_of_k} AND p.ready = 'infinity';

-- name: settle_column
-- A statement of its own after the write, while the rows are locked: what of these keys still does not match is queued
-- again, later each time, so that a row locked for minutes is not paid for again and again.
INSERT INTO embedmig.pending (slot_id, bucket, key, ready, settled, origin, queued_at)
SELECT {again} FROM {stage} AS k JOIN LATERAL (SELECT * FROM {table} AS d WHERE {d_is_k} OFFSET 0) AS d ON true
 WHERE k.embedmig_action IN ('w', 'c')
   AND CASE WHEN {wants} THEN {lacking} OR {hash} IS DISTINCT FROM {text_hash}
            ELSE {vector} IS NOT NULL AND {hash} IS NOT NULL END;

-- name: take_back
-- After COPY straight in: what no longer is of the row's text goes again and is queued. It settles, too, in the same
-- snapshot: whatever this does not find out of date was right when it looked, and an edit since then has its own entry.
WITH outdated AS MATERIALIZED (
    SELECT k.* FROM {stage} AS k
     WHERE k.embedmig_action = 'w'
       AND NOT EXISTS (SELECT FROM {table} AS d WHERE {d_is_k} AND {wants} AND {text_hash} = k.embedmig_hash)),
gone AS (DELETE FROM {slot} AS s USING outdated AS k WHERE {s_is_k})
INSERT INTO embedmig.pending (slot_id, bucket, key, ready, settled, origin, queued_at)
SELECT {again} FROM outdated AS k;

-- name: upsert
INSERT INTO {slot} AS s ({key_names}, {vector_column}, {model_column}, {hash_column})
SELECT {keys_of_k}, k.embedmig_vector, {model_id}, k.embedmig_hash FROM {stage} AS k
 WHERE k.embedmig_action = 'w'
   AND EXISTS (SELECT FROM {table} AS d WHERE {d_is_k} AND {wants} AND {text_hash} = k.embedmig_hash)
 ORDER BY {keys_of_k}
ON CONFLICT ({key_names}) DO UPDATE
   SET {vector_column} = excluded.{vector_column}, {model_column} = excluded.{model_column},
       {hash_column} = excluded.{hash_column};

-- name: delete_orphans
DELETE FROM {slot} AS s USING {stage} AS k
 WHERE {s_is_k} AND NOT EXISTS (SELECT FROM {table} AS d WHERE {d_is_k} AND {wants});

-- name: settle_companion
-- As settle_column. The user's rows are not locked here; an edit that comes between is in the queue by itself.
INSERT INTO embedmig.pending (slot_id, bucket, key, ready, settled, origin, queued_at)
SELECT {again} FROM {stage} AS k
  LEFT JOIN LATERAL (SELECT * FROM {table} AS d WHERE {d_is_k} OFFSET 0) AS d ON true
  LEFT JOIN LATERAL (SELECT * FROM {slot} AS s WHERE {s_is_k} OFFSET 0) AS s ON true
 WHERE k.embedmig_action IN ('w', 'c')
   AND CASE WHEN {wants} THEN {lacking} OR {hash} IS DISTINCT FROM {text_hash} ELSE {vector} IS NOT NULL END;

-- name: fail
INSERT INTO embedmig.failure AS f (slot_id, key, reason)
SELECT {slot_id}, {key_array_of_k}, k.embedmig_reason FROM {stage} AS k WHERE k.embedmig_action = 'f'
ON CONFLICT (slot_id, key) DO UPDATE
   SET reason = excluded.reason, attempts = f.attempts + 1, failed_at = clock_timestamp(), ignored = false;

-- name: succeed
-- keys: a JSON array of keys, each an array.
DELETE FROM embedmig.failure AS f
 USING (SELECT ARRAY(SELECT jsonb_array_elements_text(k)) AS key FROM jsonb_array_elements({keys}::jsonb) AS k) AS done
 WHERE f.slot_id = {slot_id} AND f.key = done.key;

-- name: copy_stage
COPY {stage} FROM STDIN (FORMAT BINARY);

-- name: copy_slot
COPY {slot} ({key_names}, {vector_column}, {model_column}, {hash_column}) FROM STDIN (FORMAT BINARY);

-- name: queue_orphans
-- The table was truncated: every vector without a row is queued, to be removed as a deleted row's is.
INSERT INTO embedmig.pending (slot_id, bucket, key)
SELECT {slot_id}, embedmig.bucket_v1(g.key), g.key FROM ({gone}) AS g;

-- name: begin
-- The trigger passes over what this transaction writes; joins go by the primary key, since a temporary table has no
-- statistics. All of it ends with the transaction: nothing leaks through a pooler.
BEGIN;
SET LOCAL embedmig.writer = 'on';
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL enable_seqscan = off;
SET LOCAL jit = off;
SET LOCAL idle_in_transaction_session_timeout = {timeout};
SET LOCAL lock_timeout = {timeout};

-- name: hold
SELECT embedmig.hold_chunk_v1({chunk_id}, {token}, {lease_s}, {rows}, {tokens}, {finish});

-- name: forget
DELETE FROM embedmig.pending
 WHERE slot_id = {slot_id} AND bucket = {bucket} AND ready <= {cut}::timestamptz AND seq = ANY ({seqs}) AND kind <> 'a';

-- name: remember
-- Vectors that the application brought stay in the queue for a while, seen to: the guard samples them.
UPDATE embedmig.pending SET ready = 'infinity'
 WHERE slot_id = {slot_id} AND bucket = {bucket} AND ready <= {cut}::timestamptz AND seq = ANY ({seqs}) AND kind = 'a';

-- name: count_hot
SELECT pg_stat_get_xact_tuples_updated({relation}::regclass) AS updated,
       pg_stat_get_xact_tuples_hot_updated({relation}::regclass) AS hot;
