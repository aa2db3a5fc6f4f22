"""Counting from SQL: clients in other languages say what they were answered from, as searchers in Python do.

search_v1 is STABLE and writes nothing, so that it can be asked on a standby and costs no row a search. Its clients add
up what they see, and say so once a minute.
"""

from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None

# Buckets as in `embedmig/search/latency.py`: 256, each 5 % wider than the last, from 0.1 ms on.
COUNT = """
CREATE FUNCTION embedmig.count_v1(
    collection text, slot text, epoch bigint, requests bigint DEFAULT 1, errors bigint DEFAULT 0,
    empty bigint DEFAULT 0, seconds double precision[] DEFAULT '{}', by_key boolean DEFAULT false,
    embed_seconds double precision DEFAULT 0
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $count$
DECLARE
    present bigint;
    counted int;
    latency bigint[];
BEGIN
    SELECT r.epoch INTO present FROM embedmig.collection k JOIN embedmig.route r ON r.group_name = k.group_name
     WHERE k.name = count_v1.collection;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no collection %; there are: %', collection,
            coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM embedmig.collection k), 'none')
            USING ERRCODE = 'EM004', HINT = format('Register it: embedmig collection add %s', collection);
    END IF;
    SELECT s.id INTO counted FROM embedmig.slot s JOIN embedmig.collection k ON k.id = s.collection_id
     WHERE k.name = count_v1.collection AND s.name = count_v1.slot;
    IF NOT FOUND OR epoch IS NULL OR epoch NOT BETWEEN 1 AND present THEN
        RAISE EXCEPTION '% has no slot % at epoch %: slot and epoch are those of an answer, or of serving_v1',
            collection, coalesce(slot, 'NULL'), coalesce(epoch::text, 'NULL') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(requests < 0 OR errors < 0 OR empty < 0 OR errors + empty > requests OR embed_seconds < 0
                OR cardinality(seconds) > requests - errors OR array_position(seconds, NULL) IS NOT NULL, true) THEN
        RAISE EXCEPTION 'errors and empty are among the % requests, seconds are one an answer at most', requests
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT array_agg(b.times ORDER BY b.place) INTO latency
      FROM (SELECT g AS place, count(x.seconds) AS times
              FROM generate_series(0, 255) AS g
              LEFT JOIN unnest(seconds) AS x (seconds)
                ON g = least(255, greatest(0, floor(ln(greatest(x.seconds, 1e-9) / 0.0001) / ln(1.05)) + 1))
             GROUP BY g) AS b;
    PERFORM embedmig.report_served_v1(jsonb_build_array(jsonb_build_object(
        'age_s', 0, 'slot_id', counted, 'epoch', epoch, 'chosen_by', CASE WHEN by_key THEN 'key' ELSE 'share' END,
        'requests', requests, 'errors', errors, 'empty', empty, 'embed_us', round(embed_seconds * 1e6),
        'latency', to_jsonb(latency))));
END $count$;
COMMENT ON FUNCTION embedmig.count_v1 IS
    'Adds searches that a client was answered from a slot: how many, how many failed or found nothing, the seconds that'
    ' statements took. by_key: a routing key chose the slot, so that rollback triggers compare by them';
COMMENT ON COLUMN embedmig.route.left_bp IS 'The share before it was lowered, at left_at: where --resume leads';
"""


def upgrade() -> None:
    op.execute(COUNT)
    op.execute("GRANT EXECUTE ON FUNCTION embedmig.count_v1 TO PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION embedmig.count_v1")
    op.execute(
        "COMMENT ON COLUMN embedmig.route.left_bp IS"
        " 'The share before it went back to 0, at left_at: where --resume leads'"
    )
