"""Connecting, identifiers, named queries, locks: what every other folder stands on."""

from embedmig.db.connection import Connection, Database, register_vector_types
from embedmig.db.locks import run_ddl
from embedmig.db.queries import Queries

__all__ = ["Connection", "Database", "Queries", "register_vector_types", "run_ddl"]
