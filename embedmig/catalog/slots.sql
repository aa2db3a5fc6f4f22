-- name: insert_slot
INSERT INTO embedmig.slot (collection_id, name, model_id, bridge_model_id, placement, table_schema, table_name,
                           vector_column, model_column, hash_column, vector_type, text_separator, index_name,
                           maintained_by, filled_at)
VALUES (%(collection_id)s, %(name)s, %(model_id)s, %(bridge_model_id)s, %(placement)s, %(table_schema)s,
        %(table_name)s, %(vector_column)s, %(model_column)s, %(hash_column)s, %(vector_type)s, %(text_separator)s,
        %(index_name)s, %(maintained_by)s, %(filled_at)s)
RETURNING id;

-- name: list_slots
-- Live slots with their models, oldest first.
SELECT s.*, m.id AS m_id, m.name AS m_name, m.revision AS m_revision, m.provider AS m_provider,
       m.options AS m_options, m.dimensions AS m_dimensions, m.distance AS m_distance, m.normalised AS m_normalised,
       m.document_prompt AS m_document_prompt, m.query_prompt AS m_query_prompt, m.max_tokens AS m_max_tokens,
       m.price_per_million_tokens AS m_price_per_million_tokens, m.state AS m_state, m.ends_on AS m_ends_on
  FROM embedmig.slot s JOIN embedmig.model m ON m.id = s.model_id
 WHERE s.collection_id = %(collection_id)s AND s.dropped_at IS NULL
 ORDER BY s.id;

-- name: next_number
-- Numbers are never used again, so that a name in an old event or a cache means one slot only.
SELECT coalesce(max(substring(name FROM '^v([0-9]+)$')::int), 0) + 1 AS number
  FROM embedmig.slot WHERE collection_id = %(collection_id)s;

-- name: update_slot
UPDATE embedmig.slot
   SET model_column = %(model_column)s, hash_column = %(hash_column)s, vector_column = %(vector_column)s,
       index_name = %(index_name)s, maintained_by = %(maintained_by)s, filled_at = %(filled_at)s,
       bridge_model_id = %(bridge_model_id)s
 WHERE id = %(id)s;

-- name: set_index
UPDATE embedmig.slot SET index_name = %(index_name)s WHERE id = %(id)s;

-- name: set_maintainer
UPDATE embedmig.slot SET maintained_by = %(maintained_by)s WHERE id = %(id)s;

-- name: mark_filled
UPDATE embedmig.slot SET filled_at = clock_timestamp() WHERE id = %(id)s AND filled_at IS NULL RETURNING id;

-- name: drop_slot
-- An adapter that stood at it stands nowhere then.
WITH a AS (UPDATE embedmig.adapter SET slot_id = NULL, used_since = NULL
            WHERE slot_id = %(id)s AND dropped_at IS NULL)
UPDATE embedmig.slot SET dropped_at = clock_timestamp() WHERE id = %(id)s;

-- name: forget_work
-- What was queued, claimed or failed for a slot that is no more.
WITH q AS (DELETE FROM embedmig.pending WHERE slot_id = %(id)s),
     c AS (DELETE FROM embedmig.chunk WHERE slot_id = %(id)s),
     f AS (DELETE FROM embedmig.failure WHERE slot_id = %(id)s),
     d AS (DELETE FROM embedmig.found WHERE slot_id = %(id)s)
UPDATE embedmig.backfill SET state = 'cancelled', ended_at = clock_timestamp()
 WHERE slot_id = %(id)s AND ended_at IS NULL;
