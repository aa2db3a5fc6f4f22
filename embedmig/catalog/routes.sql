-- name: ensure_route
INSERT INTO embedmig.route (group_name, epoch)
SELECT %(group)s, last_value FROM embedmig.first_epoch ON CONFLICT DO NOTHING;

-- name: find_route
SELECT * FROM embedmig.route WHERE group_name = %(group)s;

-- name: set_share
-- Every change of the share is a new epoch: searches planned for the old one find no row in it.
-- The hold counts from the last rise, and lowering the share does not start it anew.
UPDATE embedmig.route
   SET share_bp = %(share_bp)s, epoch = epoch + 1, changed_at = clock_timestamp(),
       full_since = CASE WHEN %(share_bp)s = 10000 THEN clock_timestamp() END,
       raised_at = CASE WHEN %(share_bp)s > share_bp THEN clock_timestamp() WHEN %(share_bp)s > 0 THEN raised_at END,
       raised_epoch = CASE WHEN %(share_bp)s > share_bp THEN epoch + 1 WHEN %(share_bp)s > 0 THEN raised_epoch END,
       left_at = NULL, left_bp = NULL, tripped = NULL
 WHERE group_name = %(group)s RETURNING *;

-- name: lock_route
-- Whoever changes the share waits for whoever is changing it.
SELECT share_bp, epoch FROM embedmig.route WHERE group_name = %(group)s FOR UPDATE;

-- name: read_ladder
-- A share that was left before every open migration began belongs to one that is over.
SELECT r.share_bp, r.epoch, coalesce(r.raised_at, r.changed_at) AS raised_at, coalesce(r.raised_epoch, r.epoch) AS raised_epoch,
       extract(epoch FROM clock_timestamp() - coalesce(r.raised_at, r.changed_at))::float8 AS held_s,
       CASE WHEN w.opened_at <= r.left_at THEN r.left_at END AS left_at,
       CASE WHEN w.opened_at <= r.left_at THEN r.left_bp END AS left_bp,
       CASE WHEN w.opened_at <= r.left_at THEN r.tripped END AS tripped
  FROM embedmig.route r
 CROSS JOIN LATERAL (
       SELECT min(m.opened_at) AS opened_at FROM embedmig.migration m JOIN embedmig.collection c ON c.id = m.collection_id
        WHERE c.group_name = r.group_name AND m.closed_at IS NULL) AS w
 WHERE r.group_name = %(group)s;

-- name: mark_left
-- Where the share stood before it was taken back and, when a rollback trigger took it back, what that said.
UPDATE embedmig.route SET left_at = clock_timestamp(), left_bp = %(left_bp)s, tripped = %(tripped)s
 WHERE group_name = %(group)s;

-- name: forgive
UPDATE embedmig.route SET tripped = NULL WHERE group_name = %(group)s;

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
