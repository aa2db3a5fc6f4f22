-- name: find_limits
SELECT requests_per_minute, tokens_per_minute FROM embedmig.rate_limit WHERE model_id = %(model_id)s;

-- name: set_limits
-- What was booked before keeps its place: new limits hold from the next booking on.
INSERT INTO embedmig.rate_limit AS r (model_id, requests_per_minute, tokens_per_minute)
VALUES (%(model_id)s, %(requests_per_minute)s, %(tokens_per_minute)s)
ON CONFLICT (model_id) DO UPDATE
   SET requests_per_minute = excluded.requests_per_minute, tokens_per_minute = excluded.tokens_per_minute;

-- name: book_request
-- Books behind all that was booked so far, by whichever machine, and tells when it may be sent; no row: no limit.
-- An amount takes the time in which its rate lets it through, so that nothing is added up and nothing expires.
-- Commits without waiting for the disk: a booking that a crash undoes is no loss.
UPDATE embedmig.rate_limit AS r
   SET requests_free_at = greatest(r.requests_free_at, b.at - b.burst) + b.requests_take,
       tokens_free_at = greatest(r.tokens_free_at, b.at - b.burst) + b.tokens_take
  FROM (SELECT l.model_id, clock_timestamp() AS at, make_interval(secs => %(burst_s)s) AS burst,
               make_interval(secs => coalesce(%(requests)s::double precision * 60 / l.requests_per_minute, 0)) AS requests_take,
               make_interval(secs => coalesce(%(tokens)s::double precision * 60 / l.tokens_per_minute, 0)) AS tokens_take,
               set_config('synchronous_commit', 'off', true)
          FROM embedmig.rate_limit l WHERE l.model_id = %(model_id)s) AS b
 WHERE r.model_id = b.model_id AND (r.requests_per_minute IS NOT NULL OR r.tokens_per_minute IS NOT NULL)
RETURNING extract(epoch FROM greatest(r.requests_free_at - b.requests_take - b.at,
                                      r.tokens_free_at - b.tokens_take - b.at))::double precision AS wait_s;
