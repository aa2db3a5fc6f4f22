"""plan: what a migration would take, before anything of it is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedmig.backfill.forecast import EmbeddingForecast, forecast_embedding
from embedmig.catalog.collections import get_collection
from embedmig.catalog.migrations import find_migration
from embedmig.catalog.models import get_model
from embedmig.catalog.rates import get_limits
from embedmig.catalog.slots import list_slots
from embedmig.db import Connection, Database
from embedmig.db.connection import require_server
from embedmig.embedders import load_embedder
from embedmig.errors import RefusedError, UnsupportedError, UsageError
from embedmig.schema.bridge_forecast import BridgeForecast, forecast_bridge
from embedmig.schema.build_memory import plan_memory
from embedmig.schema.designing import design_target
from embedmig.schema.estimates import hnsw_index_bytes, ivfflat_index_bytes
from embedmig.schema.expanding import add_operation
from embedmig.schema.forecast import (
    Onlooker,
    WriteForecast,
    forecast_column,
    forecast_companion,
    is_horizon_held,
    list_onlookers,
    locks_taken,
)
from embedmig.schema.index_design import IndexOptions, design_indexes
from embedmig.schema.inspection import TableFacts, describe_table, find_ann_indexes, placement_facts
from embedmig.schema.placement import choose_placement
from embedmig.settings import load_settings
from embedmig.types import Collection, Model, ModelState, Placement, Slot


@dataclass(frozen=True, kw_only=True)
class IndexPlan:
    """The index that the target would get."""

    kind: str | None
    """None: none can be built, and the target is searched exactly."""
    opclass: str | None
    count: int
    """One for each row condition of the source's."""
    size_bytes: int
    memory_wanted_bytes: int
    memory_given_bytes: int
    parallel_workers: int
    shared_memory_bytes: int | None
    """Room in the server's /dev/shm; None where it cannot be seen."""
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A migration foretold. Sizes and times are about; counts say whether they are exact."""

    collection: str
    source: str
    source_model: str
    model: str
    vector_type: str
    rows: int
    rows_are_exact: bool
    embedding: EmbeddingForecast
    placement: Placement
    """What ``auto`` means here."""
    why: str
    writes: tuple[WriteForecast, ...]
    """The placements there are to choose from."""
    blocked: Mapping[str, str]
    """A placement that cannot be, and why."""
    index: IndexPlan
    bridge: BridgeForecast | None
    """What a bridge would take in place of waiting for all that; None where nothing can be bridged from."""
    onlookers: tuple[Onlooker, ...]
    not_looked_at: tuple[str, ...]
    locks: tuple[str, ...]
    sql: tuple[str, ...]
    """What ``expand`` would run, in one transaction, in the recommended placement; empty while it would refuse."""
    refusal: str | None
    """Why ``expand`` would refuse now."""
    warnings: tuple[str, ...]

    @property
    def seconds(self) -> float | None:
        """Embedding and writing run side by side: the slower one decides. None while the model's speed is not known."""
        if self.embedding.seconds is None:
            return None
        writing = next(write for write in self.writes if write.placement is self.placement)
        return max(self.embedding.seconds, self.embedding.rows_wanting / writing.rows_per_s)


def plan(db: Database, collection: str, to: str, *, measure: bool = True) -> Plan:
    """What moving ``collection`` to the model ``to`` (name@revision) would take. Changes nothing; reads a sample of the
    texts, and embeds a part of it unless that costs money or ``measure`` is False.

    Raises NotFoundError, UsageError when it is the model there is, UnsupportedError when the model's vectors cannot be
    stored, RefusedError when the model is gone.
    """
    with db.connect(patience=load_settings()) as conn:
        require_server(conn)
        found, model = get_collection(conn, collection), get_model(conn, to)
        if model.state is ModelState.GONE:
            raise RefusedError(f"model {model.key} is gone: nothing can be embedded with it (embedmig model set {to})")
        source, refusal = _source(conn, found)
        facts = describe_table(conn, found.schema, found.table)
        targets, blocked = _targets(conn, found, source, model)
        placement, why = _choose(conn, found, targets, blocked)
        target = targets[placement]
        embedder = load_embedder(model)
        free_of_charge = embedder.usage is None and model.price_per_million_tokens is None
        limits = get_limits(conn, model)
        embedding = forecast_embedding(
            conn, found, model, embedder, limits, rows=facts.rows, measure=measure and free_of_charge
        )
        onlookers, unseen = list_onlookers(conn, facts, source)
        statements, refused = _statements(conn, found, model, placement) if refusal is None else ((), refusal)
        return Plan(
            collection=found.name,
            source=source.name,
            source_model=source.model.key,
            model=model.key,
            vector_type=f"{target.vector_type}({model.dimensions})",
            rows=facts.rows,
            rows_are_exact=facts.rows_are_exact,
            embedding=embedding,
            placement=placement,
            why=why,
            writes=_writes(conn, found, facts, targets, embedding.rows_wanting),
            blocked={str(name): reason for name, reason in blocked.items()},
            index=_index(conn, source, target, embedding.rows_wanting),
            bridge=_bridge(conn, source, target, embedding.rows_wanting),
            onlookers=tuple(onlookers),
            not_looked_at=tuple(unseen),
            locks=tuple(locks_taken(found, target)),
            sql=statements,
            refusal=refused,
            warnings=tuple(_warnings(facts, source, model, embedding)),
        )


def _source(conn: Connection, collection: Collection) -> tuple[Slot, str | None]:
    """The slot to move away from, and why expand would refuse where a migration is open."""
    slots = {slot.id: slot for slot in list_slots(conn, collection)}
    migration = find_migration(conn, collection)
    if migration is None:
        return next(iter(slots.values())), None
    target = slots[migration.target_id]
    refusal = f"{collection.name} has an open migration to slot {target.name} ({target.model.key})"
    return slots[migration.source_id], refusal


def _targets(
    conn: Connection, collection: Collection, source: Slot, model: Model
) -> tuple[dict[Placement, Slot], dict[Placement, str]]:
    """The target in each placement that can be. Raises the reason when none can."""
    targets: dict[Placement, Slot] = {}
    blocked: dict[Placement, str] = {}
    last: UsageError | None = None
    for placement in Placement:
        try:
            targets[placement] = design_target(conn, collection, source, model, placement)
        except UsageError as exc:
            blocked[placement], last = str(exc), exc
    if not targets and last is not None:
        raise last
    return targets, blocked


def _choose(
    conn: Connection,
    collection: Collection,
    targets: Mapping[Placement, Slot],
    blocked: Mapping[Placement, str],
) -> tuple[Placement, str]:
    placement, why = choose_placement(placement_facts(conn, collection.schema, collection.table))
    if placement in targets:
        return placement, why
    return next(iter(targets)), f"{why}; but {blocked[placement]}"


def _statements(
    conn: Connection, collection: Collection, model: Model, placement: Placement
) -> tuple[tuple[str, ...], str | None]:
    try:
        operation, _, _ = add_operation(conn, collection, model, placement)
    except RefusedError as exc:
        return (), str(exc)
    return tuple(operation.statements()), None


def _writes(
    conn: Connection, collection: Collection, facts: TableFacts, targets: Mapping[Placement, Slot], rows: int
) -> tuple[WriteForecast, ...]:
    held = is_horizon_held(conn)
    return tuple(
        forecast_column(conn, target, facts, rows=rows, horizon_held=held)
        if placement is Placement.COLUMN
        else forecast_companion(conn, collection, target, rows=rows)
        for placement, target in targets.items()
    )


def _index(conn: Connection, source: Slot, target: Slot, rows: int) -> IndexPlan:
    found = find_ann_indexes(conn, source.schema, source.table, source.vector_column)
    try:
        designs, notes = design_indexes(target, rows=rows, options=IndexOptions(), source=source, source_indexes=found)
    except UnsupportedError as exc:
        return IndexPlan(
            kind=None,
            opclass=None,
            count=0,
            size_bytes=0,
            memory_wanted_bytes=0,
            memory_given_bytes=0,
            parallel_workers=0,
            shared_memory_bytes=None,
            notes=(str(exc),),
        )
    design = designs[0]
    memory = plan_memory(conn, target, design, rows=rows)
    width, kind = target.model.dimensions, target.vector_type
    if design.quantised_dimensions is not None:
        kind = "bit"
        notes.append(f"{width} dimensions are over what an index takes: it is over their signs, and searches re-rank")
    options = dict(design.options)
    size = (
        hnsw_index_bytes(rows, width, kind, options["m"])
        if design.kind == "hnsw"
        else ivfflat_index_bytes(rows, width, kind)
    )
    return IndexPlan(
        kind=design.kind,
        opclass=design.opclass,
        count=len(designs),
        size_bytes=size,
        memory_wanted_bytes=memory.wanted_bytes,
        memory_given_bytes=memory.maintenance_work_mem_bytes,
        parallel_workers=memory.parallel_workers,
        shared_memory_bytes=memory.shared_memory_bytes,
        notes=(*notes, *memory.notes),
    )


def _bridge(conn: Connection, source: Slot, target: Slot, rows: int) -> BridgeForecast | None:
    found = find_ann_indexes(conn, source.schema, source.table, source.vector_column)
    try:
        designs, _ = design_indexes(target, rows=rows, options=IndexOptions(), source=source, source_indexes=found)
    except UnsupportedError:
        return None
    return forecast_bridge(source, target, rows=rows, index=designs[0].name)


def _warnings(facts: TableFacts, source: Slot, model: Model, embedding: EmbeddingForecast) -> Sequence[str]:
    told = []
    if embedding.truncated_share:
        told.append(
            f"about {embedding.truncated_share:.1%} of the texts are longer than {model.max_tokens} tokens: the model"
            f" cuts them off there (the longest of the sample has {embedding.longest_tokens:,})"
        )
    if model.state is ModelState.ENDING:
        told.append(f"{model.key} is ending" + (f" on {model.ends_on}" if model.ends_on else ""))
    if source.model.state is ModelState.GONE:
        told.append(
            f"{source.model.key} is gone: rows written from handover on get no vector in {source.name}, and are missing"
            " there after a rollback; queries go back only through a query adapter (embedmig adapter fit)"
        )
    if facts.subscribed:
        told.append(f"{facts.name} is fed by a subscription: its triggers are made to fire always")
    if facts.force_row_security:
        told.append(f"{facts.name} has FORCE ROW LEVEL SECURITY: run every worker as a role with BYPASSRLS")
    return told
