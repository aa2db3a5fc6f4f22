-- name: insert_report
INSERT INTO embedmig.report (collection_id, source_id, target_id, verdict, bridged_share, part, body)
VALUES (%(collection_id)s, %(source_id)s, %(target_id)s, %(verdict)s, %(bridged_share)s, %(part)s, %(body)s)
RETURNING *;

-- name: newest_report
SELECT * FROM embedmig.report
 WHERE collection_id = %(collection_id)s AND source_id = %(source_id)s AND target_id = %(target_id)s
 ORDER BY id DESC LIMIT 1;

-- name: accept_report
UPDATE embedmig.report SET accepted = %(why)s WHERE id = %(id)s;

-- name: get_report
SELECT * FROM embedmig.report WHERE collection_id = %(collection_id)s AND id = %(id)s;

-- name: list_reports
SELECT * FROM embedmig.report
 WHERE collection_id = %(collection_id)s AND made_at <= coalesce(%(before)s::timestamptz, 'infinity')
 ORDER BY id DESC LIMIT %(limit)s;

-- name: add_preference
-- In one statement, so that two judges at once lose nothing of each other.
UPDATE embedmig.report
   SET body = jsonb_set(body, '{preferences}', coalesce(body -> 'preferences', '[]') || %(preference)s)
 WHERE id = %(id)s;
