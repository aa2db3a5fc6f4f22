"""adapter list, show, use and drop: which adapters are kept, and which one stands before a slot."""

from embedmig.catalog import adapters
from embedmig.catalog.adapters import KeptAdapter
from embedmig.catalog.collections import get_collection
from embedmig.db import Database
from embedmig.rollout import adapting
from embedmig.rollout.adapting import Placed


def adapter_list(db: Database, collection: str, *, dropped: bool = False) -> list[KeptAdapter]:
    """The newest first; ``dropped``: those that were dropped too."""
    with db.connect() as conn:
        return adapters.list_adapters(conn, get_collection(conn, collection), dropped=dropped)


def adapter_show(db: Database, collection: str, name: str) -> KeptAdapter:
    """What it was made from and for, and how good it is. Raises NotFoundError that lists those there are."""
    with db.connect() as conn:
        return adapters.get_adapter(conn, get_collection(conn, collection), name)


def adapter_use(db: Database, collection: str, name: str) -> Placed:
    """Puts a query adapter before the slot that it leads to: from then on that slot is asked with the adapter's model.

    Raises RefusedError for a bridge, for one that leads to no slot, or when its own model is gone;
    AdapterUnusableError when either model has another fingerprint now than at the fit.
    """
    with db.connect() as conn:
        return adapting.use(conn, get_collection(conn, collection), name)


def adapter_use_undo(db: Database, collection: str, name: str) -> Placed:
    """The slot is asked with its own model again. Raises RefusedError when the adapter stands before none."""
    with db.connect() as conn:
        return adapting.stop_using(conn, get_collection(conn, collection), name)


def adapter_drop(db: Database, collection: str, name: str, *, even_if_needed: bool = False) -> Placed | None:
    """Forgets an adapter; gives what stands before its slot then, None where it stood before none.

    Raises RefusedError when it is in use before a slot whose own model is gone, unless ``even_if_needed``.
    """
    with db.connect() as conn:
        return adapting.drop(conn, get_collection(conn, collection), name, even_if_needed=even_if_needed)
