-- name: begin
-- One message, and so one way there and back: what follows in the transaction sees what this epoch was read from.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = {timeout};
SELECT epoch FROM embedmig.route WHERE group_name = {group};
