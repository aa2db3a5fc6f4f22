"""What a slot operation is told: all that its statements need, so that they can be written without a database."""

from dataclasses import dataclass, fields
from typing import Any

from psycopg import sql

from embedmig.schema.naming import SCHEMA
from embedmig.types import Placement


@dataclass(frozen=True, kw_only=True)
class SlotArguments:
    """A slot as a revision names it: what a person reviews."""

    table: str
    column: str
    """The vector column: on the user's table, or in the companion."""
    schema: str = "public"
    collection: str
    slot: str
    model: str
    """name@revision."""
    model_id: int
    """The id that the catalog must have for it: the operation fails where it has another."""
    bridge_model_id: int | None = None
    """The id that bridged vectors of this slot carry."""
    dimensions: int
    vector_type: str = "vector"
    """vector or halfvec."""
    vector_schema: str | None = None
    """Where pgvector is installed, when the search_path does not lead there."""
    placement: str = "column"
    """column or companion."""
    model_column: str | None = None
    """None: a source as it was found, whose label is in the catalog only."""
    hash_column: str | None = None
    companion: str | None = None
    """The companion's name in schema embedmig."""
    key: tuple[str, ...] = ()
    """The primary key's columns, for a companion: it takes their types from the table itself."""
    storage: str | None = None
    """How the companion keeps its vectors: plain where they fit a page beside a short key."""
    source: str
    """The slot that the migration comes from."""
    source_column: str | None = None
    source_model_column: str | None = None
    """The label that the source gets; None when it has one, or none on the table."""
    source_model_id: int | None = None
    source_bridge_model_id: int | None = None

    def named(self) -> dict[str, Any]:
        """The keyword arguments that differ from their defaults, for a revision."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in given.items() if name not in _POSITIONAL and value != plain[name]}

    @property
    def is_apart(self) -> bool:
        """Whether the vectors stand in a companion."""
        return self.placement == Placement.COMPANION

    @property
    def user_table(self) -> sql.Identifier:
        """The user's table."""
        return sql.Identifier(self.schema, self.table)

    @property
    def slot_table(self) -> sql.Identifier:
        """The table that the vectors stand in."""
        if self.companion is not None:
            return sql.Identifier(SCHEMA, self.companion)
        return self.user_table

    @property
    def model_ids(self) -> list[int]:
        """The ids that may stand beside a vector of the slot."""
        return [self.model_id, *([] if self.bridge_model_id is None else [self.bridge_model_id])]

    @property
    def source_model_ids(self) -> list[int]:
        """The ids that may stand beside a vector of the source."""
        return [number for number in (self.source_model_id, self.source_bridge_model_id) if number is not None]

    @property
    def type_name(self) -> sql.Composed:
        """``vector(384)``, behind its schema where one is named."""
        parts = (self.vector_type,) if self.vector_schema is None else (self.vector_schema, self.vector_type)
        return sql.SQL("{}({})").format(sql.Identifier(*parts), sql.Literal(self.dimensions))


_POSITIONAL = ("table", "column")
