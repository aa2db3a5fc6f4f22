"""How a slot's vectors are compared, so that its index can answer. Pure."""

import re
from dataclasses import dataclass

from psycopg import sql

from embedmig.catalog.serving import Serving, SlotIndex
from embedmig.types import Distance, Slot

QUERY = sql.Placeholder("embedmig_query")

_OPCLASS = {
    ("vector", Distance.COSINE): "vector_cosine_ops",
    ("vector", Distance.L2): "vector_l2_ops",
    ("vector", Distance.INNER_PRODUCT): "vector_ip_ops",
    ("halfvec", Distance.COSINE): "halfvec_cosine_ops",
    ("halfvec", Distance.L2): "halfvec_l2_ops",
    ("halfvec", Distance.INNER_PRODUCT): "halfvec_ip_ops",
}
_QUANTISED = "bit_hamming_ops"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``order`` is what the index sorts by; ``distance`` is the model's own, which hits carry."""

    index: SlotIndex | None
    order: sql.Composable
    distance: sql.Composable

    @property
    def is_quantised(self) -> bool:
        """The index sorts by one bit a dimension: its best are sorted again by their distance."""
        return self.index is not None and self.index.opclass == _QUANTISED


def compare(serving: Serving, slot: Slot, vector: sql.Composable, *, exact: bool) -> Comparison:
    """The comparison of ``vector`` with the query; without a usable index, or ``exact``, one that none can answer."""
    index = None if exact else find_index(serving, slot)
    if index is None:
        distance = _distance(slot, vector, slot.vector_type)
        # Postgres would take an approximate index for the bare distance, one made after the catalog was read too.
        return Comparison(index=None, order=sql.SQL("{} + 0").format(distance), distance=distance)
    if index.opclass == _QUANTISED:
        size = sql.Literal(slot.model.dimensions)
        order = sql.SQL("binary_quantize({})::bit({}) <~> binary_quantize({})::bit({})").format(
            vector, size, _query(slot.vector_type), size
        )
        return Comparison(index=index, order=order, distance=_distance(slot, vector, slot.vector_type))
    kind = index.opclass.partition("_")[0]
    if index.expression is not None:
        vector = sql.SQL("({}::{}({}))").format(vector, sql.SQL(kind), sql.Literal(slot.model.dimensions))
    distance = _distance(slot, vector, kind)
    return Comparison(index=index, order=distance, distance=distance)


def find_index(serving: Serving, slot: Slot) -> SlotIndex | None:
    """A valid index that sorts this slot's vectors by its model's distance; the one named by the slot first, one over
    the bare column before one over an expression."""
    fitting = [index for index in serving.indexes.get(slot.id, ()) if index.valid and _fits(index, slot)]
    fitting.sort(key=lambda index: (index.name != slot.index_name, index.expression is not None, index.name))
    return fitting[0] if fitting else None


def _fits(index: SlotIndex, slot: Slot) -> bool:
    size = slot.model.dimensions
    if index.opclass == _QUANTISED:
        return _is_expression(index, f"binary_quantize({slot.vector_column})::bit({size})")
    kind = index.opclass.partition("_")[0]
    if index.opclass != _OPCLASS.get((kind, slot.model.distance)):
        return False
    return index.expression is None or _is_expression(index, f"{slot.vector_column}::{kind}({size})")


def _is_expression(index: SlotIndex, expected: str) -> bool:
    """Whether Postgres prints the index's expression so, but for brackets, quotes, blanks and pgvector's schema."""
    return index.expression is not None and _bare(index.expression) == _bare(expected)


def _bare(text: str) -> str:
    return re.sub(r'\w+\.|[()\s"]', "", text)


def _distance(slot: Slot, vector: sql.Composable, kind: str) -> sql.Composed:
    return sql.SQL("({} {} {})").format(vector, sql.SQL(slot.model.distance.operator), _query(kind))


def _query(kind: str) -> sql.Composable:
    # The driver sends every query as vector.
    return sql.SQL("{}::halfvec").format(QUERY) if kind == "halfvec" else QUERY
