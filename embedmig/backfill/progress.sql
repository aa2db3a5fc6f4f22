-- name: work_left
-- One slot's numbers. waiting: entries queued before %(since)s that are still to be seen to; one that comes back time
-- after time, because its row is locked or changes all the while, is left to the tail.
SELECT coalesce(j.rows_planned, 0) AS rows_planned, j.limit_rows, coalesce(j.state, 'done') AS state,
       coalesce(c.rows_done, 0) AS rows_done, coalesce(c.open, 0) AS open_chunks, coalesce(c.held, 0) AS held_chunks,
       w.rows_written, w.tokens, q.queued, q.lag_s, q.waiting,
       (SELECT count(*) FROM embedmig.failure f WHERE f.slot_id = %(slot_id)s AND NOT f.ignored) AS failures
  FROM (SELECT coalesce(sum(rows_written), 0)::bigint AS rows_written, coalesce(sum(tokens_spent), 0)::bigint AS tokens
          FROM (SELECT rows_written, tokens_spent FROM embedmig.chunk WHERE slot_id = %(slot_id)s
                UNION ALL SELECT rows_written, tokens_spent FROM embedmig.backfill WHERE slot_id = %(slot_id)s) AS t) AS w
 CROSS JOIN (SELECT count(*) FILTER (WHERE kind <> 'f') AS queued, count(*) FILTER (WHERE queued_at <= %(since)s AND (settled < 6 OR ready <= %(since)s)) AS waiting,
                    coalesce(extract(epoch FROM clock_timestamp() - min(queued_at) FILTER (WHERE kind <> 'f')), 0)::float8 AS lag_s
               FROM embedmig.pending WHERE slot_id = %(slot_id)s AND ready < 'infinity') AS q
  LEFT JOIN embedmig.backfill j ON j.slot_id = %(slot_id)s AND j.ended_at IS NULL
  LEFT JOIN LATERAL (
    SELECT sum(CASE WHEN done_at IS NOT NULL THEN row_count ELSE least(rows_written, row_count) END)::bigint AS rows_done,
           count(*) FILTER (WHERE done_at IS NULL) AS open,
           count(*) FILTER (WHERE done_at IS NULL AND lease_until > clock_timestamp()) AS held
      FROM embedmig.chunk WHERE backfill_id = j.id) AS c ON true;

-- name: now
SELECT clock_timestamp() AS now;
