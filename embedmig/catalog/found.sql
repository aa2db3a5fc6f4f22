-- name: report_found
SELECT embedmig.report_found_v1(%(slot_id)s, %(shown)s) AS queued;
