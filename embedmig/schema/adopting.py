"""Finds a target slot that revisions made before the collection was registered, as in a fresh database of a CI."""

import re
from dataclasses import dataclass

from embedmig.catalog.models import get_model
from embedmig.db import Connection, Queries
from embedmig.errors import NotFoundError, RefusedError
from embedmig.schema.inspection import Column, TableFacts, describe_table
from embedmig.schema.naming import COMMENT, COMPANION_COLUMNS, SCHEMA
from embedmig.types import Collection, Placement, Slot, bridge_model_id

QUERIES = Queries(__package__, "adopting.sql")

_COLUMN = re.compile(re.escape(COMMENT) + r"vectors of slot (?P<slot>v\d+) by (?P<model>\S+)")
_COMPANION = re.compile(re.escape(COMMENT) + r"slot (?P<slot>v\d+) of (?P<collection>\S+), vectors by (?P<model>\S+)")


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A slot that is in the database and not in the catalog."""

    slot: str
    model: str
    """name@revision, as its comment says."""
    placement: Placement
    schema: str
    table: str
    column: Column


def find_leftovers(conn: Connection, collection: Collection, facts: TableFacts, embedding: str) -> list[Leftover]:
    """Columns of ours on the table beside ``embedding``, and companions of the collection, that no slot has."""
    found = [
        Leftover(
            **match.groupdict(),
            placement=Placement.COLUMN,
            schema=facts.name.schema,
            table=facts.name.table,
            column=column,
        )
        for column in facts.columns
        if column.name.startswith(embedding) and (match := _COLUMN.fullmatch(column.comment or ""))
        if column.name != embedding
    ]
    for row in conn.execute(QUERIES["list_companions"], {"prefix": f"{collection.name}_v"}).fetchall():
        match = _COMPANION.fullmatch(row["comment"] or "")
        if match and match["collection"] == collection.name:
            vector = describe_table(conn, SCHEMA, row["table"]).column(COMPANION_COLUMNS[0])
            found.append(
                Leftover(
                    slot=match["slot"],
                    model=match["model"],
                    placement=Placement.COMPANION,
                    schema=SCHEMA,
                    table=row["table"],
                    column=vector,
                )
            )
    return found


def adopt_target(conn: Connection, collection: Collection, source: Slot, leftover: Leftover) -> None:
    """Writes the leftover as the target of an open migration from ``source``, in the caller's transaction.

    Raises RefusedError when its model is not registered.
    """
    try:
        model = get_model(conn, leftover.model)
    except NotFoundError as exc:
        raise RefusedError(
            f"{leftover.schema}.{leftover.table} already holds slot {leftover.slot}, made by a revision for model"
            f" {leftover.model}: register that model first, embedmig model add {leftover.model}"
        ) from exc
    conn.execute(
        QUERIES["open_slot"],
        {
            "collection": collection.name,
            "slot": leftover.slot,
            "model": model.key,
            "model_id": model.id,
            "bridge_model_id": bridge_model_id(source.model, model),
            "placement": leftover.placement.value,
            "schema": leftover.schema,
            "table": leftover.table,
            "column": leftover.column.name,
            "vector_type": leftover.column.type_name,
            "source": source.name,
        },
    )
