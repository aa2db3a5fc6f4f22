-- name: book_tokens
-- On the job itself, so that what was paid for counts though no chunk has it.
UPDATE embedmig.backfill SET tokens_spent = tokens_spent + %(tokens)s WHERE slot_id = %(slot_id)s AND ended_at IS NULL;
