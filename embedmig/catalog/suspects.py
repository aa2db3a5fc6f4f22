"""Rows that hold a vector by the application which their slot's model does not give: what the guard found."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from embedmig.db import Connection, Queries
from embedmig.types import Collection, Key, Slot

QUERIES = Queries(__package__, "suspects.sql")


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """One such row."""

    key: Key
    writer: str | None
    """The role, and the application's name in brackets where it gave one."""
    written_at: datetime
    cosine: float
    """Between what is there and what the model gives, -1 to 1."""
    vector: UUID
    """Tells the vector from any other."""


@dataclass(frozen=True, kw_only=True)
class SuspectWriter:
    """Who wrote rows that are marked, of one slot."""

    slot: str
    model: str
    writer: str
    rows: int
    since: datetime

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows of {self.slot} hold vectors that {self.model} does not give for their text, written by"
            f" {self.writer} since {self.since:%Y-%m-%d %H:%M %Z}"
        )


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """How much of what the application wrote was compared, of one slot."""

    slot: str
    compared: int
    mismatched: int
    looked_at: datetime


def mark_suspect(conn: Connection, slot: Slot, suspect: Suspect) -> None:
    """Marks a row, or marks it anew."""
    values = vars(suspect) | {"slot_id": slot.id, "key": list(suspect.key)}
    conn.execute(QUERIES["mark"], values)


def clear_suspect(conn: Connection, slot: Slot, key: Key) -> None:
    """Takes the mark off a row."""
    conn.execute(QUERIES["clear"], {"slot_id": slot.id, "key": list(key)})


def list_suspects(conn: Connection, slot: Slot, *, limit: int = 1000) -> list[Suspect]:
    """The marked rows of a slot, those found first first."""
    rows = conn.execute(QUERIES["list_marked"], {"slot_id": slot.id, "limit": limit})
    names = Suspect.__dataclass_fields__
    return [Suspect(**{name: row[name] for name in names} | {"key": tuple(row["key"])}) for row in rows]


def list_writers(conn: Connection, collection: Collection) -> list[SuspectWriter]:
    """Who wrote what is marked."""
    rows = conn.execute(QUERIES["list_writers"], {"collection_id": collection.id})
    return [SuspectWriter(**row) for row in rows]


def add_compared(conn: Connection, slot: Slot, *, compared: int, mismatched: int) -> None:
    """Adds to how much was compared."""
    conn.execute(QUERIES["add_compared"], {"slot_id": slot.id, "compared": compared, "mismatched": mismatched})


def list_guarded(conn: Connection, collection: Collection) -> list[Guarded]:
    """How much was compared, by slot."""
    return [Guarded(**row) for row in conn.execute(QUERIES["guarded"], {"collection_id": collection.id})]
