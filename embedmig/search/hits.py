"""What a search gives back."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

NO_COLUMNS: Mapping[str, Any] = MappingProxyType({})


class Hit(NamedTuple):
    """A row that was found. A tuple: a frozen object takes more than twice as long to make."""

    key: Any
    """The primary key as the driver gives it; a tuple where the key has several columns."""
    distance: float
    """Of the slot's model: smaller is nearer, and numbers of two models do not compare."""
    slot: str
    model: str
    """What made the row's vector: the slot's model, or ``old@1->new@1`` where it was mapped from the old one's."""
    stale: bool
    """The row's text has changed since the vector was made. Never said where the text was not recorded."""
    columns: Mapping[str, Any] = NO_COLUMNS
    """What was asked for of the row."""
    notes: tuple[str, ...] = ()
    """What is to be said of the search that found it, as that its query lay far from all its adapter was fitted on."""
    bridged: bool = False
    """The vector was mapped from the old model's, and stands until the row is embedded by the new one."""
