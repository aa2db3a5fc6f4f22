"""What a ramp stands on: the ladder's memory, what was served by which slot, shadow reads, and who wrote what.

Counts are appended by whoever searches, through functions that do nothing else. The latency arrays hold one number a
bucket; where the buckets lie is said in `embedmig/search/latency.py`, and never changes for a table that has counts.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LADDER = """
ALTER TABLE embedmig.route
    ADD COLUMN raised_at timestamptz,
    ADD COLUMN raised_epoch bigint,
    ADD COLUMN left_at timestamptz,
    ADD COLUMN left_bp int CHECK (left_bp BETWEEN 1 AND 10000),
    ADD COLUMN tripped text;
COMMENT ON COLUMN embedmig.route.raised_at IS 'The last rise of the share: the hold counts from here; NULL at 0';
COMMENT ON COLUMN embedmig.route.raised_epoch IS 'The epoch of the last rise: what was served before is no evidence';
COMMENT ON COLUMN embedmig.route.left_bp IS 'The share before it went back to 0, at left_at: where --resume leads';
COMMENT ON COLUMN embedmig.route.tripped IS
    'What a rollback trigger said when it took the share back, until a newer report or a person opens the way again';
ALTER TABLE embedmig.migration ADD COLUMN no_way_back_accepted text;
COMMENT ON COLUMN embedmig.migration.no_way_back_accepted IS
    'Why a person goes on though the old model is gone and rows written since cannot be found after a rollback';
"""

SERVED = """
CREATE TABLE embedmig.served (
    slot_id   int NOT NULL,
    hour      timestamptz NOT NULL,
    epoch     bigint NOT NULL,
    chosen_by text NOT NULL CHECK (chosen_by IN ('key', 'share', 'pin')),
    requests  bigint NOT NULL CHECK (requests >= 0),
    errors    bigint NOT NULL CHECK (errors BETWEEN 0 AND requests),
    empty     bigint NOT NULL CHECK (empty BETWEEN 0 AND requests),
    embed_us  bigint NOT NULL CHECK (embed_us >= 0),
    latency   bigint[] NOT NULL CHECK (cardinality(latency) <= 256),
    PRIMARY KEY (slot_id, hour, epoch, chosen_by)
);
COMMENT ON TABLE embedmig.served IS 'What searches were answered from, by hour; shadow reads are not in it';
COMMENT ON COLUMN embedmig.served.chosen_by IS
    'key: the routing key fell so; share: without a key, by the share; pin: the environment of the process';
COMMENT ON COLUMN embedmig.served.latency IS 'Of the statement, the embedding call apart; answers only';

CREATE FUNCTION embedmig.add_counts_v1(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(SELECT coalesce(x, 0) + coalesce(y, 0) FROM ROWS FROM (unnest(a), unnest(b)) AS t (x, y));

-- Ages are taken from the process's own clock and the hours from the server's. One row after the other, since two ages
-- may fall into one hour; in the order of the key, so that two processes never wait for each other in a circle.
CREATE FUNCTION embedmig.report_served_v1(counts jsonb) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT r.*, date_trunc('hour', clock_timestamp() - make_interval(secs => greatest(r.age_s, 0)), 'UTC') AS hour
          FROM jsonb_to_recordset(counts) AS r (slot_id int, age_s double precision, epoch bigint, chosen_by text,
               requests bigint, errors bigint, empty bigint, embed_us bigint, latency bigint[])
          JOIN embedmig.slot s ON s.id = r.slot_id
         ORDER BY r.slot_id, hour, r.epoch, r.chosen_by
    LOOP
        INSERT INTO embedmig.served AS t (slot_id, hour, epoch, chosen_by, requests, errors, empty, embed_us, latency)
        VALUES (c.slot_id, c.hour, c.epoch, c.chosen_by, c.requests, c.errors, c.empty, c.embed_us, c.latency)
        ON CONFLICT ON CONSTRAINT served_pkey DO UPDATE
           SET requests = t.requests + excluded.requests, errors = t.errors + excluded.errors,
               empty = t.empty + excluded.empty, embed_us = t.embed_us + excluded.embed_us,
               latency = embedmig.add_counts_v1(t.latency, excluded.latency);
    END LOOP;
END $$;
"""

SHADOWS = """
CREATE TABLE embedmig.shadow (
    source_id      int NOT NULL,
    target_id      int NOT NULL,
    hour           timestamptz NOT NULL,
    epoch          bigint NOT NULL,
    label          text NOT NULL,
    drawn          boolean NOT NULL,
    overlap        bigint[] NOT NULL CHECK (cardinality(overlap) = 11),
    errors         bigint[] NOT NULL CHECK (cardinality(errors) = 4),
    empty          bigint[] NOT NULL CHECK (cardinality(empty) = 4),
    source_embed_us bigint NOT NULL,
    target_embed_us bigint NOT NULL,
    source_latency bigint[] NOT NULL CHECK (cardinality(source_latency) <= 256),
    target_latency bigint[] NOT NULL CHECK (cardinality(target_latency) <= 256),
    dropped_queue  bigint NOT NULL,
    dropped_epoch  bigint NOT NULL,
    not_shadowed   bigint NOT NULL,
    PRIMARY KEY (source_id, target_id, hour, epoch, label, drawn)
);
COMMENT ON TABLE embedmig.shadow IS 'Requests that both slots of a migration answered, by hour and label of the caller';
COMMENT ON COLUMN embedmig.shadow.drawn IS
    'Taken by plain chance, whatever the label; false: taken so that a rare label has enough, in no overall figure';
COMMENT ON COLUMN embedmig.shadow.overlap IS 'Pairs by overlap@10 in tenths, 0 to 10';
COMMENT ON COLUMN embedmig.shadow.errors IS 'Pairs in which neither, the source only, the target only, both failed';
COMMENT ON COLUMN embedmig.shadow.empty IS 'Pairs in which neither, the source only, the target only, both were empty';

CREATE TABLE embedmig.shadow_query (
    collection_id int NOT NULL,
    text_hash     uuid NOT NULL,
    label         text NOT NULL,
    text          text NOT NULL CHECK (octet_length(text) <= 32768),
    times         bigint NOT NULL DEFAULT 1,
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (collection_id, text_hash, label)
);
COMMENT ON TABLE embedmig.shadow_query IS 'Texts of shadowed queries, kept only where the application said so';

CREATE FUNCTION embedmig.report_shadows_v1(counts jsonb) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT r.*, date_trunc('hour', clock_timestamp() - make_interval(secs => greatest(r.age_s, 0)), 'UTC') AS hour
          FROM jsonb_to_recordset(counts) AS r (source_id int, target_id int, age_s double precision, epoch bigint,
               label text, drawn boolean, overlap bigint[], errors bigint[], empty bigint[], source_embed_us bigint,
               target_embed_us bigint, source_latency bigint[], target_latency bigint[], dropped_queue bigint,
               dropped_epoch bigint, not_shadowed bigint)
          JOIN embedmig.migration m
            ON m.source_id = r.source_id AND m.target_id = r.target_id AND m.closed_at IS NULL
         ORDER BY r.source_id, r.target_id, hour, r.epoch, r.label, r.drawn
    LOOP
        INSERT INTO embedmig.shadow AS t (source_id, target_id, hour, epoch, label, drawn, overlap, errors, empty,
               source_embed_us, target_embed_us, source_latency, target_latency, dropped_queue, dropped_epoch,
               not_shadowed)
        VALUES (c.source_id, c.target_id, c.hour, c.epoch, left(c.label, 200), c.drawn, c.overlap, c.errors, c.empty,
                c.source_embed_us, c.target_embed_us, c.source_latency, c.target_latency, c.dropped_queue,
                c.dropped_epoch, c.not_shadowed)
        ON CONFLICT ON CONSTRAINT shadow_pkey DO UPDATE
           SET overlap = embedmig.add_counts_v1(t.overlap, excluded.overlap),
               errors = embedmig.add_counts_v1(t.errors, excluded.errors),
               empty = embedmig.add_counts_v1(t.empty, excluded.empty),
               source_embed_us = t.source_embed_us + excluded.source_embed_us,
               target_embed_us = t.target_embed_us + excluded.target_embed_us,
               source_latency = embedmig.add_counts_v1(t.source_latency, excluded.source_latency),
               target_latency = embedmig.add_counts_v1(t.target_latency, excluded.target_latency),
               dropped_queue = t.dropped_queue + excluded.dropped_queue,
               dropped_epoch = t.dropped_epoch + excluded.dropped_epoch,
               not_shadowed = t.not_shadowed + excluded.not_shadowed;
    END LOOP;
END $$;

CREATE FUNCTION embedmig.report_queries_v1(collection_id int, queries jsonb) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO embedmig.shadow_query AS t (collection_id, text_hash, label, text, times)
    SELECT c.id, md5(q.text)::uuid, left(q.label, 200), q.text, sum(q.times)
      FROM jsonb_to_recordset(queries) AS q (text text, label text, times bigint)
      JOIN embedmig.collection c ON c.id = report_queries_v1.collection_id
     WHERE octet_length(q.text) <= 32768
     GROUP BY c.id, left(q.label, 200), q.text ORDER BY 1, 2, 3
    ON CONFLICT ON CONSTRAINT shadow_query_pkey DO UPDATE
       SET times = t.times + excluded.times, seen_at = clock_timestamp()
$$;
"""

# The default is evaluated in the session that writes, through the trigger too: the writer is named without a word of
# the trigger's. Set apart from ADD COLUMN, or rows that are there would be given the name of this session.
GUARD = """
ALTER TABLE embedmig.pending ADD COLUMN writer text, ADD COLUMN guarded_at timestamptz;
ALTER TABLE embedmig.pending ALTER COLUMN writer SET DEFAULT
    session_user || coalesce(' (' || nullif(current_setting('application_name', true), '') || ')', '');
CREATE INDEX pending_unguarded ON embedmig.pending (slot_id, seq) WHERE kind = 'a' AND guarded_at IS NULL;
COMMENT ON COLUMN embedmig.pending.writer IS 'Who wrote: the role, and the application''s name where it gave one';
COMMENT ON COLUMN embedmig.pending.guarded_at IS 'Of an entry of kind a: when its vector was looked at by the guard';

CREATE TABLE embedmig.suspect (
    slot_id    int NOT NULL,
    key        text[] NOT NULL,
    writer     text,
    written_at timestamptz NOT NULL,
    cosine     double precision NOT NULL,
    vector     uuid NOT NULL,
    found_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (slot_id, key)
);
COMMENT ON TABLE embedmig.suspect IS
    'Rows that hold a vector by the application which the slot''s model does not give for their text';
COMMENT ON COLUMN embedmig.suspect.vector IS 'Which one it was: as long as it stands, it need not be looked at again';

CREATE TABLE embedmig.guarded (
    slot_id    int PRIMARY KEY,
    compared   bigint NOT NULL DEFAULT 0,
    mismatched bigint NOT NULL DEFAULT 0,
    looked_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE embedmig.guarded IS 'How many vectors of the application the guard has compared, by slot';
"""


def upgrade() -> None:
    for statements in (LADDER, SERVED, SHADOWS, GUARD):
        op.execute(statements)
    op.execute("REVOKE ALL ON FUNCTION embedmig.add_counts_v1 FROM PUBLIC")
    for function in ("report_served_v1", "report_shadows_v1", "report_queries_v1"):
        op.execute(f"GRANT EXECUTE ON FUNCTION embedmig.{function} TO PUBLIC")


def downgrade() -> None:
    for table in ("guarded", "suspect"):
        op.execute(f"DROP TABLE embedmig.{table}")
    op.execute("ALTER TABLE embedmig.pending DROP COLUMN guarded_at, DROP COLUMN writer")
    for function in ("report_queries_v1", "report_shadows_v1", "report_served_v1", "add_counts_v1"):
        op.execute(f"DROP FUNCTION embedmig.{function}")
    for table in ("shadow_query", "shadow", "served"):
        op.execute(f"DROP TABLE embedmig.{table}")
    op.execute("ALTER TABLE embedmig.migration DROP COLUMN no_way_back_accepted")
    op.execute(
        "ALTER TABLE embedmig.route DROP COLUMN tripped, DROP COLUMN left_bp, DROP COLUMN left_at,"
        " DROP COLUMN raised_epoch, DROP COLUMN raised_at"
    )
