-- name: read_serving
-- All that a search must know, in one snapshot: the epoch is that of these slots. Indexes are those over the slot's
-- vector column, on its table or, where that is partitioned, on partitions that no index of the whole covers.
SELECT (SELECT jsonb_build_object(
    'collection', to_jsonb(c),
    'route', to_jsonb(r),
    'group_size', (SELECT count(*) FROM embedmig.collection o WHERE o.group_name = c.group_name),
    'migration', (SELECT to_jsonb(m) FROM embedmig.migration m WHERE m.collection_id = c.id AND m.closed_at IS NULL),
    'slots', (SELECT coalesce(jsonb_agg(to_jsonb(s) || jsonb_build_object(
                         'm_name', m.name, 'm_revision', m.revision, 'm_provider', m.provider, 'm_options', m.options,
                         'm_dimensions', m.dimensions, 'm_distance', m.distance, 'm_normalised', m.normalised,
                         'm_document_prompt', m.document_prompt, 'm_query_prompt', m.query_prompt,
                         'm_max_tokens', m.max_tokens, 'm_price_per_million_tokens', m.price_per_million_tokens,
                         'm_state', m.state, 'm_ends_on', m.ends_on,
                         'failing', EXISTS (SELECT FROM embedmig.failure f WHERE f.slot_id = s.id AND NOT f.ignored),
                         'bridged', EXISTS (SELECT FROM embedmig.adapter b
                                             WHERE b.slot_id = s.id AND b.direction = 'bridge'
                                               AND b.used_since IS NOT NULL AND b.dropped_at IS NULL),
                         'adapter', (
                             SELECT jsonb_build_object('id', a.id, 'name', a.name, 'used_since', a.used_since,
                                        'unchanged', a.from_fingerprint IS NOT DISTINCT FROM md5(v.fingerprint)::uuid
                                                 AND a.to_fingerprint IS NOT DISTINCT FROM md5(m.fingerprint)::uuid,
                                        'model', jsonb_build_object(
                                            'name', v.name, 'revision', v.revision, 'provider', v.provider,
                                            'options', v.options, 'dimensions', v.dimensions, 'distance', v.distance,
                                            'normalised', v.normalised, 'document_prompt', v.document_prompt,
                                            'query_prompt', v.query_prompt, 'max_tokens', v.max_tokens,
                                            'price_per_million_tokens', v.price_per_million_tokens,
                                            'state', v.state, 'ends_on', v.ends_on))
                               FROM embedmig.adapter a JOIN embedmig.model v ON v.id = a.from_model_id
                              WHERE a.slot_id = s.id AND a.to_model_id = s.model_id AND a.direction = 'query'
                                AND a.used_since IS NOT NULL AND a.dropped_at IS NULL),
                         'indexes', coalesce(x.indexes, '[]')) ORDER BY s.id), '[]')
                FROM embedmig.slot s
                JOIN embedmig.model m ON m.id = s.model_id
                LEFT JOIN LATERAL (
                     SELECT jsonb_agg(jsonb_build_object(
                                'name', ic.relname, 'kind', am.amname, 'opclass', opc.opcname,
                                'expression', CASE WHEN i.indkey[0] = 0 THEN pg_get_indexdef(i.indexrelid, 1, true) END,
                                'valid', i.indisvalid AND i.indisready) ORDER BY ic.relname) AS indexes
                       FROM pg_class t
                       JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = s.vector_column
                       JOIN pg_index i ON i.indrelid = t.oid OR i.indrelid IN (
                            SELECT p.relid FROM pg_partition_tree(t.oid) p WHERE t.relkind = 'p')
                       JOIN pg_class ic ON ic.oid = i.indexrelid
                       JOIN pg_am am ON am.oid = ic.relam AND am.amname IN ('hnsw', 'ivfflat')
                       JOIN pg_opclass opc ON opc.oid = i.indclass[0]
                      WHERE t.oid = to_regclass(format('%%I.%%I', s.table_schema, s.table_name))
                        AND (i.indrelid = t.oid OR NOT ic.relispartition)
                        AND EXISTS (SELECT FROM pg_attribute b
                                     WHERE b.attrelid = i.indrelid AND b.attname = a.attname
                                       AND (b.attnum = i.indkey[0] OR i.indkey[0] = 0 AND EXISTS (
                                            SELECT FROM pg_depend d
                                             WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                                               AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
                                               AND d.refobjsubid = b.attnum)))
                     ) x ON true
               WHERE s.collection_id = c.id AND s.dropped_at IS NULL))
  FROM embedmig.collection c JOIN embedmig.route r ON r.group_name = c.group_name
 WHERE c.name = %(name)s) AS serving,
       ARRAY(SELECT o.name FROM embedmig.collection o ORDER BY 1) AS known;
