"""Searching from SQL, for clients in any language: what serves, and a search that checks whose vector it is given.

STABLE: the route, the slot and the rows are read in the snapshot of the statement that calls, so that a switch is exact
here without an epoch that rides along. SECURITY INVOKER, with the caller's search_path: it reads what the caller may
read, and conditions mean what they would mean in a query of the caller's own.

The SQLSTATEs are part of the interface, in docs/serving.md: EM001 no complete slot, EM002 another model serves, EM003
another length, EM004 no such collection, EM005 no slot of that model, 22023 an argument, 40001 send it again.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# By way of UTF-8, so that a database of another encoding puts a key where every client puts it.
BUCKET = """
CREATE FUNCTION embedmig.routing_bucket_v1(routing_key text) RETURNS int LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN (('x' || left(md5(convert_to(routing_key, 'UTF8')), 8))::bit(32)::bigint % 10000)::int;
COMMENT ON FUNCTION embedmig.routing_bucket_v1 IS
    'Where a key falls, 0 to 9999: the first 4 bytes of md5(key) mod 10,000. The target answers below share_bp';
"""

CHOICE = """
CREATE FUNCTION embedmig.choose_slot_v1(
    collection text, routing_key text,
    OUT c embedmig.collection, OUT s embedmig.slot, OUT m embedmig.model, OUT epoch bigint, OUT is_target boolean,
    OUT source_model text, OUT serving_key jsonb
) LANGUAGE plpgsql STABLE AS $choose$
DECLARE
    picked record;
BEGIN
    SELECT k AS c, x AS s, y AS m, r.epoch AS epoch, w.id IS NOT NULL AND x.id = w.target_id AS is_target,
           (SELECT o.name || '@' || o.revision FROM embedmig.slot f JOIN embedmig.model o ON o.id = f.model_id
             WHERE f.id = w.source_id) AS source_model
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
    serving_key := jsonb_build_object('model', m.name || '@' || m.revision, 'slot', s.name, 'epoch', epoch);
END $choose$;
COMMENT ON FUNCTION embedmig.choose_slot_v1 IS
    'The slot that a key is answered from, by the route that the statement sees; without a key the source below a share'
    ' of 100 and the target at 100';

CREATE FUNCTION embedmig.serving_v1(collection text, routing_key text DEFAULT NULL)
RETURNS TABLE (model text, slot text, epoch bigint, dimensions int, query_prompt text) LANGUAGE sql STABLE ROWS 1
AS $serving$
    SELECT x.serving_key ->> 'model', (x.s).name, x.epoch, (x.m).dimensions, (x.m).query_prompt
      FROM embedmig.choose_slot_v1(collection, routing_key) AS x
$serving$;
COMMENT ON FUNCTION embedmig.serving_v1 IS
    'The serving key: caches of query vectors key on the model, caches of answers on model, slot and epoch';
"""

# Which comparison an index answers is decided by its operator class and, where it is over an expression, by the text
# that Postgres prints of it, but for brackets, quotes, blanks and schemas.
INDEX = r"""
CREATE FUNCTION embedmig.bare_v1(expression text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN regexp_replace(expression, '\w+\.|[()\s"]', '', 'g');

CREATE FUNCTION embedmig.find_index_v1(
    s embedmig.slot, m embedmig.model, OUT kind text, OUT form text, OUT is_cast boolean
) LANGUAGE plpgsql STABLE AS $find$
BEGIN
    SELECT am.amname, split_part(o.opcname, '_', 1), i.indkey[0] = 0
      INTO kind, form, is_cast
      FROM pg_class t
     CROSS JOIN LATERAL (
           SELECT t.oid AS oid UNION ALL
           SELECT p.relid FROM pg_partition_tree(t.oid) p WHERE t.relkind = 'p' AND p.relid <> t.oid) AS u
      JOIN pg_attribute a ON a.attrelid = u.oid AND a.attname = s.vector_column
      JOIN pg_index i ON i.indrelid = u.oid AND i.indisvalid AND i.indisready
      JOIN pg_class ic ON ic.oid = i.indexrelid AND (u.oid = t.oid OR NOT ic.relispartition)
      JOIN pg_am am ON am.oid = ic.relam AND am.amname IN ('hnsw', 'ivfflat')
      JOIN pg_opclass o ON o.oid = i.indclass[0]
     WHERE t.oid = to_regclass(format('%I.%I', s.table_schema, s.table_name))
       AND CASE WHEN o.opcname = 'bit_hamming_ops'
                THEN i.indkey[0] = 0 AND embedmig.bare_v1(pg_get_indexdef(i.indexrelid, 1, true))
                     = embedmig.bare_v1(format('binary_quantize(%s)::bit(%s)', s.vector_column, m.dimensions))
                WHEN o.opcname <> ALL (ARRAY[format('vector_%s_ops', m.distance), format('halfvec_%s_ops', m.distance)])
                THEN false
                WHEN i.indkey[0] = 0
                THEN embedmig.bare_v1(pg_get_indexdef(i.indexrelid, 1, true)) = embedmig.bare_v1(format(
                         '%s::%s(%s)', s.vector_column, split_part(o.opcname, '_', 1), m.dimensions))
                ELSE i.indkey[0] = a.attnum END
     ORDER BY ic.relname IS DISTINCT FROM s.index_name, i.indkey[0] = 0, ic.relname LIMIT 1;
END $find$;
COMMENT ON FUNCTION embedmig.find_index_v1 IS
    'The ANN index that answers for a slot: its access method; vector, halfvec or bit; whether over an expression';
"""

FILTER = """
CREATE FUNCTION embedmig.filter_condition_v1(target regclass, filter jsonb) RETURNS text LANGUAGE plpgsql STABLE
AS $filter$
DECLARE
    conditions text[] := '{}';
    part       record;
    compared   record;
    kind       text;
BEGIN
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'a filter is a JSON object, column: value, not a JSON %', jsonb_typeof(filter)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR part IN SELECT f.key AS name, f.value, jsonb_typeof(f.value) AS type FROM jsonb_each(filter) f ORDER BY 1 LOOP
        SELECT format_type(a.atttypid, -1) INTO kind FROM pg_attribute a
         WHERE a.attrelid = target AND a.attname = part.name AND a.attnum > 0 AND NOT a.attisdropped;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the filter names column %, which % has not', part.name, target
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        CASE part.type
            WHEN 'null' THEN
                conditions := conditions || format('d.%I IS NULL', part.name);
            WHEN 'array' THEN
                conditions := conditions || format(
                    'd.%1$I = ANY (ARRAY(SELECT jsonb_array_elements_text($2 -> %1$L))::%2$s[])', part.name, kind);
            WHEN 'object' THEN
                FOR compared IN SELECT o.key AS operator FROM jsonb_object_keys(part.value) AS o (key) LOOP
                    IF compared.operator <> ALL ('{<,<=,>,>=,<>}'::text[]) THEN
                        RAISE EXCEPTION 'the filter on % has %, which is none of <, <=, >, >=, <>', part.name,
                            compared.operator USING ERRCODE = 'invalid_parameter_value';
                    END IF;
                    conditions := conditions || format('d.%1$I %2$s ($2 -> %1$L ->> %2$L)::%3$s', part.name,
                                                       compared.operator, kind);
                END LOOP;
            ELSE
                conditions := conditions || format('d.%1$I = ($2 ->> %1$L)::%2$s', part.name, kind);
        END CASE;
    END LOOP;
    RETURN coalesce(nullif(array_to_string(conditions, ' AND '), ''), 'true');
END $filter$;
COMMENT ON FUNCTION embedmig.filter_condition_v1 IS
    'The condition on row d that a filter means; its values are read from parameter 2';

CREATE FUNCTION embedmig.cut_off_v1(
    collection embedmig.collection, slot text, max_distance jsonb
) RETURNS double precision LANGUAGE plpgsql STABLE AS $cut$
DECLARE
    live text[];
    odd  text;
BEGIN
    IF max_distance IS NULL OR jsonb_typeof(max_distance) = 'null' THEN
        RETURN NULL;
    END IF;
    live := ARRAY(SELECT s.name FROM embedmig.slot s
                   WHERE s.collection_id = collection.id AND s.dropped_at IS NULL ORDER BY s.id);
    IF jsonb_typeof(max_distance) = 'object' THEN
        -- A slot that was dropped may stay in the caller's table: names are never used again.
        SELECT n INTO odd FROM jsonb_object_keys(max_distance) AS n WHERE n <> ALL (live) AND n !~ '^v[0-9]+$';
        IF FOUND THEN
            RAISE EXCEPTION 'max_distance names slot %; there are: %', odd, array_to_string(live, ', ')
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        RETURN max_distance ->> slot;
    END IF;
    IF cardinality(live) > 1 THEN
        RAISE EXCEPTION 'one max_distance for slots %: distances of two models do not compare',
            array_to_string(live, ' and ')
            USING ERRCODE = 'invalid_parameter_value', HINT = format('Give each its own: {"%s": ...}', live[1]);
    END IF;
    RETURN max_distance #>> '{}';
END $cut$;
COMMENT ON FUNCTION embedmig.cut_off_v1 IS 'The largest distance that hits of a slot may have; NULL: any';
"""

# Rows are numbered parameters away from being a query of the caller's own: 1 is the vector, 2 the filter. A companion's
# columns go by names of ours, so that bare names in the collection's row filter mean the user's table.
STATEMENT = r"""
CREATE TYPE embedmig.hit_v1 AS (
    key text[], distance double precision, slot text, model text, stale boolean, epoch bigint
);
COMMENT ON TYPE embedmig.hit_v1 IS
    'A row that was found: its key as text, a part a column; distance, where smaller is nearer; the slot that answered;'
    ' what made the row''s vector; whether the row''s text has changed since; the epoch of the route';

CREATE FUNCTION embedmig.search_statement_v1(
    c embedmig.collection, s embedmig.slot, m embedmig.model, source_model text, epoch bigint, vectors text,
    kind text, form text, is_cast boolean, k int, wanted int, filter jsonb, cut_off double precision
) RETURNS text LANGUAGE plpgsql STABLE AS $statement$
DECLARE
    apart      boolean := s.placement = 'companion';
    vector     text := CASE WHEN apart THEN 's.embedmig_vector' ELSE format('d.%I', s.vector_column) END;
    model      text := CASE WHEN s.model_column IS NULL THEN NULL WHEN apart THEN 's.embedmig_model'
                            ELSE format('d.%I', s.model_column) END;
    hash       text := CASE WHEN s.hash_column IS NULL THEN NULL WHEN apart THEN 's.embedmig_hash'
                            ELSE format('d.%I', s.hash_column) END;
    own        text := m.name || '@' || m.revision;
    operator   text := format('OPERATOR(%s.%s)', vectors, CASE m.distance WHEN 'cosine' THEN '<=>' WHEN 'l2' THEN '<->'
                                                                         ELSE '<#>' END);
    compared   text := CASE WHEN kind IS NULL OR form = 'bit' THEN s.vector_type ELSE form END;
    query      text := CASE WHEN compared = 'halfvec' THEN format('$1::%s.halfvec', vectors) ELSE '$1' END;
    distance   text := format('(%s %s %s)', CASE WHEN is_cast AND form <> 'bit'
                                                 THEN format('(%s::%s.%s(%s))', vector, vectors, form, m.dimensions)
                                                 ELSE vector END, operator, query);
    -- Postgres would take an approximate index for the bare distance.
    sorted     text := CASE WHEN kind IS NULL THEN distance || ' + 0'
                            WHEN form <> 'bit' THEN distance
                            ELSE format('%1$s.binary_quantize(%2$s)::bit(%3$s) OPERATOR(%1$s.<~>)'
                                        ' %1$s.binary_quantize(%4$s)::bit(%3$s)', vectors, vector, m.dimensions, query)
                       END;
    stale      text := CASE WHEN hash IS NULL THEN 'false' ELSE format(
        '(%1$s IS NOT NULL AND %1$s IS DISTINCT FROM md5(%2$s)::uuid)', hash,
        (SELECT string_agg(format('coalesce(octet_length(d.%1$I::text)::text || '':'' || d.%1$I::text, ''N'')', n),
                           ' || ' ORDER BY place) FROM unnest(c.text_columns) WITH ORDINALITY AS u (n, place))) END;
    source     text := format('%I.%I AS d', c.table_schema, c.table_name);
    conditions text[] := ARRAY[vector || ' IS NOT NULL'];
BEGIN
    IF apart THEN
        source := (
            SELECT format('(SELECT %s, %I AS embedmig_vector%s%s FROM %I.%I) AS s JOIN %s ON %s',
                          string_agg(format('%I AS embedmig_key%s', n, place), ', '), s.vector_column,
                          ', ' || quote_ident(s.model_column) || ' AS embedmig_model',
                          ', ' || quote_ident(s.hash_column) || ' AS embedmig_hash',
                          s.table_schema, s.table_name, source,
                          string_agg(format('d.%I = s.embedmig_key%s', n, place), ' AND '))
              FROM unnest(c.key_columns) WITH ORDINALITY AS u (n, place));
    END IF;
    IF model IS NOT NULL THEN
        conditions := conditions || format('%s IN (%s)', model, concat_ws(', ', m.id, s.bridge_model_id));
    END IF;
    IF c.row_filter IS NOT NULL THEN
        -- On lines of its own: it may end in a comment.
        conditions := conditions || concat(E'(\n', c.row_filter, E'\n)');
    END IF;
    IF filter IS NOT NULL THEN
        conditions := conditions || embedmig.filter_condition_v1(
            format('%I.%I', c.table_schema, c.table_name)::regclass, filter);
    END IF;
    IF c.hide_stale AND hash IS NOT NULL THEN
        conditions := conditions || concat('NOT ', stale);
    END IF;
    RETURN concat(
        'SELECT * FROM (SELECT ',
        (SELECT format('ARRAY[%s]', string_agg(format('d.%I::text', n), ', ' ORDER BY place))
           FROM unnest(c.key_columns) WITH ORDINALITY AS u (n, place)),
        ' AS key, ', distance, ' AS distance, ', format('%L::text AS slot, ', s.name),
        CASE WHEN model IS NULL OR s.bridge_model_id IS NULL THEN format('%L::text', own)
             ELSE format('CASE WHEN %s = %s THEN %L ELSE %L END', model, s.bridge_model_id, source_model || '->' || own,
                         own) END,
        ' AS model, ', stale, ' AS stale, ', epoch, '::bigint AS epoch FROM ', source, ' WHERE ',
        array_to_string(conditions, ' AND '), ' ORDER BY ', sorted, ' LIMIT ', wanted, ') AS found',
        ' WHERE distance <= ' || cut_off || '::float8', ' ORDER BY distance LIMIT ', k);
END $statement$;
COMMENT ON FUNCTION embedmig.search_statement_v1 IS
    'The statement of a search, with the query as parameter 1 and the filter as parameter 2';
"""

# What the index scan reads is set for this statement alone: the caller's transaction goes on with what it had.
SEARCH = r"""
CREATE FUNCTION embedmig.check_query_v1(
    c embedmig.collection, s embedmig.slot, m embedmig.model, is_target boolean, serving_key jsonb,
    model text, query real[]
) RETURNS void LANGUAGE plpgsql STABLE AS $check$
DECLARE
    serving text := m.name || '@' || m.revision;
    live    text;
BEGIN
    IF model IS DISTINCT FROM serving THEN
        SELECT string_agg(format('%s (%s@%s)', f.name, y.name, y.revision), ', ' ORDER BY f.id) INTO live
          FROM embedmig.slot f JOIN embedmig.model y ON y.id = f.model_id
         WHERE f.collection_id = c.id AND f.dropped_at IS NULL
        HAVING bool_and(y.name || '@' || y.revision IS DISTINCT FROM model);
        IF live IS NOT NULL THEN
            RAISE EXCEPTION 'no slot of % holds vectors of %; there are: %', c.name, coalesce(model, 'no model'), live
                USING ERRCODE = 'EM005', DETAIL = serving_key, HINT = format('Embed the query with %s.', serving);
        END IF;
        RAISE EXCEPTION 'query vector is from %, slot % holds %', model, s.name, serving
            USING ERRCODE = 'EM002', DETAIL = serving_key, HINT = format('Embed the query with %s.', serving);
    END IF;
    IF cardinality(query) <> m.dimensions THEN
        RAISE EXCEPTION 'the vector has % dimensions, % has %', cardinality(query), serving, m.dimensions
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
COMMENT ON FUNCTION embedmig.check_query_v1 IS 'Fails unless the query is a vector of the model that the slot holds';

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
CREATE FUNCTION embedmig.search_v1(
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
    'The k nearest rows by the slot that serves the routing key; fails unless the query is of that slot''s model';
"""

FUNCTIONS = (
    "search_v1", "check_query_v1", "search_statement_v1", "cut_off_v1", "filter_condition_v1", "find_index_v1",
    "bare_v1", "serving_v1", "choose_slot_v1", "routing_bucket_v1",
)  # fmt: skip


def upgrade() -> None:
    for statements in (BUCKET, CHOICE, INDEX, FILTER, STATEMENT, SEARCH):
        op.execute(statements)
    # USAGE on the schema is the door, as for the tables that say what is served.
    for function in FUNCTIONS:
        op.execute(f"GRANT EXECUTE ON FUNCTION embedmig.{function} TO PUBLIC")


def downgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION embedmig.{function}")
    op.execute("DROP TYPE embedmig.hit_v1")
