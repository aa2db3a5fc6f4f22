-- name: list_companions
-- Tables in schema embedmig whose names begin as a companion's would, and that no slot has.
SELECT c.relname AS table, obj_description(c.oid, 'pg_class') AS comment FROM pg_class c
 WHERE c.relnamespace = to_regnamespace('embedmig') AND c.relkind = 'r' AND starts_with(c.relname, %(prefix)s)
   AND NOT EXISTS (SELECT FROM embedmig.slot s WHERE s.table_schema = 'embedmig' AND s.table_name = c.relname
                      AND s.dropped_at IS NULL)
 ORDER BY 1;

-- name: open_slot
SELECT embedmig.open_slot_v1(
    collection => %(collection)s, slot => %(slot)s, model => %(model)s, model_id => %(model_id)s,
    bridge_model_id => %(bridge_model_id)s, placement => %(placement)s, table_schema => %(schema)s,
    table_name => %(table)s, vector_column => %(column)s, model_column => %(column)s || '_model',
    hash_column => %(column)s || '_hash', vector_type => %(vector_type)s, source => %(source)s,
    source_model_column => NULL);
