"""Change the embedding model under a live Postgres + pgvector table."""
