"""Knowing a model again: its vectors for the probe texts, and how far they vary by themselves."""

import io
import zipfile
from dataclasses import dataclass
from itertools import chain
from typing import Self

import numpy as np
import numpy.typing as npt

from embedmig.embedders.probes import PROBE_SET, PROBES, make_long_probe
from embedmig.embedders.protocol import Embedder
from embedmig.errors import FingerprintError, ProviderError
from embedmig.types import Floats, Model

LOOSEST_TOLERANCE = 0.999
_MARGIN = 1e-5
"""About a thousand times what processors, threads and batches differ by in float32."""
_TIMES_MEASURED = 3
"""A model that varies by itself is allowed this many times the variation seen in the few probes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fingerprint:
    """What a model gave for the probes when it was registered."""

    vectors: Floats
    """(n, d) float32: the probes as documents, the long one, the probes as queries."""
    compute_type: str
    tolerance: float
    """The lowest cosine with these vectors that is still the same model; 0.999 to 1."""
    probe_set: int = PROBE_SET

    def to_bytes(self) -> bytes:
        """For the catalog: numpy's own format, nothing pickled."""
        target = io.BytesIO()
        np.savez(
            target,
            vectors=self.vectors,
            compute_type=np.array(self.compute_type),
            tolerance=np.array(self.tolerance),
            probe_set=np.array(self.probe_set),
        )
        return target.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Raises ProviderError when the bytes are no fingerprint."""
        try:
            with np.load(io.BytesIO(stored), allow_pickle=False) as parts:
                return cls(
                    vectors=parts["vectors"],
                    compute_type=str(parts["compute_type"]),
                    tolerance=float(parts["tolerance"]),
                    probe_set=int(parts["probe_set"]),
                )
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
            raise ProviderError(
                f"the stored fingerprint cannot be read ({error}): register the model again under a new revision"
            ) from error


def take_fingerprint(model: Model, embedder: Embedder) -> Fingerprint:
    """Embeds the probes twice, all at once and one by one, and measures the tolerance between the two.

    Raises ProviderError when the model does not agree with itself: a changed one could not be told from it.
    """
    vectors = embed_probes(model, embedder, batch_size=len(PROBES))
    lowest = lowest_agreement(vectors, embed_probes(model, embedder, batch_size=1))
    if not lowest >= LOOSEST_TOLERANCE:
        raise ProviderError(
            f"{model.key} gives other vectors for the same texts from one call to the next (cosine {lowest:.6f}): a"
            " changed model could not be told from it. Make it deterministic, and independent of the batch"
        )
    tolerance = max(LOOSEST_TOLERANCE, 1 - _TIMES_MEASURED * (1 - lowest) - _MARGIN)
    return Fingerprint(vectors=vectors, compute_type=embedder.compute_type, tolerance=tolerance)


def check_fingerprint(model: Model, stored: Fingerprint, embedder: Embedder) -> float:
    """Embeds the probes again and returns the lowest agreement with ``stored``: 1 when nothing changed.

    Where ``embedder`` computes in another number format or on another device than at registration, 0.999 is the
    tolerance. Raises FingerprintError below it, ProviderError when ``stored`` is of other probes.
    """
    if stored.probe_set != PROBE_SET:
        raise ProviderError(
            f"the fingerprint of {model.key} was taken with probe set {stored.probe_set}, this embedmig has"
            f" {PROBE_SET}: use the version it was registered with, or register a new revision"
        )
    vectors = embed_probes(model, embedder, batch_size=len(PROBES))
    lowest, tolerance = compare_probes(stored, vectors, embedder.compute_type)
    if not lowest >= tolerance:
        raise FingerprintError(model=model.key, cosine=lowest, tolerance=tolerance)
    return lowest


def compare_probes(stored: Fingerprint, vectors: Floats, compute_type: str) -> tuple[float, float]:
    """The lowest agreement of the probes' ``vectors`` with ``stored``, and the lowest that is still the same model."""
    tolerance = stored.tolerance if stored.compute_type == compute_type else LOOSEST_TOLERANCE
    return lowest_agreement(stored.vectors, vectors), tolerance


def embed_probes(model: Model, embedder: Embedder, *, batch_size: int) -> Floats:
    """(n, d): the probes as documents, the long one, the probes as queries; the long one always alone, for it would
    pad the others to its length. Raises ProviderError when the rows are not all of one length."""
    batches = [list(PROBES[start : start + batch_size]) for start in range(0, len(PROBES), batch_size)]
    long_probe = [make_long_probe(model.max_tokens)]
    parts = [
        *map(embedder.embed_documents, chain(batches, [long_probe])),
        *map(embedder.embed_queries, batches),
    ]
    widths = {part.shape[1] for part in parts}
    if len(widths) > 1:
        raise ProviderError(f"{model.key} gives vectors of several lengths: {', '.join(map(str, sorted(widths)))}")
    return np.concatenate(parts)


def lowest_agreement(a: Floats, b: Floats) -> float:
    """The lowest cosine between rows of two (n, d) arrays, less a term that grows as their lengths part:
    cos - (|a| - |b|)^2 / 2|a||b|. Rows of zeros agree with each other and nothing else; arrays of another shape do
    not agree; NaN where a value is not finite."""
    if a.shape != b.shape:
        return 0.0
    return float(_agreements(a.astype(np.float64), b.astype(np.float64)).min())


def _agreements(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length_a, length_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    both_zero, product = (length_a == 0) & (length_b == 0), length_a * length_b
    safe = np.where(product == 0, 1.0, product)
    agreements = ((a * b).sum(axis=1) - (length_a - length_b) ** 2 / 2) / safe
    one_zero = (product == 0) & ~both_zero
    result: npt.NDArray[np.float64] = np.where(both_zero, 1.0, np.where(one_zero, 0.0, agreements))
    return result
