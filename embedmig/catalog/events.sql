-- name: insert_event
INSERT INTO embedmig.event (collection, verb, was, became, why, details)
VALUES (%(collection)s, %(verb)s, %(was)s, %(became)s, %(why)s, %(details)s);

-- name: list_events
SELECT at, actor, collection, verb, was, became, why, details FROM embedmig.event
 WHERE %(collection)s::text IS NULL OR collection = %(collection)s
 ORDER BY id DESC LIMIT %(limit)s;
