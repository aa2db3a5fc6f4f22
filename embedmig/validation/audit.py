"""Are the stored vectors the declared model's? Embeds a sample of the texts again and compares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from embedmig.catalog.models import get_fingerprint
from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.embedders import load_embedder
from embedmig.search.embedding import check_model
from embedmig.types import Collection, Floats, Key, Slot

QUERIES = Queries(__package__, "audit.sql")

_TEXTS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A row whose stored vector is not what the model gives for its text."""

    key: Key
    cosine: float
    """-1 to 1; of vectors of different length it is 0."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What a sample says of a slot."""

    collection: str
    slot: str
    model: str
    sampled: int
    """Rows with text and a vector."""
    stale: int
    """Of those: the text has changed since, so nothing can be compared."""
    bridged: int
    """Of those: mapped from another model's vectors, and not the model's own by design."""
    compared: int
    matching: int
    mismatches: tuple[Mismatch, ...]
    """The least alike first."""
    cosine: float
    """From here on two vectors are the same."""
    share: float | None
    """Of the compared rows that match, 0 to 1; None when none was compared."""
    low: float
    high: float
    """Where the share lies among all rows: Wilson's interval."""
    confidence: float
    texts_recorded: bool
    """Whether embedmig knows of which text each vector is. Where it does not, an edited row looks like another
    model's."""
    seed: int

    @property
    def is_clean(self) -> bool:
        """Whether every compared vector is the model's."""
        return not self.mismatches


def audit_slot(
    conn: Connection,
    collection: Collection,
    slot: Slot,
    *,
    sample: int,
    cosine: float,
    confidence: float,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Audit:
    """Embeds the present texts of ``sample`` rows as documents and compares with what is stored. Writes nothing.

    The same ``seed`` takes the same rows. Raises RefusedError when the model is gone, FingerprintError when it is not
    the one that was registered: then a comparison would blame the vectors.
    """
    check_model(slot.model, get_fingerprint(conn, slot.model))
    rows = _sample(conn, collection, slot, sample, seed)
    native = [row for row in rows if not row["bridged"] and not row["stale"]]
    fresh = _embed(slot, [row["text"] for row in native], on_progress)
    alike = [_cosine(row["vector"].to_numpy(), vector) for row, vector in zip(native, fresh, strict=True)]
    mismatches = [
        Mismatch(key=tuple(row["key"]), cosine=found)
        for row, found in zip(native, alike, strict=True)
        if not found >= cosine
    ]
    matching = len(native) - len(mismatches)
    low, high = wilson_interval(matching, len(native), confidence)
    return Audit(
        collection=collection.name,
        slot=slot.name,
        model=slot.model.key,
        sampled=len(rows),
        stale=sum(row["stale"] for row in rows),
        bridged=sum(row["bridged"] and not row["stale"] for row in rows),
        compared=len(native),
        matching=matching,
        mismatches=tuple(sorted(mismatches, key=lambda found: found.cosine)),
        cosine=cosine,
        share=matching / len(native) if native else None,
        low=low,
        high=high,
        confidence=confidence,
        texts_recorded=slot.hash_column is not None,
        seed=seed,
    )


def wilson_interval(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a share; 0 to 1 without trials."""
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, square = successes / trials, z * z / trials
    middle = (share + square / 2) / (1 + square)
    reach = z / (1 + square) * sqrt(share * (1 - share) / trials + square / (4 * trials))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _sample(conn: Connection, collection: Collection, slot: Slot, limit: int, seed: int) -> list[dict[str, Any]]:
    query = QUERIES["sample_vectors"].format(
        key=ident.key_array(collection, "d"),
        keys=ident.keys(collection, "d"),
        text=ident.text(collection, "d", slot.text_separator),
        vector=ident.vector(slot),
        bridged=ident.is_bridged(slot),
        stale=ident.is_stale(collection, slot),
        table=ident.table(collection),
        join_slot=ident.join_slot(collection, slot),
        wants=ident.wants_vector(collection, "d"),
    )
    return conn.execute(query, {"limit": limit, "seed": seed}).fetchall()


def _embed(slot: Slot, texts: Sequence[str], on_progress: Callable[[int], None] | None) -> Floats:
    embedder = load_embedder(slot.model)
    parts = [np.empty((0, slot.model.dimensions), dtype=np.float32)]
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = list(texts[start : start + _TEXTS_AT_ONCE])
        parts.append(embedder.embed_documents(some))
        if on_progress is not None:
            on_progress(len(some))
    return np.concatenate(parts)


def _cosine(stored: npt.NDArray[Any], fresh: Floats) -> float:
    if stored.shape != fresh.shape:
        return 0.0
    a, b = stored.astype(np.float64), fresh.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0
