"""What pairs an adapter can be fitted on; what is odd about them is said, not hidden."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from embedmig.adapters.normal_equations import Doubles, Moments
from embedmig.errors import AdapterInputError
from embedmig.types import Floats

FEWEST_PAIRS = 250
FEW_PAIRS = 500
_CONSTANT = 1e-12
"""A column whose variance is below this share of the mean variance carries nothing."""
_NO_EXTENT = 1e-7
"""Below this share of the largest variance a direction is float32's rounding."""


class AdapterWarning(UserWarning):
    """The pairs are fewer or poorer than they should be; the adapter was fitted all the same."""


def as_pairs(X: Any, Y: Any) -> tuple[Floats, Floats]:
    """The two as arrays (n, d_from) and (n, d_to), copied only where they are no floats yet.

    Raises AdapterInputError on unequal rows, another shape, NaN or infinity, naming the first bad row.
    """
    X, Y = as_rows(X, "X"), as_rows(Y, "Y")
    if len(X) != len(Y):
        raise AdapterInputError(
            f"X has {len(X)} rows and Y {len(Y)}: row i of both must be the same text, embedded by either model"
        )
    return X, Y


def as_rows(values: Any, name: str) -> Floats:
    """A 2-D array of float32 (float64 is kept). Raises AdapterInputError as ``as_pairs`` does."""
    rows = np.asarray(values)
    if rows.dtype not in (np.float32, np.float64):
        try:
            rows = rows.astype(np.float32)
        except (TypeError, ValueError):
            raise AdapterInputError(f"{name} holds {rows.dtype}, not numbers") from None
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise AdapterInputError(f"{name} must be (rows, dimensions), this has shape {rows.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        total = rows.sum()
    if not np.isfinite(total):  # or only the sum is not: that is looked at row by row
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if bad.size:
            raise AdapterInputError(
                f"{name} holds NaN or infinity in {bad.size} of {len(rows)} rows, the first is row {bad[0]}:"
                " leave those rows out"
            )
    return rows


def to_unit_rows(rows: Floats, name: str) -> Floats:
    """The rows scaled to length 1, ``rows`` itself where they are already.

    Raises AdapterInputError when a row is all zeros.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if not lengths.all():
        at = np.flatnonzero(lengths == 0)
        raise AdapterInputError(f"{name} holds {at.size} rows of zeros, the first is row {at[0]}: leave them out")
    if np.abs(lengths - 1).max(initial=0.0) < 1e-6:
        return rows
    unit: Floats = rows / lengths[:, None]
    return unit


def require_enough(n: int, *, of_a_part: bool = False) -> list[str]:
    """What is to be said of ``n`` pairs. Raises AdapterInputError below 250.

    ``of_a_part``: these are what is left of the pairs beside held-out ones, and the whole was checked.
    """
    if of_a_part:
        return []
    if n < FEWEST_PAIRS:
        raise AdapterInputError(
            f"{n} pairs are too few to fit an adapter: {FEWEST_PAIRS} are needed, {FEW_PAIRS} advised (a larger sample)"
        )
    if n < FEW_PAIRS:
        return [f"{n} pairs are few: with {FEW_PAIRS} and more the adapter keeps more of the quality"]
    return []


def describe_poverty(moments: Moments, eigenvalues: Doubles, *, names: tuple[str, str] = ("X", "Y")) -> list[str]:
    """What is to be said of pairs that do not span their space: constant columns, a rank below the dimensions.

    ``names``: what the caller calls the two sides of ``moments``.
    """
    notes, idle = [], 0
    for name, variance in zip(names, (np.diag(moments.gram), moments.square_y), strict=True):
        constant = np.flatnonzero(variance <= _CONSTANT * max(variance.mean(), np.finfo(float).tiny))
        if constant.size:
            notes.append(f"{constant.size} columns of {name} are constant over all pairs (the first is {constant[0]})")
        idle = constant.size if name == names[0] else idle
    largest = float(eigenvalues.max(initial=0.0))
    rank = int((eigenvalues > largest * _NO_EXTENT).sum()) if largest > 0 else 0
    if rank < eigenvalues.size - idle:
        notes.append(
            f"{names[0]} spans {rank} of its {eigenvalues.size} dimensions: what lies outside is regularised away,"
            " not learned"
        )
    return notes


def say(notes: Sequence[str], *, of_a_part: bool = False) -> tuple[str, ...]:
    """Warns of each note, unless the whole will, and returns them to be kept."""
    for note in () if of_a_part else notes:
        warnings.warn(note, AdapterWarning, stacklevel=4)
    return tuple(notes)
