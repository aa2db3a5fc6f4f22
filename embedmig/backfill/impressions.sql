-- name: impressions
-- What was shown from a slot since yesterday began (UTC), and how much of it is of rows that are bridged still; then the
-- fewest rows, the most shown first, that would leave one in a hundred of it bridged.
WITH shown AS (
    SELECT coalesce(sum(t.hits), 0)::bigint AS hits, coalesce(sum(t.bridged_hits), 0)::bigint AS bridged
      FROM embedmig.served t
     WHERE t.slot_id = %(slot_id)s AND t.hour >= (date_trunc('day', clock_timestamp(), 'UTC') - interval '1 day')),
found AS MATERIALIZED (
    SELECT f.key, sum(f.impressions)::bigint AS impressions FROM embedmig.found f
     WHERE f.slot_id = %(slot_id)s AND f.day >= (clock_timestamp() AT TIME ZONE 'UTC')::date - 1
     GROUP BY f.key),
standing AS (
    SELECT k.impressions, sum(k.impressions) OVER (ORDER BY k.impressions DESC, k.key) AS with_it
      FROM found AS k
     CROSS JOIN LATERAL (SELECT {typed_key} OFFSET 0) AS typed
      JOIN {slot} AS {alias} ON {matches}
     WHERE {is_bridged})
SELECT s.hits AS shown, s.bridged AS bridged_when_shown, coalesce(sum(b.impressions), 0)::bigint AS bridged_now,
       count(*) FILTER (WHERE b.with_it - b.impressions < t.total - 0.01 * s.hits) AS rows_to_99_percent
  FROM shown s LEFT JOIN standing b ON true
 CROSS JOIN (SELECT coalesce(sum(impressions), 0) AS total FROM standing) AS t
 GROUP BY s.hits, s.bridged, t.total;
