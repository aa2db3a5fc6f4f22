"""Which indexes a slot gets, and the statements that make them: pure."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from embedmig.errors import UnsupportedError, UsageError
from embedmig.schema.designing import MAX_HALFVEC_DIMENSIONS, MAX_VECTOR_DIMENSIONS
from embedmig.schema.estimates import choose_lists
from embedmig.schema.inspection import AnnIndex
from embedmig.schema.naming import MAX_BYTES
from embedmig.schema.registering import fits_distance
from embedmig.types import Distance, Placement, Slot

KINDS = ("hnsw", "ivfflat")
M, EF_CONSTRUCTION = 16, 64
"""pgvector's own defaults."""
_RANGES = {"m": (2, 100), "ef_construction": (4, 1000), "lists": (1, 32_768)}
_OPTIONS = {"hnsw": ("m", "ef_construction"), "ivfflat": ("lists",)}
_DISTANCES = {Distance.COSINE: "cosine", Distance.L2: "l2", Distance.INNER_PRODUCT: "ip"}


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """What the caller asks of an index; None: as the source's, or pgvector's default."""

    kind: str | None = None
    m: int | None = None
    ef_construction: int | None = None
    lists: int | None = None

    def given(self) -> dict[str, int]:
        """The parameters that were asked for."""
        asked = {"m": self.m, "ef_construction": self.ef_construction, "lists": self.lists}
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def asked_kind(self) -> str | None:
        """The kind, given or told by a parameter that only one kind has."""
        if self.kind is not None or not self.given():
            return self.kind
        return "ivfflat" if self.lists is not None else "hnsw"

    def check(self) -> None:
        """Raises UsageError for a kind, or a value, that pgvector would refuse."""
        if self.kind not in (None, *KINDS):
            raise UsageError(f"an index is {' or '.join(KINDS)}, not {self.kind!r}")
        for name, value in self.given().items():
            low, high = _RANGES[name]
            if not low <= value <= high:
                raise UsageError(f"{name} goes from {low} to {high}, not {value}")
        if "lists" in self.given() and len(self.given()) > 1:
            raise UsageError("lists are ivfflat's, m and ef_construction hnsw's: give those of one kind")
        if self.kind is not None and (foreign := set(self.given()) - set(_OPTIONS[self.kind])):
            raise UsageError(
                f"{self.kind} has no {', '.join(sorted(foreign))}: it takes {', '.join(_OPTIONS[self.kind])}"
            )


@dataclass(frozen=True, kw_only=True)
class IndexDesign:
    """One index that a slot is to have."""

    name: str
    kind: str
    number: int
    """0 for the first, whose name has none."""
    opclass: str
    column: str
    quantised_dimensions: int | None
    """Set where the vectors are too long to be indexed as they are: their signs are, for a search to re-rank."""
    options: tuple[tuple[str, int], ...]
    predicate: str | None

    def on(self, table: str) -> str:
        """The index's name on ``table``: the slot's, or a partition of it."""
        return index_of(table, self.column, self.kind, self.number)

    def statement(
        self,
        table: sql.Identifier,
        *,
        vector_schema: str | None,
        name: str | None = None,
        concurrently: bool = True,
        only: bool = False,
        if_not_exists: bool = False,
    ) -> sql.Composed:
        """``CREATE INDEX [CONCURRENTLY] name ON [ONLY] table ...``. ``vector_schema``: where pgvector is installed;
        None: where the search_path leads."""
        return sql.SQL("CREATE INDEX {}{}{} ON {}{} USING {} ({} {}){}{}").format(
            sql.SQL("CONCURRENTLY " if concurrently else ""),
            sql.SQL("IF NOT EXISTS " if if_not_exists else ""),
            sql.Identifier(name or self.name),
            sql.SQL("ONLY " if only else ""),
            table,
            sql.Identifier(self.kind),
            self._key(vector_schema),
            _in_schema(vector_schema, self.opclass),
            self._options(),
            sql.SQL("" if self.predicate is None else " WHERE {}").format(sql.SQL(self.predicate or "")),
        )

    def _key(self, vector_schema: str | None) -> sql.Composable:
        if self.quantised_dimensions is None:
            return sql.Identifier(self.column)
        return sql.SQL("({}({})::bit({}))").format(
            _in_schema(vector_schema, "binary_quantize"),
            sql.Identifier(self.column),
            sql.Literal(self.quantised_dimensions),
        )

    def _options(self) -> sql.Composable:
        if not self.options:
            return sql.SQL("")
        pairs = (sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in self.options)
        return sql.SQL(" WITH ({})").format(sql.SQL(", ").join(pairs))


def _in_schema(schema: str | None, name: str) -> sql.Identifier:
    return sql.Identifier(name) if schema is None else sql.Identifier(schema, name)


def design_indexes(
    slot: Slot, *, rows: int, options: IndexOptions, source: Slot | None = None, source_indexes: Sequence[AnnIndex] = ()
) -> tuple[list[IndexDesign], list[str]]:
    """The indexes that ``slot`` gets, one for each row condition that the source's have, and what is to be said of it.

    What ``options`` leaves open is as the source's index of that kind has it. Raises UsageError for options that cannot
    be, UnsupportedError for vectors that no index can hold.
    """
    options.check()
    notes: list[str] = []
    mirrored = [] if source is None else _mirrored(source, source_indexes, notes)
    by_condition = _by_condition(slot, source, mirrored, notes)
    designs = []
    for number, (predicate, model_index) in enumerate(by_condition.items()):
        kind = options.asked_kind or (model_index.kind if model_index else "hnsw")
        own = dict(model_index.options) if model_index and model_index.kind == kind else {}
        if own and not options.given():
            shown = ", ".join(f"{key} = {value}" for key, value in own.items())
            notes.append(f"{kind} with {shown}, as {model_index.name if model_index else ''} has it")
        designs.append(_design(slot, kind, options, own, predicate, number, rows))
    return designs, notes


def opclass_of(slot: Slot) -> str:
    """The operator class that orders the slot's vectors by its model's distance; by their signs where they are longer
    than an index takes. Raises UnsupportedError where neither can be."""
    limit = MAX_HALFVEC_DIMENSIONS if slot.vector_type == "halfvec" else MAX_VECTOR_DIMENSIONS
    if slot.model.dimensions <= limit:
        return f"{slot.vector_type}_{_DISTANCES[slot.model.distance]}_ops"
    if slot.model.dimensions <= MAX_HALFVEC_DIMENSIONS:
        raise UnsupportedError(
            f"slot {slot.name} has {slot.model.dimensions} dimensions as vector, an index takes {limit}: it takes"
            f" {MAX_HALFVEC_DIMENSIONS} as halfvec, which embedmig expand chooses for a target"
        )
    if slot.model.distance is Distance.L2:
        raise UnsupportedError(
            f"slot {slot.name} has {slot.model.dimensions} dimensions, which are indexed by their signs, and signs say"
            " nothing of l2 distance: it is searched exactly"
        )
    return "bit_hamming_ops"


def index_of(table: str, vector_column: str, kind: str, number: int = 0) -> str:
    """The name of an index of ours: the same at every run, within what Postgres keeps of a name."""
    name = f"{table}_{vector_column}_{kind}" + (f"_{number}" if number else "")
    if len(name.encode()) <= MAX_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    end = f"_{kind}_{digest}"
    return name.encode()[: MAX_BYTES - len(end)].decode(errors="ignore") + end


def _mirrored(source: Slot, found: Sequence[AnnIndex], notes: list[str]) -> list[AnnIndex]:
    usable = []
    for index in found:
        if not index.valid:
            continue
        if index.kind not in KINDS:
            notes.append(f"{index.name} is {index.kind}, which embedmig does not build: the target gets hnsw")
        elif not fits_distance(index, source.model.distance):
            notes.append(f"{index.name} ({index.opclass}) is for another distance than the model's: not mirrored")
        else:
            usable.append(index)
    return usable


def _by_condition(
    slot: Slot, source: Slot | None, mirrored: Sequence[AnnIndex], notes: list[str]
) -> dict[str | None, AnnIndex | None]:
    """One index a condition, the first of its kind; a single one over all rows where there is nothing to mirror."""
    chosen: dict[str | None, AnnIndex | None] = {}
    for index in sorted(mirrored, key=lambda index: (index.predicate is not None, index.kind != "hnsw", index.name)):
        predicate = index.predicate
        if predicate is not None and slot.placement is Placement.COMPANION:
            notes.append(
                f"{index.name} covers only WHERE {predicate}: the companion has no such column, one covers all"
            )
            predicate = None
        elif predicate is not None and source is not None and _reads(predicate, source.vector_column):
            notes.append(
                f"{index.name} covers only WHERE {predicate}, which reads the old vectors: one covers all rows"
            )
            predicate = None
        chosen.setdefault(predicate, index)
    return chosen or {None: None}


def _reads(predicate: str, column: str) -> bool:
    # A name in a string constant is taken for the column: the index then covers more rows than it must, never fewer.
    return re.search(rf'(?<!\w)"?{re.escape(column)}"?(?!\w)', predicate) is not None


def _design(
    slot: Slot, kind: str, options: IndexOptions, own: dict[str, str], predicate: str | None, number: int, rows: int
) -> IndexDesign:
    defaults = {"m": M, "ef_construction": EF_CONSTRUCTION, "lists": choose_lists(rows)}
    asked = {name: int(value) for name, value in own.items() if name in _OPTIONS[kind]} | options.given()
    chosen = {name: asked.get(name, defaults[name]) for name in _OPTIONS[kind]}
    if kind == "hnsw" and chosen["ef_construction"] < 2 * chosen["m"]:
        raise UsageError(
            f"ef_construction must be at least twice m: {chosen['ef_construction']} with m = {chosen['m']}"
        )
    opclass = opclass_of(slot)
    return IndexDesign(
        name=index_of(slot.table, slot.vector_column, kind, number),
        kind=kind,
        number=number,
        opclass=opclass,
        column=slot.vector_column,
        quantised_dimensions=slot.model.dimensions if opclass == "bit_hamming_ops" else None,
        options=tuple(chosen.items()),
        predicate=predicate,
    )
