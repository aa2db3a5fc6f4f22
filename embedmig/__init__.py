"""Change the embedding model under a live Postgres + pgvector table.

The public names, each loaded when it is first asked for, so that ``import embedmig`` costs nothing.
The verbs of the command line are in ``embedmig.commands``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedmig.db.connection import Database
    from embedmig.embedders.protocol import Embedder, EmbedderFactory
    from embedmig.errors import (
        AdapterInputError,
        AdapterNotFittedError,
        AdapterUnusableError,
        ConflictError,
        ControlSchemaError,
        DatabaseError,
        DimensionError,
        EmbedmigError,
        FingerprintError,
        InputRejectedError,
        InvalidVectorError,
        LeaseLostError,
        LockedError,
        ModelMismatchError,
        NotFoundError,
        PrivilegeError,
        ProviderError,
        ProviderSetupError,
        ProviderUnavailableError,
        RefusedError,
        SettingsError,
        UnsupportedError,
        UnversionedVectorError,
        UsageError,
    )
    from embedmig.rollout.watching import roll_back_on_breach
    from embedmig.search.aio import AsyncSearcher
    from embedmig.search.hits import Hit
    from embedmig.search.plan import Explanation
    from embedmig.search.sampling import ShadowOptions
    from embedmig.search.searcher import Searcher
    from embedmig.settings import Settings, load_settings
    from embedmig.sqlalchemy import VersionedVector
    from embedmig.types import Embedding, ServingKey

__all__ = [
    "AdapterInputError",
    "AdapterNotFittedError",
    "AdapterUnusableError",
    "AsyncSearcher",
    "ConflictError",
    "ControlSchemaError",
    "Database",
    "DatabaseError",
    "DimensionError",
    "Embedder",
    "EmbedderFactory",
    "Embedding",
    "EmbedmigError",
    "Explanation",
    "FingerprintError",
    "Hit",
    "InputRejectedError",
    "InvalidVectorError",
    "LeaseLostError",
    "LockedError",
    "ModelMismatchError",
    "NotFoundError",
    "PrivilegeError",
    "ProviderError",
    "ProviderSetupError",
    "ProviderUnavailableError",
    "RefusedError",
    "Searcher",
    "ServingKey",
    "Settings",
    "SettingsError",
    "ShadowOptions",
    "UnsupportedError",
    "UnversionedVectorError",
    "UsageError",
    "VersionedVector",
    "load_settings",
    "roll_back_on_breach",
]

_ELSEWHERE = {
    "AsyncSearcher": "search.aio",
    "Database": "db.connection",
    "Embedder": "embedders.protocol",
    "EmbedderFactory": "embedders.protocol",
    "Embedding": "types",
    "Explanation": "search.plan",
    "Hit": "search.hits",
    "Searcher": "search.searcher",
    "ServingKey": "types",
    "ShadowOptions": "search.sampling",
    "Settings": "settings",
    "VersionedVector": "sqlalchemy",
    "load_settings": "settings",
    "roll_back_on_breach": "rollout.watching",
}
"""Where a public name is defined; all others are errors."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"embedmig.{_ELSEWHERE.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
