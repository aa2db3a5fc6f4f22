-- name: cut_ranges
-- Key ranges of %(range_rows)s rows each that have a source vector and no target vector, in the order of the key. What
-- of them is to be left out (edited, of another text) is seen when a range is read.
WITH numbered AS (
    SELECT {key_array} AS key, row_number() OVER (ORDER BY {keys}) AS place, count(*) OVER () AS total
      FROM {table} AS d {join_source} {join_target}
     WHERE {wants} AND {source_vector} IS NOT NULL AND {target_vector} IS NULL),
edges AS (
    SELECT key, place, total, lead(key) OVER (ORDER BY place) AS next_key, lead(place) OVER (ORDER BY place) AS next_place
      FROM numbered
     WHERE (place - 1) %% %(range_rows)s = 0 OR place %% %(range_rows)s = 0 OR place = total)
SELECT key AS first,
       CASE WHEN place = total OR %(range_rows)s = 1 THEN key ELSE next_key END AS last,
       CASE WHEN place = total OR %(range_rows)s = 1 THEN 1 ELSE next_place - place + 1 END AS rows
  FROM edges WHERE (place - 1) %% %(range_rows)s = 0 ORDER BY place;

-- name: range_rows
-- Source vectors that can be mapped, with the hash of the row's present text. Left out: rows that have a vector in the
-- target; rows that an edit queued, whose source vector may be of the text before; and those whose source vector is by
-- another model or recorded as of another text. LATERAL ... OFFSET 0 looks companions up by their primary key, and
-- computes the hash once.
WITH queued AS MATERIALIZED (
    SELECT key FROM embedmig.pending
     WHERE slot_id = ANY (%(slot_ids)s) AND kind = 'e' AND key IS NOT NULL)
SELECT {named_keys}, t.hash AS hash, {source_vector} AS vector{text}
  FROM {table} AS d {look_up_source} {look_up_target}
 CROSS JOIN LATERAL (SELECT {text_hash} AS hash OFFSET 0) AS t
 WHERE ({keys}) >= ({first}) AND ({keys}) <= ({last}) AND {wants} AND {target_vector} IS NULL
   AND {source_vector} IS NOT NULL AND {source_model} = {source_model_id}
   AND ({source_hash} IS NULL OR {source_hash} = t.hash)
   AND NOT EXISTS (SELECT FROM queued q WHERE q.key = {key_array})
 ORDER BY {keys};

-- name: read_range
COPY ({range_rows}) TO STDOUT (FORMAT BINARY);

-- name: read_range_at_once
-- Where every row has one length: as one value, which the driver takes in without a look at each row.
SELECT string_agg({sent_keys} || uuid_send(r.hash) || {vector_send}(r.vector), ''::bytea) AS rows
  FROM ({range_rows}) AS r;

-- name: key_widths
-- How many bytes each key column has on the wire, and what sends it; a negative length: it varies. Enums and names are
-- stored at one length and sent as text of any; what an extension sends is its own affair.
SELECT CASE WHEN t.typsend IN ('pg_catalog.enum_send'::regproc, 'pg_catalog.namesend'::regproc) OR t.typsend >= 16384
            THEN -1 ELSE t.typlen END AS bytes,
       t.typsend::regproc::text AS sent_by
  FROM unnest(%(names)s::text[]) WITH ORDINALITY AS k (name, place)
  JOIN pg_attribute a ON a.attname = k.name AND a.attrelid = to_regclass(%(table)s)
  JOIN pg_type t ON t.oid = a.atttypid
 ORDER BY k.place;

-- name: settle_bridged
-- Of what this transaction copied in: rows that were deleted or edited since they were read lose the vector again, and
-- are queued, whatever a worker made of the edit's own entry meanwhile.
WITH wrong AS MATERIALIZED (
    SELECT {keys_of_s} FROM {slot} AS s
      LEFT JOIN LATERAL (SELECT * FROM {table} AS d WHERE {d_is_s} OFFSET 0) AS d ON true
     WHERE ({keys_of_s}) >= ({first}) AND ({keys_of_s}) <= ({last}) AND s.xmin = pg_current_xact_id()::xid
       AND ({wants} AND {text_hash} = s.{hash_column}) IS NOT TRUE),
gone AS (DELETE FROM {slot} AS s USING wrong AS k WHERE {s_is_k})
INSERT INTO embedmig.pending (slot_id, bucket, key) SELECT {slot_id}, {bucket_of_k}, {key_array_of_k} FROM wrong AS k;

-- name: make_stage
CREATE TEMP TABLE IF NOT EXISTS {stage} (
    {key_definitions}, embedmig_hash uuid, embedmig_vector {vector_type}
) WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS;

-- name: copy_stage
COPY {stage} ({key_names}, embedmig_vector, embedmig_hash) FROM STDIN (FORMAT BINARY);

-- name: copy_slot
COPY {slot} ({key_names}, {vector_column}, {model_column}, {hash_column}) FROM STDIN (FORMAT BINARY);

-- name: write_bridged
-- Compare-and-set under the row's lock: only where there still is no vector and the text is the one that was read. What
-- is left out, because a user holds or changed it, is the backfill's.
WITH held AS MATERIALIZED (
    SELECT {keys_of_d}, k.embedmig_vector, k.embedmig_hash
      FROM {stage} AS k JOIN {table} AS d ON {d_is_k}
     WHERE {target_vector} IS NULL AND {wants} AND {text_hash} = k.embedmig_hash
       FOR NO KEY UPDATE OF d SKIP LOCKED)
UPDATE {table} AS d SET {vector_column} = held.embedmig_vector, {model_column} = {bridge_id},
       {hash_column} = held.embedmig_hash
  FROM held WHERE {d_is_held};

-- name: hold_bridging
-- One process a slot: two bridges of one pair of models share an id, and must not be mixed. It ends with the session.
SELECT pg_try_advisory_lock(hashtext('embedmig bridge'), %(slot_id)s) AS held;

-- name: read_by_key
-- Ranges are read by the primary key, whatever the planner thinks of their size.
SELECT set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false);
