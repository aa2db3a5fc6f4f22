"""Which vectors of a batch may be stored: pure."""

import numpy as np

from embedmig.types import Floats, Model


def validate_vectors(vectors: Floats, model: Model) -> dict[int, str]:
    """The rows of ``vectors`` (n, d) that must not be stored, each with the reason; empty when all are good."""
    if vectors.ndim != 2 or vectors.shape[1] != model.dimensions:
        given = vectors.shape[1] if vectors.ndim == 2 else f"shape {vectors.shape}, not"
        reason = f"{given} dimensions where {model.key} has {model.dimensions}"
        return dict.fromkeys(range(len(vectors)), reason)
    reasons: dict[int, str] = {}
    for bad, reason in (
        (~vectors.any(axis=1), "all zeros"),
        (np.isinf(vectors).any(axis=1), "holds infinity"),
        (np.isnan(vectors).any(axis=1), "holds NaN"),
    ):
        reasons.update(dict.fromkeys(np.flatnonzero(bad).tolist(), f"the vector by {model.key}: {reason}"))
    return reasons
