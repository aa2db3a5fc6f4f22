-- name: ensure_route
INSERT INTO embedmig.route (group_name, epoch)
SELECT %(group)s, last_value FROM embedmig.first_epoch ON CONFLICT DO NOTHING;

-- name: find_route
SELECT * FROM embedmig.route WHERE group_name = %(group)s;

-- name: set_share
-- Every change of the share is a new epoch: searches planned for the old one find no row in it.
UPDATE embedmig.route
   SET share_bp = %(share_bp)s, epoch = epoch + 1, changed_at = clock_timestamp(),
       full_since = CASE WHEN %(share_bp)s = 10000 THEN clock_timestamp() END
 WHERE group_name = %(group)s RETURNING *;

-- name: raise_epoch
-- For whatever removes, renames or adds something that planned searches may name.
UPDATE embedmig.route SET epoch = epoch + 1, changed_at = clock_timestamp() WHERE group_name = %(group)s;

-- name: notify
-- Only a hint to load the other model early; nothing relies on it.
SELECT pg_notify('embedmig_route', %(group)s);

-- name: live_pins
SELECT p.host, p.pid, p.pin, p.epoch, p.seen_at, s.name AS slot
  FROM embedmig.pin p JOIN embedmig.slot s ON s.id = p.slot_id
 WHERE p.collection_id = %(collection_id)s AND p.seen_at > clock_timestamp() - interval '10 minutes'
 ORDER BY p.host, p.pid;

-- name: report_pin
SELECT embedmig.report_pin_v1(%(collection_id)s, %(host)s, %(pid)s, %(pin)s, %(slot_id)s, %(epoch)s);
