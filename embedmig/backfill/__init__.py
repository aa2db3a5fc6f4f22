"""The re-embedding of a table: planning, chunks and leases, reading, embedding, writing, failures."""
