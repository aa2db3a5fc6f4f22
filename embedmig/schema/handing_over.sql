-- name: count_lacking
-- Rows with text and no vector, and how long their text is.
SELECT count(*) AS rows, coalesce(sum(length({text})), 0) AS characters
  FROM {table} AS d {join} WHERE {wants} AND {missing};

-- name: queue_lacking
-- The same rows, queued once: what an edit has queued meanwhile is left alone.
INSERT INTO embedmig.pending (slot_id, bucket, key)
SELECT {slot_id}, {bucket}, {key} FROM {table} AS d {join}
 WHERE {wants} AND {missing}
   AND NOT EXISTS (SELECT FROM embedmig.pending p
                    WHERE p.slot_id = {slot_id} AND p.bucket = {bucket} AND p.key = {key} AND p.kind = 'e');
