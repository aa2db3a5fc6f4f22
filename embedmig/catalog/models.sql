-- name: insert_model
-- One name@revision has one definition in a database; the caller compares when this returns no row.
INSERT INTO embedmig.model (id, name, revision, provider, options, dimensions, distance, normalised, document_prompt,
                            query_prompt, max_tokens, price_per_million_tokens, state, ends_on, fingerprint)
VALUES (%(id)s, %(name)s, %(revision)s, %(provider)s, %(options)s, %(dimensions)s, %(distance)s, %(normalised)s,
        %(document_prompt)s, %(query_prompt)s, %(max_tokens)s, %(price_per_million_tokens)s, %(state)s, %(ends_on)s,
        %(fingerprint)s)
ON CONFLICT DO NOTHING RETURNING id;

-- name: find_model
SELECT * FROM embedmig.model WHERE name = %(name)s AND revision = %(revision)s;

-- name: find_model_by_id
SELECT * FROM embedmig.model WHERE id = %(id)s;

-- name: list_models
SELECT * FROM embedmig.model ORDER BY name, revision;

-- name: update_model
-- What may change without making other vectors: where it is found, what it costs, whether it still answers.
UPDATE embedmig.model
   SET state = %(state)s, ends_on = %(ends_on)s, options = %(options)s,
       price_per_million_tokens = %(price_per_million_tokens)s
 WHERE id = %(id)s;

-- name: find_fingerprint
SELECT fingerprint FROM embedmig.model WHERE id = %(id)s;
