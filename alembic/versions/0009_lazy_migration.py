"""Traffic decides what is embedded first: rows that searches show while they are bridged, and how much of what is shown
is true by now.

Whoever searches reports what it found through a function that does nothing else, bounded, so that a client gone wrong
cannot fill the queue.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

FOUND = """
CREATE TABLE embedmig.found (
    slot_id     int NOT NULL,
    day         date NOT NULL,
    key         text[] NOT NULL,
    impressions bigint NOT NULL CHECK (impressions > 0),
    PRIMARY KEY (slot_id, day, key)
);
COMMENT ON TABLE embedmig.found IS
    'Rows that searches showed while their vector was bridged, today and yesterday (UTC), and how often';
CREATE INDEX pending_found ON embedmig.pending (slot_id) WHERE kind = 'f';

-- Keys come from whoever may search: one that is no key of the table would make a worker fail, so each is tried, and
-- printed as the queue's triggers print it. Types are named with their schemas, since search_path is closed.
CREATE FUNCTION embedmig.printed_key_v1(slot_id int, key text[]) RETURNS text[] LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = '1'
SET bytea_output = 'hex' SET timezone = 'UTC' AS $$
DECLARE
    printed text;
    width   int;
    result  text[];
BEGIN
    SELECT string_agg(format('($1)[%s]::%I.%I::text', k.place, n.nspname, t.typname), ', ' ORDER BY k.place), count(*)
      INTO printed, width
      FROM embedmig.slot s
      JOIN embedmig.collection c ON c.id = s.collection_id
     CROSS JOIN unnest(c.key_columns) WITH ORDINALITY AS k (name, place)
      JOIN pg_attribute a ON a.attname = k.name
       AND a.attrelid = to_regclass(format('%I.%I', c.table_schema, c.table_name))
      JOIN pg_type t ON t.oid = a.atttypid
      JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE s.id = printed_key_v1.slot_id;
    IF cardinality(key) <> width OR array_position(key, NULL) IS NOT NULL OR octet_length(key::text) > 8192 THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT ARRAY[%s]', printed) INTO result USING key;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$;

CREATE FUNCTION embedmig.report_found_v1(slot_id int, shown jsonb) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    slot   int := slot_id;
    today  date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    rows   jsonb;
    queued int;
BEGIN
    -- Only a slot that a bridge has filled has rows to be found.
    IF NOT EXISTS (SELECT FROM embedmig.adapter a
                    WHERE a.slot_id = slot AND a.direction = 'bridge' AND a.used_since IS NOT NULL
                      AND a.dropped_at IS NULL) THEN
        RETURN 0;
    END IF;
    SELECT jsonb_agg(jsonb_build_object('key', k.key, 'impressions', k.impressions)) INTO rows
      FROM (SELECT embedmig.printed_key_v1(slot, r.key) AS key, least(sum(r.impressions), 1000000) AS impressions
              FROM jsonb_to_recordset(shown) AS r (key text[], impressions bigint)
             WHERE r.impressions > 0 GROUP BY r.key LIMIT 20000) AS k
     WHERE k.key IS NOT NULL;
    DELETE FROM embedmig.found f WHERE f.slot_id = slot AND f.day < today - 1;
    INSERT INTO embedmig.found AS f (slot_id, day, key, impressions)
    SELECT slot, today, r.key, sum(r.impressions)
      FROM jsonb_to_recordset(rows) AS r (key text[], impressions bigint)
     GROUP BY r.key ORDER BY r.key LIMIT greatest(0, 100000 - (
           SELECT count(*) FROM embedmig.found o WHERE o.slot_id = slot AND o.day = today))
    ON CONFLICT ON CONSTRAINT found_pkey DO UPDATE SET impressions = f.impressions + excluded.impressions;
    -- What waits in the queue already is not queued again, and a backlog of found rows grows no further.
    INSERT INTO embedmig.pending (slot_id, bucket, key, kind)
    SELECT slot, embedmig.bucket_v1(r.key), r.key, 'f'
      FROM (SELECT w.key, max(w.impressions) AS impressions
              FROM jsonb_to_recordset(rows) AS w (key text[], impressions bigint) GROUP BY w.key) AS r
     WHERE NOT EXISTS (SELECT FROM (SELECT p.key FROM embedmig.pending p
                                     WHERE p.slot_id = slot AND p.key IS NOT NULL AND p.kind <> 'a' OFFSET 0) AS q
                        WHERE q.key = r.key)
     ORDER BY r.impressions DESC
     LIMIT greatest(0, 10000 - (SELECT count(*) FROM embedmig.pending o WHERE o.slot_id = slot AND o.kind = 'f'));
    GET DIAGNOSTICS queued = ROW_COUNT;
    RETURN queued;
END $$;
COMMENT ON FUNCTION embedmig.report_found_v1 IS
    'Counts and queues rows that searches showed while they were bridged; gives how many were queued';
"""

SERVED = """
ALTER TABLE embedmig.served
    ADD COLUMN hits bigint NOT NULL DEFAULT 0 CHECK (hits >= 0),
    ADD COLUMN bridged_hits bigint NOT NULL DEFAULT 0 CHECK (bridged_hits BETWEEN 0 AND hits);
COMMENT ON COLUMN embedmig.served.hits IS 'Rows shown, counted while the slot has bridged ones';
COMMENT ON COLUMN embedmig.served.bridged_hits IS 'Those of them whose vector was mapped from another model''s';

CREATE OR REPLACE FUNCTION embedmig.report_served_v1(counts jsonb) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT r.*, date_trunc('hour', clock_timestamp() - make_interval(secs => greatest(r.age_s, 0)), 'UTC') AS hour
          FROM jsonb_to_recordset(counts) AS r (slot_id int, age_s double precision, epoch bigint, chosen_by text,
               requests bigint, errors bigint, empty bigint, embed_us bigint, latency bigint[], hits bigint,
               bridged_hits bigint)
          JOIN embedmig.slot s ON s.id = r.slot_id
         ORDER BY r.slot_id, hour, r.epoch, r.chosen_by
    LOOP
        INSERT INTO embedmig.served AS t (slot_id, hour, epoch, chosen_by, requests, errors, empty, embed_us, latency,
                                          hits, bridged_hits)
        VALUES (c.slot_id, c.hour, c.epoch, c.chosen_by, c.requests, c.errors, c.empty, c.embed_us, c.latency,
                coalesce(c.hits, 0), coalesce(c.bridged_hits, 0))
        ON CONFLICT ON CONSTRAINT served_pkey DO UPDATE
           SET requests = t.requests + excluded.requests, errors = t.errors + excluded.errors,
               empty = t.empty + excluded.empty, embed_us = t.embed_us + excluded.embed_us,
               latency = embedmig.add_counts_v1(t.latency, excluded.latency), hits = t.hits + excluded.hits,
               bridged_hits = t.bridged_hits + excluded.bridged_hits;
    END LOOP;
END $$;
"""


def upgrade() -> None:
    op.execute(FOUND)
    op.execute(SERVED)
    op.execute("REVOKE ALL ON FUNCTION embedmig.printed_key_v1 FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION embedmig.report_found_v1 TO PUBLIC")


def downgrade() -> None:
    environment = op.get_context().environment_context
    assert environment is not None
    before: str = environment.script.get_revision("0005").module.SERVED
    function = before[before.index("CREATE FUNCTION embedmig.report_served_v1") :]
    op.execute("DROP FUNCTION embedmig.report_found_v1")
    op.execute("DROP FUNCTION embedmig.printed_key_v1")
    op.execute("DROP TABLE embedmig.found")
    op.execute("DROP INDEX embedmig.pending_found")
    op.execute("DELETE FROM embedmig.pending WHERE kind = 'f'")
    op.execute(function.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    op.execute("ALTER TABLE embedmig.served DROP COLUMN bridged_hits, DROP COLUMN hits")
