"""The names that a slot's columns, companion, check and triggers get: pure, and refused before anything is made."""

from collections.abc import Iterable

from embedmig.errors import ConflictError, UnsupportedError
from embedmig.types import Collection, Placement, Slot

SCHEMA = "embedmig"
COMMENT = "embedmig: "
"""How the comment of a column of ours begins: what tells it from the user's own, whatever it is called."""
MAX_BYTES = 63
COMPANION_COLUMNS = ("embedding", "embedding_model", "embedding_hash")


def base_column(source: Slot) -> str:
    """``embedding`` of the slots ``embedding``, ``embedding_v2``, ...: what the next slot's name is built on."""
    return source.vector_column.removesuffix(f"_{source.name}")


def column_of(source: Slot, slot_name: str) -> str:
    """The vector column of a slot on the user's table."""
    return f"{base_column(source)}_{slot_name}"


def companion_of(collection: Collection, slot_name: str) -> str:
    """The table of a companion, in schema ``embedmig``."""
    return f"{collection.name}_{slot_name}"


def check_of(vector_column: str) -> str:
    """The CHECK that no vector stands without its model."""
    return f"embedmig_{vector_column}_check"


def view_of(collection_name: str) -> str:
    """The view that joins the table with its companion, in schema ``embedmig``."""
    return f"{collection_name}_vectors"


def refuse_names(slot: Slot, collection: Collection, taken: Iterable[str]) -> None:
    """Raises when a name of the slot is longer than Postgres keeps, or is ``taken``: by a column of the user's table
    for a column slot, by a table in schema ``embedmig`` for a companion."""
    fresh = names_of(slot)
    later = [view_of(collection.name)] if slot.placement is Placement.COMPANION else []
    for name in (*fresh, *later, check_of(slot.vector_column)):
        if len(name.encode()) > MAX_BYTES:
            raise UnsupportedError(
                f"the name {name} of slot {slot.name} of {collection.name} is longer than the {MAX_BYTES} bytes that"
                " Postgres keeps of a name: shorten the column's name, or register the table under a shorter one"
            )
    for name in sorted(set(fresh) & set(taken)):
        where = collection.qualified if slot.placement is Placement.COLUMN else f"schema {SCHEMA}"
        raise ConflictError(f"slot {slot.name} of {collection.name} needs the name {name}, and {where} has it already")
    keys = {column.name for column in collection.key}
    if slot.placement is Placement.COMPANION and keys & set(COMPANION_COLUMNS):
        raise UnsupportedError(
            f"the primary key of {collection.qualified} has a column {sorted(keys & set(COMPANION_COLUMNS))[0]},"
            " which a companion needs for itself: choose --placement column"
        )


def names_of(slot: Slot) -> tuple[str, ...]:
    """What the slot brings into the user's table, or into schema ``embedmig``."""
    if slot.placement is Placement.COMPANION:
        return (slot.table,)
    return tuple(name for name in (slot.vector_column, slot.model_column, slot.hash_column) if name is not None)


def refuse_label(source: Slot, collection: Collection, taken: Iterable[str]) -> None:
    """Raises when the model column that the source would get is too long, or ``taken`` by a column of the user's."""
    name = f"{source.vector_column}_model"
    if len(name.encode()) > MAX_BYTES:
        raise UnsupportedError(f"the name {name} is longer than the {MAX_BYTES} bytes that Postgres keeps of a name")
    if name in taken:
        raise ConflictError(
            f"slot {source.name} of {collection.name} needs the name {name} for its model column, and"
            f" {collection.qualified} has it already: choose --placement companion, which adds no column"
        )
