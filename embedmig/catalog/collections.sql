-- name: insert_collection
INSERT INTO embedmig.collection (name, group_name, table_schema, table_name, key_columns, key_types, text_columns,
                                 text_separator, row_filter, filter_columns, hide_stale)
VALUES (%(name)s, %(group_name)s, %(table_schema)s, %(table_name)s, %(key_columns)s, %(key_types)s, %(text_columns)s,
        %(text_separator)s, %(row_filter)s, %(filter_columns)s, %(hide_stale)s)
ON CONFLICT (name) DO NOTHING RETURNING id;

-- name: find_collection
SELECT * FROM embedmig.collection WHERE name = %(name)s;

-- name: list_collections
SELECT * FROM embedmig.collection ORDER BY name;

-- name: list_group
SELECT * FROM embedmig.collection WHERE group_name = %(group_name)s ORDER BY name;

-- name: delete_collection
-- Takes the collection and what hangs on it out of the catalog; the event log keeps its name. Queue entries of its
-- slots go with it: without a slot nobody could claim them. So do counts, and texts of queries that were kept.
WITH gone AS (SELECT id FROM embedmig.slot WHERE collection_id = %(id)s),
     q AS (DELETE FROM embedmig.pending WHERE slot_id IN (SELECT id FROM gone)),
     c AS (DELETE FROM embedmig.chunk WHERE slot_id IN (SELECT id FROM gone)),
     b AS (DELETE FROM embedmig.backfill WHERE slot_id IN (SELECT id FROM gone)),
     f AS (DELETE FROM embedmig.failure WHERE slot_id IN (SELECT id FROM gone)),
     p AS (DELETE FROM embedmig.pin WHERE collection_id = %(id)s),
     r AS (DELETE FROM embedmig.report WHERE collection_id = %(id)s),
     t AS (DELETE FROM embedmig.shadow_query WHERE collection_id = %(id)s),
     v AS (DELETE FROM embedmig.served WHERE slot_id IN (SELECT id FROM gone)),
     w AS (DELETE FROM embedmig.shadow WHERE source_id IN (SELECT id FROM gone)),
     g AS (DELETE FROM embedmig.guarded WHERE slot_id IN (SELECT id FROM gone)),
     u AS (DELETE FROM embedmig.suspect WHERE slot_id IN (SELECT id FROM gone)),
     i AS (DELETE FROM embedmig.found WHERE slot_id IN (SELECT id FROM gone)),
     m AS (DELETE FROM embedmig.migration WHERE collection_id = %(id)s),
     s AS (DELETE FROM embedmig.slot WHERE collection_id = %(id)s)
DELETE FROM embedmig.collection WHERE id = %(id)s;

-- name: delete_empty_route
-- The next route begins after the last epoch of this one: a search planned long ago for another collection of the same
-- name must never find its epoch again.
WITH gone AS (
    DELETE FROM embedmig.route r
     WHERE group_name = %(group_name)s
       AND NOT EXISTS (SELECT FROM embedmig.collection c WHERE c.group_name = r.group_name)
    RETURNING epoch)
SELECT setval('embedmig.first_epoch', greatest(gone.epoch + 1, f.last_value)) FROM gone, embedmig.first_epoch f;
