-- name: list_unguarded
-- What the application wrote and nobody has compared yet, the newest first.
SELECT key, seq, queued_at, writer FROM embedmig.pending
 WHERE slot_id = %(slot_id)s AND kind = 'a' AND guarded_at IS NULL AND key IS NOT NULL
 ORDER BY seq DESC LIMIT %(limit)s;

-- name: read_written
-- Text and vector of rows in one snapshot with the queue. edited: an edit waits, so that the vector may not be of the
-- present text, and nothing can be told from it. comparable: there is a vector, and it says it is the slot's model's.
SELECT k.key, {text} AS text, {vector} AS vector, {identity} AS identity, e.edited,
       coalesce({wants} AND {vector} IS NOT NULL AND {model_id} = %(model_id)s AND NOT e.edited, false) AS comparable
  FROM (SELECT ARRAY(SELECT jsonb_array_elements_text(j.value)) AS key FROM jsonb_array_elements(%(keys)s) AS j) AS k
  JOIN {table} AS d ON ({keys}) = ({key})
 CROSS JOIN LATERAL (
       SELECT EXISTS (SELECT FROM embedmig.pending p
                       WHERE p.slot_id = %(slot_id)s AND p.bucket = embedmig.bucket_v1(k.key)
                         AND p.ready < 'infinity' AND p.kind = 'e' AND p.key = k.key) AS edited) AS e;

-- name: note_guarded
UPDATE embedmig.pending SET guarded_at = clock_timestamp()
 WHERE slot_id = %(slot_id)s AND kind = 'a' AND guarded_at IS NULL AND seq = ANY (%(seqs)s);
