"""Decides a search: slot, statement, parameters, and what the rows mean. Pure: nothing here waits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from embedmig.catalog.serving import ServedAdapter, Serving
from embedmig.errors import ModelMismatchError, RefusedError, UsageError
from embedmig.search.adapted import MappedQuery, map_query
from embedmig.search.filters import compile_filter
from embedmig.search.hits import NO_COLUMNS, Hit
from embedmig.search.indexes import find_index
from embedmig.search.request import SearchRequest
from embedmig.search.routing import Choice, Pin, choose_slot, explain_choice, pinned_slot
from embedmig.search.statement import Shape, Statement, compose
from embedmig.types import Embedding, Model, ServingKey, Slot

if TYPE_CHECKING:
    from embedmig.adapters import StoredAdapter

_STATEMENTS_KEPT = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """The catalog as one reading of it showed it, with the pin of this process, and statements written so far."""

    serving: Serving
    pinned: tuple[Pin, Slot] | None
    statements: dict[tuple[Any, ...], Statement] = field(default_factory=dict)
    """By what makes a Shape: to make one takes longer than to look it up."""

    @cached_property
    def epoch(self) -> int:
        """The route's epoch in this reading."""
        return self.serving.route.epoch

    @cached_property
    def gate(self) -> Mapping[str, Any]:
        """The parameters of the check that rides in the query."""
        return {"embedmig_group": self.serving.collection.group, "embedmig_epoch": self.epoch}

    @cached_property
    def _without_key(self) -> Choice:
        return choose_slot(self.serving, self.pinned, None)

    def choose(self, routing_key: str | None) -> Choice:
        """The slot that a request is answered from."""
        return self._without_key if routing_key is None else choose_slot(self.serving, self.pinned, routing_key)

    def serving_key(self, routing_key: str | None) -> ServingKey:
        """What caches of answers to such a request carry. Its model is what queries are embedded with."""
        slot = self.choose(routing_key).slot
        return ServingKey(model=self.asked_model(slot).key, slot=slot.name, epoch=self.epoch)

    def asked_model(self, slot: Slot) -> Model:
        """What a text is embedded with to be searched in ``slot``."""
        return self.serving.asked_model(slot)

    def adapter_for(self, slot: Slot, embedding: Embedding) -> ServedAdapter | None:
        """The adapter that ``embedding`` reaches ``slot`` through, if any."""
        return self.serving.adapter_for(slot, embedding.model)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a search goes where it goes. Nothing was executed."""

    collection: str
    slot: str
    model: str
    """Whose vectors the slot holds."""
    adapter: str | None
    """The adapter that the query was mapped by; None: the query is of the slot's model."""
    query_model: str
    far: bool
    """Whether the query lies far from everything that the adapter was fitted on."""
    epoch: int
    why: str
    pin: str | None
    index: str | None
    """The ANN index that the statement is written for; None: every row is compared."""
    sql: str


class SearchPlan(NamedTuple):
    """A search ready to be sent: ``sql`` with ``params`` by name, for ``slot``."""

    embedding: Embedding
    view: View
    choice: Choice
    statement: Statement
    params: Mapping[str, Any]
    columns: tuple[str, ...]
    max_distance: float | None
    mapped: MappedQuery | None = None
    """The query as an adapter maps it; None: it is of the slot's model."""

    @property
    def sql(self) -> bytes:
        """One statement. It gives no row when the catalog is another than it was planned for."""
        return self.statement.sql

    @property
    def slot(self) -> Slot:
        """Where the answer comes from."""
        return self.choice.slot

    def hits(self, rows: Sequence[Sequence[Any]]) -> list[Hit]:
        """Nearest first; without those beyond the slot's cut-off."""
        slot, names = self.choice.slot.name, self.columns
        width, made_by = self.statement.key_width, self.statement.made_by
        notes = () if self.mapped is None else self.mapped.notes
        # The class's own __new__ is a function in Python: it would take as long as all the rest here.
        make = tuple.__new__
        hits = [
            make(
                Hit,
                (
                    row[0] if width == 1 else tuple(row[:width]),
                    row[width],
                    slot,
                    made_by[row[width + 1]],
                    row[width + 2],
                    dict(zip(names, row[width + 3 :], strict=True)) if names else NO_COLUMNS,
                    notes,
                    row[width + 1],
                ),
            )
            # An iterative scan gives nearly the order, not the order.
            for row in sorted(rows, key=itemgetter(width))
        ]
        return hits if self.max_distance is None else [hit for hit in hits if hit.distance <= self.max_distance]

    def _say_mapped(self) -> str:
        served = self.view.serving.adapters.get(self.slot.id)
        if self.mapped is None or served is None:
            return ""
        far = "; it lies far from everything that was fitted on" if self.mapped.is_far else ""
        return (
            f". Since {served.used_since:%Y-%m-%d} adapter {served.name} stands before it: the query, by"
            f" {self.embedding.model}, is mapped into the space of {self.slot.model.key}{far}"
        )

    def explain(self) -> Explanation:
        """Why it goes where it goes."""
        return Explanation(
            collection=self.view.serving.collection.name,
            slot=self.slot.name,
            model=self.slot.model.key,
            adapter=None if self.mapped is None else self.mapped.adapter,
            query_model=self.embedding.model,
            far=self.mapped is not None and self.mapped.is_far,
            epoch=self.view.epoch,
            why=explain_choice(self.view.serving, self.choice) + self._say_mapped(),
            pin=None if self.choice.pin is None else self.choice.pin.value,
            index=self.statement.index,
            sql=self.sql.decode(),
        )


def make_view(serving: Serving, pin: Pin | None) -> View:
    """Raises NotFoundError when the pin names no slot."""
    return View(serving=serving, pinned=None if pin is None else (pin, pinned_slot(serving, pin)))


def require_pin_allowed(view: View) -> None:
    """Raises RefusedError when the process is pinned to a target that was never filled, has failures that nobody
    ignored, or has no valid index. A pin to the source, or to the only slot, always goes."""
    serving = view.serving
    if view.pinned is None or serving.target is None or view.pinned[1].id != serving.target.id:
        return
    (pin, slot), name = view.pinned, serving.collection.name
    wrong = None
    if slot.filled_at is None:
        wrong = f"was never filled: embedmig reembed {name}"
    elif slot.id in serving.failing:
        wrong = f"has rows that could not be embedded: embedmig failures list {name}, then retry or ignore them"
    elif find_index(serving, slot) is None:
        wrong = f"has no valid index: embedmig index {name}"
    if wrong is not None:
        raise RefusedError(f"{pin.variable}={pin.value} pins this process to slot {slot.name} of {name}, which {wrong}")


def plan(
    embedding: Embedding, view: View, choice: Choice, request: SearchRequest, opened: "StoredAdapter | None" = None
) -> SearchPlan:
    """The statement for a request whose slot is chosen and whose query is a vector. ``opened``: the adapter that
    ``view.adapter_for`` says the vector needs.

    Raises ModelMismatchError and DimensionError when the vector is neither of the slot's model nor of the one that its
    adapter was made for, UsageError for a filter or a cut-off that cannot be, RefusedError when the route leads to a
    target that was never filled.
    """
    serving, slot, pinned = view.serving, choice.slot, choice.pin is not None
    mapped, served = None, None if opened is None else view.adapter_for(slot, embedding)
    if served is None or opened is None:
        require_model(embedding, slot, serving)
    else:
        mapped = map_query(embedding, served, opened, slot)
    if slot.filled_at is None and slot is serving.target and not pinned:
        raise RefusedError(
            f"the route of {serving.collection.name} leads to slot {slot.name}, which was never filled:"
            f" embedmig rollback {serving.collection.name}, then embedmig reembed {serving.collection.name}"
        )
    condition = None
    if request.where is not None:
        condition = compile_filter(request.where, request.params, serving.collection)
    text, columns = None if condition is None else condition.text, request.columns
    shape = slot.id, pinned, request.k, text, columns, request.ef_search, request.exact
    params = {
        "embedmig_query": embedding.values if mapped is None else mapped.values,
        **({"embedmig_slot_id": slot.id} if pinned else view.gate),
    }
    # By place: by name this would take as long as all the rest here.
    return SearchPlan(
        embedding,
        view,
        choice,
        view.statements.get(shape) or _write_statement(view, slot, shape),
        params if condition is None else {**condition.params, **params},
        columns,
        None if request.max_distance is None else find_cut_off(request.max_distance, serving, slot, mapped),
        mapped,
    )


def require_model(embedding: Embedding, slot: Slot, serving: Serving) -> None:
    """Raises ModelMismatchError with what is served now, DimensionError for another length."""
    if embedding.model != slot.model.key:
        adapter = serving.adapters.get(slot.id)
        raise ModelMismatchError(
            query_model=embedding.model,
            slot_model=slot.model.key,
            slot=slot.name,
            epoch=serving.route.epoch,
            adapter=None if adapter is None else adapter.name,
            asked_model=None if adapter is None else adapter.model.key,
        )
    embedding.require_dimensions(slot.model)


def find_cut_off(
    asked: float | Mapping[str, float], serving: Serving, slot: Slot, mapped: MappedQuery | None = None
) -> float | None:
    """The largest distance that this slot's hits may have; None: any.

    Raises UsageError for one number while two slots live, for a name that no slot of this collection has or had, and
    for a query that an adapter mapped: its distances do not compare with native ones.
    """
    if mapped is not None and (not isinstance(asked, Mapping) or slot.name in asked):
        raise UsageError(
            f"max_distance for slot {slot.name}, which is asked through adapter {mapped.adapter}: distances after a map"
            " do not compare with native ones, and a cut-off tuned on those would cut elsewhere. Leave it out"
        )
    names = [live.name for live in serving.slots]
    if not isinstance(asked, Mapping):
        if len(names) > 1:
            raise UsageError(
                f"one max_distance for slots {' and '.join(names)}: distances of two models do not compare, and a"
                f" cut-off tuned on one empties the results of the other. Give each its own: {{{names[0]!r}: ..., ...}}"
            )
        return float(asked)
    for name in asked:
        # A slot that was dropped may stay in the caller's table: names are never used again.
        if name not in names and not re.fullmatch(r"v[0-9]+", name):
            raise UsageError(f"max_distance names slot {name}; there are: {', '.join(names)}")
    return None if slot.name not in asked else float(asked[slot.name])


def _write_statement(view: View, slot: Slot, shape: tuple[Any, ...]) -> Statement:
    """Once a shape and reading of the catalog: writing it takes longer than planning with it."""
    if len(view.statements) >= _STATEMENTS_KEPT:
        view.statements.clear()
    written = view.statements[shape] = compose(view.serving, slot, Shape(*shape))
    return written
