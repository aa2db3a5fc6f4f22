"""What a slot's DDL needs in the database itself: the queue's triggers, and the catalog's side of the slot operations.

They are functions here, and not statements in Python, because a revision rendered with `alembic upgrade --sql` has to
do the same on a database that nobody has looked at: which slots are maintained is known there only.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BUCKET = """
CREATE FUNCTION embedmig.bucket_v1(key text[]) RETURNS smallint LANGUAGE sql STABLE PARALLEL SAFE
RETURN (pg_catalog.hashtext(key::text) & 7)::smallint;
COMMENT ON FUNCTION embedmig.bucket_v1 IS 'The queue bucket (0 to 7) of a key; & and not %, since abs(-2^31) overflows';
"""

# Row comparisons are by image (*<>): no operator of the column's type is looked up, so that json has one, the text of a
# nondeterministic collation counts as changed, and search_path may stay closed. The cast to record keeps Postgres from
# taking ROW() <> ROW() apart into one comparison a column.
REPLACE_TRIGGERS = r"""
CREATE FUNCTION embedmig.replace_triggers_v1(collection_id int) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $replace$
DECLARE
    c           embedmig.collection;
    target      regclass;
    subscribed  boolean;
    queue       text := format('embedmig.queue_%s', collection_id);
    prefix      text := format('embedmig_%s_', collection_id);
    all_ids     text;
    apart_ids   text;
    watched_ids text[];
    edits       text[];
    vectors     text[];
    brought     text;
    scope       text := '';
    settings    text := '';
    event       text;
    wanted      text[];
    condition   text;
    ids         text;
BEGIN
    SELECT * INTO STRICT c FROM embedmig.collection WHERE id = collection_id;
    target := to_regclass(format('%I.%I', c.table_schema, c.table_name));
    SELECT string_agg(quote_literal(s.id), ', ' ORDER BY s.id),
           string_agg(quote_literal(s.id), ', ' ORDER BY s.id) FILTER (WHERE s.placement = 'companion'),
           coalesce(array_agg(s.vector_column ORDER BY s.id) FILTER (WHERE s.placement = 'column'), '{}'),
           string_agg(format($case$
            WHEN %1$L THEN CASE WHEN ROW(NEW.%2$I)::record *= ROW(OLD.%2$I)::record THEN %3$s
                                WHEN NEW.%2$I IS NULL%5$s THEN %4$s ELSE 'a' END$case$, s.id, s.vector_column,
                             CASE WHEN s.maintained_by = 'app' THEN 'NULL' ELSE 'edit' END,
                             CASE WHEN s.maintained_by = 'app' THEN 'NULL' ELSE '''e''' END,
                             -- A hash comes along with a row that is moved between partitions, or restored: the
                             -- vector is ours, and whether it is of this text the hash tells.
                             CASE WHEN s.hash_column IS NOT NULL THEN
                                 format(' OR TG_OP = ''INSERT'' AND NEW.%I IS NOT NULL', s.hash_column) END),
                      '' ORDER BY s.id)
               FILTER (WHERE s.placement = 'column'),
           coalesce(array_agg(s.id::text) FILTER (WHERE s.maintained_by = 'app'), '{}')
      INTO all_ids, apart_ids, vectors, brought, watched_ids
      FROM embedmig.slot s
     WHERE s.collection_id = c.id AND s.dropped_at IS NULL
       AND (s.maintained_by = 'embedmig'
            -- Retired: nobody embeds for it any more, but whether the application still writes it decides over its end.
            OR s.placement = 'column' AND EXISTS (SELECT FROM embedmig.migration m WHERE m.source_id = s.id
                                                     AND m.retired_at IS NOT NULL AND m.closed_at IS NULL));
    wanted := CASE WHEN all_ids IS NULL OR target IS NULL THEN '{}'
                   WHEN apart_ids IS NULL THEN '{insert,update}' ELSE '{insert,update,delete,truncate}' END;

    IF target IS NOT NULL THEN
        FOREACH event IN ARRAY '{insert,update,delete,truncate}'::text[] LOOP
            IF event <> ALL (wanted)
               AND EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = target AND t.tgname = prefix || event) THEN
                EXECUTE format('DROP TRIGGER %I ON %s', prefix || event, target);
            END IF;
        END LOOP;
    END IF;
    IF cardinality(wanted) = 0 THEN
        EXECUTE format('DROP FUNCTION IF EXISTS %s()', queue);
        RETURN;
    END IF;

    IF NOT (has_schema_privilege('embedmig', 'USAGE') AND has_table_privilege('embedmig.pending', 'INSERT')
            AND has_function_privilege('embedmig.bucket_v1(text[])', 'EXECUTE')) THEN
        -- The function runs as its owner: without these the user's own writes would fail.
        RAISE insufficient_privilege USING MESSAGE = format(
            'role %s may not write embedmig.pending, and so may not own the triggers on %s', current_user, target);
    END IF;
    edits := ARRAY(SELECT DISTINCT n FROM unnest(c.key_columns || c.text_columns || c.filter_columns) n ORDER BY n);
    IF EXISTS (SELECT FROM unnest(c.key_types) AS k WHERE k !~ '^(smallint|integer|bigint|uuid|text|character)') THEN
        -- The text of such a key depends on settings of the session; the queue wants one text a key.
        settings := ' SET datestyle = ''ISO'' SET intervalstyle = ''postgres'' SET extra_float_digits = ''1'''
                 || ' SET bytea_output = ''hex'' SET timezone = ''UTC''';
    END IF;
    IF c.row_filter IS NOT NULL THEN
        -- A filter that does not parse under the function's search_path would fail in the user's own writes.
        EXECUTE format('SELECT FROM %s AS scoped WHERE (%s) LIMIT 0', target, c.row_filter);
        scope := format($scope$
    IF NOT EXISTS (SELECT FROM (SELECT NEW.*) AS scoped WHERE (%1$s))
       AND (TG_OP = 'INSERT' OR NOT EXISTS (SELECT FROM (SELECT OLD.*) AS scoped WHERE (%1$s))) THEN
        RETURN NULL;
    END IF;$scope$, c.row_filter);
    END IF;

    EXECUTE format($create$
CREATE OR REPLACE FUNCTION %1$s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp%2$s AS $queue$
DECLARE
    new_key text[];
    old_key text[];
    edit    text := 'e';
    kind    text;
    slot    text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO embedmig.pending (slot_id, bucket) SELECT s::int, 0 FROM unnest(TG_ARGV) AS s;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        old_key := %3$s;
    END IF;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO embedmig.pending (slot_id, bucket, key)
        SELECT s::int, embedmig.bucket_v1(old_key), old_key FROM unnest(TG_ARGV) AS s;
        RETURN NULL;
    END IF;
    new_key := %4$s;%5$s
    IF TG_OP = 'UPDATE' AND %6$s *= %7$s THEN
        edit := NULL;
    END IF;
    FOREACH slot IN ARRAY TG_ARGV LOOP
        kind := %8$s;
        IF kind IS NOT NULL THEN
            INSERT INTO embedmig.pending (slot_id, bucket, key, kind)
            VALUES (slot::int, embedmig.bucket_v1(new_key), new_key, kind::"char");
        END IF;
        IF old_key <> new_key AND slot <> ALL (%9$L::text[]) THEN
            INSERT INTO embedmig.pending (slot_id, bucket, key)
            VALUES (slot::int, embedmig.bucket_v1(old_key), old_key);
        END IF;
    END LOOP;
    RETURN NULL;
END $queue$$create$,
        queue, settings,
        embedmig.row_text_v1('ARRAY[%s]::text[]', 'OLD.%I::text', c.key_columns),
        embedmig.row_text_v1('ARRAY[%s]::text[]', 'NEW.%I::text', c.key_columns),
        scope,
        embedmig.row_text_v1('ROW(%s)::record', 'OLD.%I', edits),
        embedmig.row_text_v1('ROW(%s)::record', 'NEW.%I', edits),
        CASE WHEN brought IS NULL THEN 'edit' ELSE format('CASE slot%s ELSE edit END', brought) END, watched_ids);
    EXECUTE format('REVOKE ALL ON FUNCTION %s() FROM PUBLIC', queue);

    subscribed := EXISTS (SELECT FROM pg_subscription_rel r WHERE r.srrelid = target);
    FOREACH event IN ARRAY wanted LOOP
        ids := CASE WHEN event IN ('insert', 'update') THEN all_ids ELSE apart_ids END;
        condition := CASE event WHEN 'update' THEN format(
            'WHEN (current_setting(''embedmig.writer'', true) IS DISTINCT FROM ''on'' AND %s *<> %s)',
            embedmig.row_text_v1('ROW(%s)::record', 'OLD.%I', edits || vectors),
            embedmig.row_text_v1('ROW(%s)::record', 'NEW.%I', edits || vectors)) ELSE '' END;
        EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s FOR EACH %s %s EXECUTE FUNCTION %s(%s)',
                       prefix || event, upper(event), target,
                       CASE event WHEN 'truncate' THEN 'STATEMENT' ELSE 'ROW' END, condition, queue, ids);
        IF subscribed THEN
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', target, prefix || event);
        END IF;
    END LOOP;
END $replace$;
COMMENT ON FUNCTION embedmig.replace_triggers_v1 IS
    'Makes the triggers on a collection''s table queue the slots that embedmig maintains now; none: no triggers';

CREATE FUNCTION embedmig.row_text_v1(around text, each_column text, columns text[]) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN format(around, (SELECT string_agg(format(each_column, n), ', ' ORDER BY place)
                         FROM unnest(columns) WITH ORDINALITY AS u (n, place)));
"""

REFUSE_EXPAND = """
CREATE FUNCTION embedmig.refuse_expand_v1(collection_id int) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $refuse$
DECLARE
    c      embedmig.collection;
    target text;
    share  int;
    pinned text;
BEGIN
    SELECT * INTO STRICT c FROM embedmig.collection WHERE id = collection_id;
    SELECT s.name INTO target FROM embedmig.migration m JOIN embedmig.slot s ON s.id = m.target_id
     WHERE m.collection_id = c.id AND m.closed_at IS NULL;
    IF target IS NOT NULL THEN
        RETURN format('%1$s has an open migration to slot %2$s: finish it (embedmig status %1$s), or take it back,'
                      ' embedmig expand %1$s --undo', c.name, target);
    END IF;
    SELECT r.share_bp INTO share FROM embedmig.route r WHERE r.group_name = c.group_name;
    IF share > 0 THEN
        RETURN format('the route of group %s is at %s %%, and a new target would be served at once:'
                      ' close the open migrations of its collections first (embedmig status)',
                      c.group_name, round(share / 100.0, 2));
    END IF;
    SELECT string_agg(format('pid %s on %s (%s)', p.pid, p.host, p.pin), ', ' ORDER BY p.host, p.pid) INTO pinned
      FROM embedmig.pin p
     WHERE p.collection_id = c.id AND p.pin IN ('old', 'new') AND p.seen_at > clock_timestamp() - interval '10 minutes';
    IF pinned IS NOT NULL THEN
        RETURN format('EMBEDMIG_ACTIVE_INDEX pins %s, which would mean another slot from now on: unset it there, or'
                      ' name the slot itself, and try again 10 minutes later', pinned);
    END IF;
    RETURN NULL;
END $refuse$;
COMMENT ON FUNCTION embedmig.refuse_expand_v1 IS 'Why a migration of the collection may not be opened; NULL: it may';
"""

# SQLSTATE EM001 is a precondition that does not hold: what Python raises as RefusedError.
OPEN_SLOT = """
CREATE FUNCTION embedmig.open_slot_v1(
    collection text, slot text, model text, model_id int, bridge_model_id int, placement text,
    table_schema text, table_name text, vector_column text, model_column text, hash_column text, vector_type text,
    source text, source_model_column text
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $open$
DECLARE
    c       embedmig.collection;
    origin  embedmig.slot;
    there   embedmig.slot;
    known   int;
    new_id  int;
    refusal text;
BEGIN
    SELECT * INTO c FROM embedmig.collection k WHERE k.name = open_slot_v1.collection;
    IF c.id IS NULL THEN
        RAISE NOTICE 'collection % is not registered here: columns and checks only (embedmig collection add adopts'
            ' them)', collection;
        RETURN;
    END IF;
    SELECT m.id INTO known FROM embedmig.model m WHERE m.name || '@' || m.revision = model;
    IF known IS NULL THEN
        RAISE EXCEPTION 'model % is not registered in this database: register it first, embedmig model add %', model,
            model USING ERRCODE = 'EM001';
    ELSIF known <> model_id THEN
        RAISE EXCEPTION 'this revision was written for model % with id %, here it has id %: its dimensions,'
            ' normalisation, prompts or token limit differ, and vectors of the two must not meet',
            model, model_id, known USING ERRCODE = 'EM001';
    END IF;
    SELECT * INTO there FROM embedmig.slot s WHERE s.collection_id = c.id AND s.name = slot AND s.dropped_at IS NULL;
    IF there.id IS NOT NULL THEN
        IF (there.model_id, there.placement, there.table_schema, there.table_name, there.vector_column)
           IS DISTINCT FROM (model_id, placement, table_schema, table_name, vector_column) THEN
            RAISE EXCEPTION 'slot % of % exists and is another one: see embedmig collection show %', slot, collection,
                collection USING ERRCODE = 'EM001';
        END IF;
        RETURN;
    END IF;
    refusal := embedmig.refuse_expand_v1(c.id);
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', refusal USING ERRCODE = 'EM001';
    END IF;
    SELECT * INTO origin FROM embedmig.slot s WHERE s.collection_id = c.id AND s.name = source AND s.dropped_at IS NULL;
    IF origin.id IS NULL THEN
        RAISE EXCEPTION 'slot % of % is not here: this revision was written for another state, see embedmig'
            ' collection show %', source, collection, collection USING ERRCODE = 'EM001';
    END IF;
    INSERT INTO embedmig.slot (collection_id, name, model_id, bridge_model_id, placement, table_schema, table_name,
                               vector_column, model_column, hash_column, vector_type, text_separator, maintained_by)
    VALUES (c.id, slot, model_id, bridge_model_id, placement, table_schema, table_name,
            vector_column, model_column, hash_column, vector_type, c.text_separator, 'embedmig')
    RETURNING id INTO new_id;
    INSERT INTO embedmig.migration (collection_id, source_id, target_id) VALUES (c.id, origin.id, new_id);
    IF source_model_column IS NOT NULL THEN
        UPDATE embedmig.slot s SET model_column = source_model_column WHERE s.id = origin.id;
    END IF;
    PERFORM embedmig.replace_triggers_v1(c.id);
    PERFORM embedmig.raise_epoch_v1(c.group_name);
    INSERT INTO embedmig.event (collection, verb, was, became, details)
    VALUES (c.name, 'expand', source, slot, jsonb_build_object('model', model, 'placement', placement));
END $open$;
COMMENT ON FUNCTION embedmig.open_slot_v1 IS
    'Writes a target slot whose columns or companion are there, opens the migration to it, and begins to queue for it';

CREATE FUNCTION embedmig.raise_epoch_v1(group_name text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $raise$
BEGIN
    UPDATE embedmig.route r SET epoch = r.epoch + 1, changed_at = clock_timestamp()
     WHERE r.group_name = raise_epoch_v1.group_name;
    PERFORM pg_notify('embedmig_route', group_name);
END $raise$;
"""

DROP_SLOT = """
CREATE FUNCTION embedmig.undo_slot_v1(collection text, slot text, keeps_label boolean) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $undo$
DECLARE
    c      embedmig.collection;
    gone   embedmig.slot;
    way    embedmig.migration;
    share  int;
    pinned text;
BEGIN
    SELECT * INTO c FROM embedmig.collection k WHERE k.name = undo_slot_v1.collection;
    IF c.id IS NULL THEN
        RAISE NOTICE 'collection % is not registered here: columns and checks only', collection;
        RETURN true;
    END IF;
    SELECT * INTO gone FROM embedmig.slot s WHERE s.collection_id = c.id AND s.name = slot AND s.dropped_at IS NULL;
    IF gone.id IS NULL THEN
        RAISE NOTICE 'slot % of % is gone already: nothing is dropped', slot, collection;
        RETURN false;
    END IF;
    SELECT * INTO way FROM embedmig.migration m
     WHERE m.collection_id = c.id AND m.target_id = gone.id AND m.closed_at IS NULL;
    IF way.id IS NULL THEN
        RAISE EXCEPTION 'slot % of % is no target of an open migration: a source is dropped by embedmig contract %,'
            ' which asks first whether anything needs it; after that this revision changes nothing', slot, collection,
            collection USING ERRCODE = 'EM001';
    END IF;
    SELECT r.share_bp INTO share FROM embedmig.route r WHERE r.group_name = c.group_name;
    IF share > 0 THEN
        RAISE EXCEPTION 'slot % of % serves % %% of the requests: take them back first, embedmig rollback %', slot,
            collection, round(share / 100.0, 2), collection USING ERRCODE = 'EM001';
    END IF;
    IF way.handover_at IS NOT NULL THEN
        RAISE EXCEPTION 'embedmig maintains the source of % since the handover: take that back first,'
            ' embedmig handover % --undo', collection, collection USING ERRCODE = 'EM001';
    END IF;
    SELECT string_agg(format('pid %s on %s', p.pid, p.host), ', ' ORDER BY p.host, p.pid) INTO pinned
      FROM embedmig.pin p WHERE p.slot_id = gone.id AND p.seen_at > clock_timestamp() - interval '10 minutes';
    IF pinned IS NOT NULL THEN
        RAISE EXCEPTION 'slot % of % serves processes that EMBEDMIG_ACTIVE_INDEX pins to it (%): unset it there, and'
            ' try again 10 minutes later', slot, collection, pinned USING ERRCODE = 'EM001';
    END IF;
    -- A worker holds its chunk while it writes: waiting for it here, before any lock on a table, cannot deadlock.
    DELETE FROM embedmig.chunk k WHERE k.slot_id = gone.id;
    DELETE FROM embedmig.pending q WHERE q.slot_id = gone.id;
    DELETE FROM embedmig.failure f WHERE f.slot_id = gone.id;
    UPDATE embedmig.backfill b SET state = 'cancelled', ended_at = clock_timestamp()
     WHERE b.slot_id = gone.id AND b.ended_at IS NULL;
    UPDATE embedmig.slot s SET dropped_at = clock_timestamp() WHERE s.id = gone.id;
    UPDATE embedmig.migration m SET closed_at = clock_timestamp() WHERE m.id = way.id;
    IF NOT keeps_label THEN
        UPDATE embedmig.slot s SET model_column = NULL WHERE s.id = way.source_id;
    END IF;
    PERFORM embedmig.replace_triggers_v1(c.id);
    PERFORM embedmig.raise_epoch_v1(c.group_name);
    INSERT INTO embedmig.event (collection, verb, was, became, details)
    SELECT c.name, 'expand --undo', slot, s.name, '{}' FROM embedmig.slot s WHERE s.id = way.source_id;
    RETURN true;
END $undo$;
COMMENT ON FUNCTION embedmig.undo_slot_v1 IS
    'Takes a target that serves nobody out of the catalog and closes its migration; whether its columns may be dropped:'
    ' a slot that is gone already may have left its names to another';
"""

CHANGE_SLOT = """
CREATE FUNCTION embedmig.note_index_v1(collection text, slot text, index_name text, is_there boolean)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $note$
DECLARE
    c   embedmig.collection;
    one embedmig.slot;
BEGIN
    SELECT * INTO c FROM embedmig.collection k WHERE k.name = note_index_v1.collection;
    SELECT * INTO one FROM embedmig.slot s WHERE s.collection_id = c.id AND s.name = slot AND s.dropped_at IS NULL;
    IF one.id IS NULL THEN
        RAISE NOTICE 'slot % of % is not in this catalog: the index only', slot, collection;
        RETURN;
    END IF;
    -- A slot may have several, for conditions of their own: the first stays the one that searches use.
    IF is_there AND to_regclass(quote_ident(one.table_schema) || '.' || quote_ident(one.index_name)) IS NOT NULL
       OR NOT is_there AND one.index_name IS DISTINCT FROM note_index_v1.index_name THEN
        RETURN;
    END IF;
    UPDATE embedmig.slot s SET index_name = CASE WHEN is_there THEN note_index_v1.index_name END WHERE s.id = one.id;
    PERFORM embedmig.raise_epoch_v1(c.group_name);
    INSERT INTO embedmig.event (collection, verb, was, became, details)
    VALUES (c.name, 'index', one.index_name, CASE WHEN is_there THEN note_index_v1.index_name END,
            jsonb_build_object('slot', slot));
END $note$;
COMMENT ON FUNCTION embedmig.note_index_v1 IS 'Notes that an index of a slot is there now, or gone';

CREATE FUNCTION embedmig.rename_columns_v1(collection text, slot text, renames jsonb) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $rename$
DECLARE
    c embedmig.collection;
BEGIN
    SELECT * INTO c FROM embedmig.collection k WHERE k.name = rename_columns_v1.collection;
    UPDATE embedmig.slot s
       SET vector_column = coalesce(renames ->> s.vector_column, s.vector_column),
           model_column = coalesce(renames ->> s.model_column, s.model_column),
           hash_column = coalesce(renames ->> s.hash_column, s.hash_column)
     WHERE s.collection_id = c.id AND s.name = slot AND s.dropped_at IS NULL AND renames ? s.vector_column;
    IF FOUND THEN
        PERFORM embedmig.replace_triggers_v1(c.id);
        PERFORM embedmig.raise_epoch_v1(c.group_name);
        INSERT INTO embedmig.event (collection, verb, was, became, details)
        VALUES (c.name, 'rename', slot, slot, renames);
    END IF;
END $rename$;
COMMENT ON FUNCTION embedmig.rename_columns_v1 IS 'Notes that columns of a slot have new names, {"old": "new", ...}';
"""


def upgrade() -> None:
    for functions in (BUCKET, REPLACE_TRIGGERS, REFUSE_EXPAND, OPEN_SLOT, DROP_SLOT, CHANGE_SLOT):
        op.execute(functions)
    op.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA embedmig FROM PUBLIC")


def downgrade() -> None:
    for function in (
        "rename_columns_v1", "note_index_v1", "undo_slot_v1", "raise_epoch_v1", "open_slot_v1", "refuse_expand_v1",
        "replace_triggers_v1", "row_text_v1", "bucket_v1",
    ):  # fmt: skip
        op.execute(f"DROP FUNCTION embedmig.{function}")
