-- name: queue_stale
-- What verify would find and nobody knows of: stale rows, and vectors of ours on rows that want none any more.
INSERT INTO embedmig.pending (slot_id, bucket, key)
SELECT %(slot_id)s, embedmig.bucket_v1(found.key), found.key
  FROM (SELECT {key_array} AS key FROM {table} AS d {join_slot}
         WHERE ({wants} AND {stale}) OR {unwanted}) AS found
 WHERE NOT EXISTS (SELECT FROM embedmig.failure f WHERE f.slot_id = %(slot_id)s AND f.key = found.key)
   AND NOT EXISTS (SELECT FROM embedmig.pending p WHERE p.slot_id = %(slot_id)s AND p.key = found.key
                   AND p.ready < 'infinity');

-- name: queue_orphans
INSERT INTO embedmig.pending (slot_id, bucket, key)
SELECT %(slot_id)s, embedmig.bucket_v1(found.key), found.key
  FROM ({gone}) AS found
 WHERE NOT EXISTS (SELECT FROM embedmig.pending p WHERE p.slot_id = %(slot_id)s AND p.key = found.key
                   AND p.ready < 'infinity');

-- name: drop_failures
-- Failures of rows that are gone, or have nothing to embed any more.
DELETE FROM embedmig.failure AS f
 WHERE f.slot_id = %(slot_id)s
   AND NOT EXISTS (SELECT FROM {table} AS d WHERE ({keys}) = ({keys_of_f}) AND {wants});

-- name: queue_missing
-- Rows with text and no vector that nobody knows of, so that they come before those that only are to be replaced.
INSERT INTO embedmig.pending (slot_id, bucket, key)
SELECT %(slot_id)s, embedmig.bucket_v1(found.key), found.key
  FROM (SELECT {key_array} AS key FROM {table} AS d {join_slot} WHERE {wants} AND {missing}) AS found
 WHERE NOT EXISTS (SELECT FROM embedmig.failure f WHERE f.slot_id = %(slot_id)s AND f.key = found.key)
   AND NOT EXISTS (SELECT FROM embedmig.pending p WHERE p.slot_id = %(slot_id)s AND p.key = found.key
                   AND p.ready < 'infinity' AND p.kind = 'e');
