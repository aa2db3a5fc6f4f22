"""Adapters: maps from one model's space to another's, which one stands before a slot, and searching so from SQL.

A query adapter in use changes what a slot is asked with, so whatever marks one used or not raises the route's epoch in
its transaction. The fingerprints' digests are those of the fit: where one differs now, the adapter must not be applied.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE embedmig.adapter (
    id               int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id    int NOT NULL REFERENCES embedmig.collection ON DELETE CASCADE,
    name             text NOT NULL,
    direction        text NOT NULL CHECK (direction IN ('query', 'bridge')),
    from_model_id    int NOT NULL REFERENCES embedmig.model,
    to_model_id      int NOT NULL REFERENCES embedmig.model,
    from_fingerprint uuid,
    to_fingerprint   uuid,
    kind             text NOT NULL,
    normalise        boolean NOT NULL,
    body             bytea,
    provenance       jsonb NOT NULL,
    health           jsonb,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    slot_id          int,
    used_since       timestamptz,
    dropped_at       timestamptz,
    CHECK (from_model_id <> to_model_id),
    CHECK ((slot_id IS NULL) = (used_since IS NULL)),
    CHECK ((body IS NULL) = (dropped_at IS NOT NULL))
);
ALTER TABLE embedmig.adapter ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX adapter_name ON embedmig.adapter (collection_id, name) WHERE dropped_at IS NULL;
CREATE UNIQUE INDEX adapter_used ON embedmig.adapter (slot_id, direction)
 WHERE used_since IS NOT NULL AND dropped_at IS NULL;
COMMENT ON TABLE embedmig.adapter IS 'Maps between the spaces of two models; what was fitted never changes';
COMMENT ON COLUMN embedmig.adapter.from_fingerprint IS 'md5 of the model''s fingerprint at the fit; NULL: it had none';
COMMENT ON COLUMN embedmig.adapter.normalise IS 'Whether vectors are of unit length before and after the map';
COMMENT ON COLUMN embedmig.adapter.body IS 'A safetensors file; gone with the adapter';
COMMENT ON COLUMN embedmig.adapter.provenance IS 'What it was made from, and every candidate''s score held out';
COMMENT ON COLUMN embedmig.adapter.health IS 'The last comparison of fresh pairs with those of the fit';
COMMENT ON COLUMN embedmig.adapter.slot_id IS
    'query: the slot that is asked through it; bridge: the slot that it has filled. NULL while it is not used';
"""

# What a query is embedded with is now the adapter's model, where one stands before the slot.
CHOICE = """
CREATE OR REPLACE FUNCTION embedmig.choose_slot_v1(
    collection text, routing_key text,
    OUT c embedmig.collection, OUT s embedmig.slot, OUT m embedmig.model, OUT epoch bigint, OUT is_target boolean,
    OUT source_model text, OUT serving_key jsonb
) LANGUAGE plpgsql STABLE AS $choose$
DECLARE
    picked record;
BEGIN
    SELECT k AS c, x AS s, y AS m, r.epoch AS epoch, w.id IS NOT NULL AND x.id = w.target_id AS is_target,
           (SELECT o.name || '@' || o.revision FROM embedmig.slot f JOIN embedmig.model o ON o.id = f.model_id
             WHERE f.id = w.source_id) AS source_model, a.name AS adapter, v.name || '@' || v.revision AS asked
      INTO picked
      FROM embedmig.collection k
      JOIN embedmig.route r ON r.group_name = k.group_name
      LEFT JOIN embedmig.migration w ON w.collection_id = k.id AND w.closed_at IS NULL
      LEFT JOIN embedmig.slot x ON x.id = (
           SELECT f.id FROM embedmig.slot f
            WHERE f.collection_id = k.id AND f.dropped_at IS NULL
              AND (w.id IS NULL OR f.id = CASE
                      WHEN coalesce(embedmig.routing_bucket_v1(routing_key), 9999) < r.share_bp THEN w.target_id
                      ELSE w.source_id END)
            ORDER BY f.id DESC LIMIT 1)
      LEFT JOIN embedmig.model y ON y.id = x.model_id
      LEFT JOIN embedmig.adapter a
        ON a.slot_id = x.id AND a.to_model_id = x.model_id AND a.direction = 'query' AND a.used_since IS NOT NULL
       AND a.dropped_at IS NULL
      LEFT JOIN embedmig.model v ON v.id = a.from_model_id
     WHERE k.name = choose_slot_v1.collection;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no collection %; there are: %', collection,
            coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM embedmig.collection k), 'none')
            USING ERRCODE = 'EM004', HINT = format('Register it: embedmig collection add %s', collection);
    END IF;
    IF (picked.s).id IS NULL THEN
        RAISE EXCEPTION 'collection % has no slot to search', collection
            USING ERRCODE = 'EM001', HINT = format('embedmig status %s', collection);
    END IF;
    c := picked.c;
    s := picked.s;
    m := picked.m;
    epoch := picked.epoch;
    is_target := picked.is_target;
    source_model := coalesce(picked.source_model, (picked.m).name || '@' || (picked.m).revision);
    serving_key := jsonb_build_object('model', coalesce(picked.asked, m.name || '@' || m.revision), 'slot', s.name,
                                      'epoch', epoch);
    IF picked.adapter IS NOT NULL THEN
        serving_key := serving_key || jsonb_build_object('adapter', picked.adapter);
    END IF;
END $choose$;
COMMENT ON FUNCTION embedmig.choose_slot_v1 IS
    'The slot that a key is answered from, by the route that the statement sees; without a key the source below a share'
    ' of 100 and the target at 100. The serving key''s model is what queries are embedded with: the adapter''s, if any';

CREATE OR REPLACE FUNCTION embedmig.serving_v1(collection text, routing_key text DEFAULT NULL)
RETURNS TABLE (model text, slot text, epoch bigint, dimensions int, query_prompt text) LANGUAGE sql STABLE ROWS 1
AS $serving$
    SELECT x.serving_key ->> 'model', (x.s).name, x.epoch, y.dimensions, y.query_prompt
      FROM embedmig.choose_slot_v1(collection, routing_key) AS x
      JOIN embedmig.model y ON y.name || '@' || y.revision = x.serving_key ->> 'model'
$serving$;
COMMENT ON FUNCTION embedmig.serving_v1 IS
    'The serving key: caches of query vectors key on the model, caches of answers on model, slot and epoch';
"""

CHECK = """
CREATE OR REPLACE FUNCTION embedmig.check_query_v1(
    c embedmig.collection, s embedmig.slot, m embedmig.model, is_target boolean, serving_key jsonb,
    model text, query real[]
) RETURNS void LANGUAGE plpgsql STABLE AS $check$
DECLARE
    own     text := m.name || '@' || m.revision;
    asked   text := serving_key ->> 'model';
    adapter text := serving_key ->> 'adapter';
    length  int := m.dimensions;
    live    text;
BEGIN
    IF model IS DISTINCT FROM own AND model IS DISTINCT FROM asked THEN
        SELECT string_agg(format('%s (%s@%s)', f.name, y.name, y.revision), ', ' ORDER BY f.id) INTO live
          FROM embedmig.slot f JOIN embedmig.model y ON y.id = f.model_id
         WHERE f.collection_id = c.id AND f.dropped_at IS NULL
        HAVING bool_and(y.name || '@' || y.revision IS DISTINCT FROM model);
        IF live IS NOT NULL THEN
            RAISE EXCEPTION 'no slot of % holds vectors of %; there are: %', c.name, coalesce(model, 'no model'), live
                USING ERRCODE = 'EM005', DETAIL = serving_key, HINT = format('Embed the query with %s.', asked);
        END IF;
        RAISE EXCEPTION 'query vector is from %, slot % holds %', model, s.name,
            own || coalesce(format(' and is asked through adapter %s from %s', adapter, asked), '')
            USING ERRCODE = 'EM002', DETAIL = serving_key, HINT = format('Embed the query with %s.', asked);
    END IF;
    IF model IS DISTINCT FROM own THEN
        SELECT v.dimensions INTO length
          FROM embedmig.adapter a JOIN embedmig.model v ON v.id = a.from_model_id
         WHERE a.slot_id = s.id AND a.to_model_id = s.model_id AND a.direction = 'query' AND a.used_since IS NOT NULL
           AND a.dropped_at IS NULL AND a.from_fingerprint IS NOT DISTINCT FROM md5(v.fingerprint)::uuid
           AND a.to_fingerprint IS NOT DISTINCT FROM md5(m.fingerprint)::uuid;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'adapter % from % to % was made for another fingerprint of one of the two', adapter, asked,
                own USING ERRCODE = 'EM006', DETAIL = serving_key,
                HINT = format('Fit it again: embedmig adapter fit %s', c.name);
        END IF;
    END IF;
    IF cardinality(query) <> length THEN
        RAISE EXCEPTION 'the vector has % dimensions, % has %', cardinality(query), model, length
            USING ERRCODE = 'EM003', DETAIL = serving_key, HINT = 'Is it from another model?';
    END IF;
    IF 0 = ALL (query) THEN
        RAISE EXCEPTION 'the query is all zeros: no model gives that' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF is_target AND s.filled_at IS NULL THEN
        RAISE EXCEPTION 'slot % of % was never filled, and cannot answer', s.name, c.name
            USING ERRCODE = 'EM001', DETAIL = serving_key, HINT = format('embedmig reembed %s', c.name);
    END IF;
END $check$;
COMMENT ON FUNCTION embedmig.check_query_v1 IS
    'Fails unless the query is a vector of the model that the slot holds, or of the one that its adapter is made for';
"""

SEARCH = r"""
DO $make$
DECLARE
    vectors text;
BEGIN
    SELECT quote_ident(n.nspname) INTO vectors
      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector';
    IF vectors IS NULL THEN
        RAISE EXCEPTION 'pgvector is not installed in this database: run CREATE EXTENSION vector';
    END IF;
    EXECUTE replace($create$
CREATE TABLE embedmig.adapter_output (
    adapter_id int NOT NULL REFERENCES embedmig.adapter ON DELETE CASCADE,
    position   int NOT NULL,
    weights    $vectors$.vector NOT NULL,
    bias       real NOT NULL,
    PRIMARY KEY (adapter_id, position)
);
COMMENT ON TABLE embedmig.adapter_output IS
    'The map of a query adapter in use, a row for each dimension that it gives, for searches from SQL';

-- As embedmig.adapters.LinearAdapter maps one vector. pgvector's <#> is the inner product negated.
CREATE FUNCTION embedmig.map_query_v1(slot_id int, query $vectors$.vector) RETURNS $vectors$.vector
LANGUAGE sql STABLE AS $map$
    SELECT CASE WHEN x.normalise THEN $vectors$.l2_normalize(x.mapped) ELSE x.mapped END
      FROM (SELECT a.normalise, array_agg((o.bias - (o.weights OPERATOR($vectors$.<#>) q.unit))::real
                                          ORDER BY o.position)::$vectors$.vector AS mapped
              FROM embedmig.adapter a
              JOIN embedmig.adapter_output o ON o.adapter_id = a.id
             CROSS JOIN LATERAL (
                   SELECT CASE WHEN a.normalise THEN $vectors$.l2_normalize(query) ELSE query END OFFSET 0) AS q (unit)
             WHERE a.slot_id = map_query_v1.slot_id AND a.direction = 'query' AND a.used_since IS NOT NULL
               AND a.dropped_at IS NULL
             GROUP BY a.normalise) AS x
$map$;
COMMENT ON FUNCTION embedmig.map_query_v1 IS
    'A vector of the model that the slot''s adapter is made for, mapped to where the slot''s own would be';

CREATE OR REPLACE FUNCTION embedmig.search_v1(
    collection text, query $vectors$.vector, model text, k int DEFAULT 10, routing_key text DEFAULT NULL,
    filter jsonb DEFAULT NULL, max_distance jsonb DEFAULT NULL, ef_search int DEFAULT NULL, exact boolean DEFAULT false
) RETURNS SETOF embedmig.hit_v1 LANGUAGE plpgsql STABLE ROWS 10 COST 10000 AS $search$
DECLARE
    chosen  record;
    index   record;
    vectors text;
    wanted  int;
    cut_off double precision;
    ef      text;
    scan    text;
    stands  regclass;
    place   smallint;
BEGIN
    IF k IS NULL OR k NOT BETWEEN 1 AND 100000 OR ef_search NOT BETWEEN 1 AND 1000 OR query IS NULL THEN
        RAISE EXCEPTION 'a search wants a query, k from 1 to 100,000 and ef_search from 1 to 1,000'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO chosen FROM embedmig.choose_slot_v1(collection, routing_key);
    PERFORM embedmig.check_query_v1(chosen.c, chosen.s, chosen.m, chosen.is_target, chosen.serving_key, model,
                                    query::real[]);
    IF model <> (chosen.m).name || '@' || (chosen.m).revision THEN
        IF max_distance IS NOT NULL THEN
            RAISE EXCEPTION 'slot % is asked through adapter %: distances after a map do not compare with native ones',
                (chosen.s).name, chosen.serving_key ->> 'adapter'
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave max_distance out.';
        END IF;
        query := embedmig.map_query_v1((chosen.s).id, query);
    END IF;
    SELECT * INTO index FROM embedmig.find_index_v1(chosen.s, chosen.m) WHERE exact IS NOT TRUE;
    SELECT quote_ident(n.nspname) INTO vectors
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = pg_typeof(query);
    stands := to_regclass(format('%I.%I', (chosen.s).table_schema, (chosen.s).table_name));
    SELECT a.attnum INTO place FROM pg_attribute a
     WHERE a.attrelid = stands AND a.attname = (chosen.s).vector_column;
    wanted := CASE WHEN index.form = 'bit' THEN greatest(100, 10 * k) ELSE k END;
    IF index.kind IS NOT NULL THEN
        scan := current_setting(index.kind || '.iterative_scan', true);
        ef := current_setting('hnsw.ef_search', true);
        IF wanted > 1000 OR filter IS NOT NULL OR (chosen.c).row_filter IS NOT NULL OR (chosen.c).hide_stale
           OR (chosen.s).placement = 'companion' THEN
            PERFORM set_config(index.kind || '.iterative_scan', 'relaxed_order', true);
        END IF;
        IF index.kind = 'hnsw' AND ef_search IS NOT NULL THEN
            PERFORM set_config('hnsw.ef_search', least(1000, greatest(wanted, ef_search))::text, true);
        ELSIF index.kind = 'hnsw' AND wanted > 40 THEN
            PERFORM set_config('hnsw.ef_search', greatest(least(1000, wanted), ef::int)::text, true);
        END IF;
    END IF;
    BEGIN
        RETURN QUERY EXECUTE embedmig.search_statement_v1(
            chosen.c, chosen.s, chosen.m, chosen.source_model, chosen.epoch, vectors, index.kind, index.form,
            index.is_cast, k, wanted, filter, embedmig.cut_off_v1(chosen.c, (chosen.s).name, max_distance)
        ) USING query, filter;
    EXCEPTION WHEN undefined_column OR undefined_table THEN
        -- This snapshot has the column and the table has it no more: it went while the lock was awaited.
        IF place IS NULL THEN
            RAISE;
        END IF;
        RAISE EXCEPTION '% changed while the statement ran (%): send it again', collection, SQLERRM
            USING ERRCODE = 'serialization_failure';
    END;
    -- Another column may have taken the name; what was read then is not of this model.
    IF has_column_privilege(stands, place, 'SELECT') IS NULL THEN
        RAISE EXCEPTION '% changed while the statement ran: send it again', collection
            USING ERRCODE = 'serialization_failure';
    END IF;
    IF index.kind IS NOT NULL THEN
        PERFORM set_config(index.kind || '.iterative_scan', scan, true), set_config('hnsw.ef_search', ef, true);
    END IF;
END $search$
    $create$, '$vectors$', vectors);
END $make$;
COMMENT ON FUNCTION embedmig.search_v1 IS
    'The k nearest rows by the slot that serves the routing key; fails unless the query is of that slot''s model,'
    ' or of the model that its adapter is made for';
"""

IN_USE = """
DO $$
DECLARE held text;
BEGIN
    SELECT string_agg(c.name || ' ' || a.name, ', ' ORDER BY c.name, a.name) INTO held
      FROM embedmig.adapter a JOIN embedmig.collection c ON c.id = a.collection_id
     WHERE a.used_since IS NOT NULL AND a.dropped_at IS NULL;
    IF held IS NOT NULL THEN
        RAISE EXCEPTION 'adapters are in use: %. Drop them first (embedmig adapter drop)', held;
    END IF;
END $$
"""


def upgrade() -> None:
    for statements in (TABLE, CHOICE, CHECK, SEARCH):
        op.execute(statements)
    op.execute("GRANT SELECT ON embedmig.adapter, embedmig.adapter_output TO PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION embedmig.map_query_v1 TO PUBLIC")


def downgrade() -> None:
    op.execute(IN_USE)
    environment = op.get_context().environment_context
    assert environment is not None
    before = environment.script.get_revision("0006").module
    for statements in (before.CHOICE, before.SEARCH):
        op.execute(statements.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    op.execute("DROP FUNCTION embedmig.map_query_v1")
    op.execute("DROP TABLE embedmig.adapter_output")
    op.execute("DROP TABLE embedmig.adapter")
