"""The control tables: models, collections, slots, migrations, routes, jobs, the queue, reports, events."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE embedmig.model (
    id                       int PRIMARY KEY,
    name                     text NOT NULL,
    revision                 text NOT NULL,
    provider                 text NOT NULL,
    options                  jsonb NOT NULL DEFAULT '{}',
    dimensions               int NOT NULL CHECK (dimensions > 0),
    distance                 text NOT NULL CHECK (distance IN ('cosine', 'l2', 'ip')),
    normalised               boolean NOT NULL,
    document_prompt          text NOT NULL DEFAULT '',
    query_prompt             text NOT NULL DEFAULT '',
    max_tokens               int,
    price_per_million_tokens double precision,
    state                    text NOT NULL DEFAULT 'available' CHECK (state IN ('available', 'ending', 'gone')),
    ends_on                  date,
    fingerprint              bytea,
    created_at               timestamptz NOT NULL DEFAULT now(),
    UNIQUE (name, revision)
);
COMMENT ON TABLE embedmig.model IS 'One embedding model version each; the id is hashed, the same in every database';

CREATE TABLE embedmig.route (
    group_name text PRIMARY KEY,
    share_bp   int NOT NULL DEFAULT 0 CHECK (share_bp BETWEEN 0 AND 10000),
    epoch      bigint NOT NULL DEFAULT 1,
    changed_at timestamptz NOT NULL DEFAULT now(),
    full_since timestamptz
);
COMMENT ON TABLE embedmig.route IS 'The share (basis points) of a group''s requests that the target slot gets';
COMMENT ON COLUMN embedmig.route.full_since IS 'Since when share_bp is 10000: the stability period counts from here';

CREATE TABLE embedmig.collection (
    id             int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text NOT NULL UNIQUE,
    group_name     text NOT NULL REFERENCES embedmig.route,
    table_schema   text NOT NULL,
    table_name     text NOT NULL,
    key_columns    text[] NOT NULL,
    key_types      text[] NOT NULL,
    text_columns   text[] NOT NULL,
    text_separator text NOT NULL,
    row_filter     text,
    filter_columns text[] NOT NULL DEFAULT '{}',
    hide_stale     boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE embedmig.slot (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id   int NOT NULL REFERENCES embedmig.collection,
    name            text NOT NULL,
    model_id        int NOT NULL REFERENCES embedmig.model,
    bridge_model_id int,
    placement       text NOT NULL CHECK (placement IN ('column', 'companion')),
    table_schema    text NOT NULL,
    table_name      text NOT NULL,
    vector_column   text NOT NULL,
    model_column    text,
    hash_column     text,
    vector_type     text NOT NULL CHECK (vector_type IN ('vector', 'halfvec', 'bit')),
    text_separator  text NOT NULL,
    index_name      text,
    maintained_by   text NOT NULL CHECK (maintained_by IN ('app', 'embedmig')),
    filled_at       timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    dropped_at      timestamptz
);
CREATE UNIQUE INDEX slot_name ON embedmig.slot (collection_id, name) WHERE dropped_at IS NULL;

CREATE TABLE embedmig.migration (
    id               int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id    int NOT NULL REFERENCES embedmig.collection,
    source_id        int NOT NULL REFERENCES embedmig.slot,
    target_id        int NOT NULL REFERENCES embedmig.slot,
    opened_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    handover_at      timestamptz,
    way_back_ends_at timestamptz,
    retired_at       timestamptz,
    closed_at        timestamptz,
    CHECK (source_id <> target_id)
);
CREATE UNIQUE INDEX migration_open ON embedmig.migration (collection_id) WHERE closed_at IS NULL;

CREATE TABLE embedmig.pending (
    seq       bigint GENERATED ALWAYS AS IDENTITY,
    slot_id   int NOT NULL,
    bucket    smallint NOT NULL,
    key       text[],
    kind      "char" NOT NULL DEFAULT 'e' CHECK (kind IN ('e', 'a', 'f')),
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ready     timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled   smallint NOT NULL DEFAULT 0,
    origin    bigint
);
CREATE INDEX pending_by_bucket ON embedmig.pending (slot_id, bucket, ready);
CREATE INDEX pending_brought ON embedmig.pending USING hash (key) WHERE kind = 'a';
ALTER TABLE embedmig.pending SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE embedmig.pending IS
    'Rows whose vector in a slot is to be looked at again. Append-only; the key is NULL for a TRUNCATE';
COMMENT ON COLUMN embedmig.pending.kind IS 'e: an edit; a: the application brought the vector; f: found by a search';
COMMENT ON COLUMN embedmig.pending.settled IS 'How often a writer queued it again: its ready time grows with it';
COMMENT ON COLUMN embedmig.pending.ready IS 'Not looked at before; infinity: an entry of kind a that was seen to';
COMMENT ON COLUMN embedmig.pending.origin IS
    'Of an entry that a writer queued again: the edit it stands for, 0 for none. Tells it from a vector brought later';

CREATE TABLE embedmig.backfill (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slot_id     int NOT NULL REFERENCES embedmig.slot,
    state       text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'cancelled', 'done')),
    rows_planned bigint NOT NULL,
    limit_rows  bigint,
    rows_written bigint NOT NULL DEFAULT 0,
    tokens_spent bigint NOT NULL DEFAULT 0,
    options     jsonb NOT NULL DEFAULT '{}',
    opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz
);
COMMENT ON COLUMN embedmig.backfill.rows_written IS 'On chunks that are no more; those there are count for themselves';
COMMENT ON COLUMN embedmig.backfill.limit_rows IS 'Chunks are claimed until so many rows are done; NULL: all';
CREATE UNIQUE INDEX backfill_open ON embedmig.backfill (slot_id) WHERE ended_at IS NULL;

CREATE TABLE embedmig.chunk (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slot_id     int NOT NULL REFERENCES embedmig.slot,
    backfill_id bigint REFERENCES embedmig.backfill ON DELETE CASCADE,
    bucket      smallint,
    first_key   text[],
    last_key    text[],
    row_count   int NOT NULL DEFAULT 0,
    position    double precision NOT NULL DEFAULT random(),
    token       bigint NOT NULL DEFAULT 0,
    worker      text,
    backend     int,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    rows_written bigint NOT NULL DEFAULT 0,
    tokens_spent bigint NOT NULL DEFAULT 0,
    done_at     timestamptz,
    CHECK ((bucket IS NULL) <> (backfill_id IS NULL))
);
CREATE UNIQUE INDEX chunk_bucket ON embedmig.chunk (slot_id, bucket) WHERE bucket IS NOT NULL;
CREATE INDEX chunk_open ON embedmig.chunk (slot_id, position) WHERE done_at IS NULL AND bucket IS NULL;
CREATE INDEX chunk_of_backfill ON embedmig.chunk (backfill_id);
COMMENT ON TABLE embedmig.chunk IS
    'What a worker claims: a key range of a backfill, or one of a slot''s queue buckets, which is never done';

CREATE TABLE embedmig.failure (
    slot_id   int NOT NULL REFERENCES embedmig.slot,
    key       text[] NOT NULL,
    reason    text NOT NULL,
    attempts  int NOT NULL DEFAULT 1,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ignored   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (slot_id, key)
);

CREATE TABLE embedmig.report (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id int NOT NULL REFERENCES embedmig.collection,
    source_id     int NOT NULL REFERENCES embedmig.slot,
    target_id     int NOT NULL REFERENCES embedmig.slot,
    verdict       text NOT NULL CHECK (verdict IN ('pass', 'pass_by_quality', 'investigate', 'fail')),
    bridged_share double precision NOT NULL DEFAULT 0,
    part          double precision NOT NULL DEFAULT 1,
    body          jsonb NOT NULL,
    accepted      text,
    made_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN embedmig.report.part IS 'The share of rows that were judged; below 1 it opens no ramp';
COMMENT ON COLUMN embedmig.report.accepted IS 'Why a person accepted a report that did not pass';

CREATE TABLE embedmig.pin (
    collection_id int NOT NULL REFERENCES embedmig.collection,
    host          text NOT NULL,
    pid           int NOT NULL,
    pin           text NOT NULL,
    slot_id       int NOT NULL REFERENCES embedmig.slot,
    epoch         bigint NOT NULL,
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (collection_id, host, pid)
);
COMMENT ON TABLE embedmig.pin IS 'Processes pinned to a slot by EMBEDMIG_ACTIVE_INDEX; counts for 10 minutes';

CREATE TABLE embedmig.event (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor         text NOT NULL DEFAULT session_user,
    collection    text,
    verb          text NOT NULL,
    was           text,
    became        text,
    why           text,
    details       jsonb NOT NULL DEFAULT '{}'
);
CREATE FUNCTION embedmig.event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'embedmig.event is append-only';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON embedmig.event
    FOR EACH STATEMENT EXECUTE FUNCTION embedmig.event_is_append_only();
"""

# Those who search append a pin and nothing else, so the function is SECURITY DEFINER with a fixed search_path.
FUNCTIONS = """
CREATE FUNCTION embedmig.report_pin_v1(
    collection_id int, host text, pid int, pin text, slot_id int, epoch bigint
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO embedmig.pin AS p (collection_id, host, pid, pin, slot_id, epoch, seen_at)
    VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
    ON CONFLICT ON CONSTRAINT pin_pkey
    DO UPDATE SET pin = excluded.pin, slot_id = excluded.slot_id, epoch = excluded.epoch, seen_at = excluded.seen_at
$$;

CREATE FUNCTION embedmig.hold_chunk_v1(
    chunk_id bigint, held_token bigint, lease_s double precision, rows int, tokens bigint, finish boolean
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE embedmig.chunk c
       SET lease_until = clock_timestamp() + make_interval(secs => lease_s), rows_written = rows_written + rows,
           tokens_spent = tokens_spent + tokens,
           done_at = CASE WHEN finish AND c.bucket IS NULL THEN clock_timestamp() END,
           -- A queue bucket is never done: a new token keeps the heartbeat from prolonging what was given back.
           token = c.token + finish::int, worker = CASE WHEN finish THEN NULL ELSE c.worker END
     WHERE c.id = chunk_id AND c.token = held_token AND c.done_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'EM001', MESSAGE = 'the lease on chunk ' || chunk_id || ' is lost';
    END IF;
END $$;
COMMENT ON FUNCTION embedmig.hold_chunk_v1 IS 'The fence: run in every writing transaction, before the data';
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA embedmig FROM PUBLIC;
"""

COMPANIONS = """
DO $$
DECLARE held text;
BEGIN
    SELECT string_agg(format('%I.%I', table_schema, table_name), ', ') INTO held
      FROM embedmig.slot WHERE placement = 'companion' AND dropped_at IS NULL;
    IF held IS NOT NULL THEN
        RAISE EXCEPTION 'vectors still stand in %: drop them first (embedmig detach)', held;
    END IF;
    SELECT string_agg(DISTINCT format('%I.%I', n.nspname, c.relname), ', ') INTO held
      FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
      JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE p.pronamespace = 'embedmig'::regnamespace AND n.nspname <> 'embedmig';
    IF held IS NOT NULL THEN
        RAISE EXCEPTION 'triggers of embedmig are still on %: take them off first (embedmig detach)', held;
    END IF;
END $$
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(FUNCTIONS)


def downgrade() -> None:
    op.execute(COMPANIONS)
    op.execute("DROP FUNCTION embedmig.report_pin_v1")
    op.execute("DROP FUNCTION embedmig.hold_chunk_v1")
    for table in (
        "event", "pin", "report", "failure", "chunk", "backfill", "pending",
        "migration", "slot", "collection", "route", "model",
    ):  # fmt: skip
        op.execute(f"DROP TABLE embedmig.{table}")
    op.execute("DROP FUNCTION embedmig.event_is_append_only")
