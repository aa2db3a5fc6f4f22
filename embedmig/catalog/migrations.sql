-- name: open_migration
INSERT INTO embedmig.migration (collection_id, source_id, target_id)
VALUES (%(collection_id)s, %(source_id)s, %(target_id)s) RETURNING *;

-- name: find_open
SELECT * FROM embedmig.migration WHERE collection_id = %(collection_id)s AND closed_at IS NULL;

-- name: count_other_open
SELECT count(*) AS open FROM embedmig.migration m JOIN embedmig.collection c ON c.id = m.collection_id
 WHERE c.group_name = %(group)s AND m.closed_at IS NULL AND c.id <> %(collection_id)s;

-- name: mark_handover
UPDATE embedmig.migration SET handover_at = clock_timestamp(),
       way_back_ends_at = CASE WHEN %(source_model_gone)s THEN clock_timestamp() END
 WHERE id = %(id)s RETURNING *;

-- name: unmark_handover
UPDATE embedmig.migration SET handover_at = NULL, way_back_ends_at = NULL WHERE id = %(id)s;

-- name: accept_no_way_back
UPDATE embedmig.migration SET no_way_back_accepted = %(why)s WHERE id = %(id)s;

-- name: mark_retired
UPDATE embedmig.migration SET retired_at = clock_timestamp() WHERE id = %(id)s;

-- name: close_migration
UPDATE embedmig.migration SET closed_at = clock_timestamp() WHERE id = %(id)s;
