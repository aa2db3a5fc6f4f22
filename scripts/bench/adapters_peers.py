"""Other projects' maps as baselines, from a folder beside ours, so that nothing of theirs is installed here:

    pip install --no-deps --target DIR vectormigrate==1.0.1 isotrieve==0.4.0

vectormigrate's three take spaces of one width only: the narrower is padded with zeros. isotrieve's contrastive map is
left out: its search starts from a simplex over all weights, 72 GiB and more at these widths. All with the settings they
come with, but for isotrieve's low rank, which has none that differs from its ridge: 128.
"""

import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from embedmig.types import Floats

Map = Callable[[Floats], Floats]
Fit = Callable[[Floats, Floats], Map]


def find_peers(folder: Path | None) -> dict[str, Fit]:
    """What can be imported, by name; says what cannot."""
    if folder is not None:
        sys.path.insert(0, str(folder))
    found: dict[str, Fit] = {}
    for package, make in (("vectormigrate", _vectormigrate), ("isotrieve", _isotrieve)):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is left out: not importable (see scripts/bench/adapters_peers.py)", file=sys.stderr)
        else:
            found |= dict(make())
    return found


def _vectormigrate() -> Iterator[tuple[str, Fit]]:
    from vectormigrate import compat

    for name in ("OrthogonalProcrustesAdapter", "LowRankAffineAdapter", "ResidualMLPAdapter"):
        yield f"vectormigrate {name.removesuffix('Adapter')}", _fit_padded(getattr(compat, name))


def _fit_padded(make: Callable[[], object]) -> Fit:
    def fit(X: Floats, Y: Floats) -> Map:
        width = max(X.shape[1], Y.shape[1])
        adapter = make()
        adapter.fit(_pad(X, width), _pad(Y, width))  # type: ignore[attr-defined]
        return lambda rows: _unit(adapter.transform(_pad(rows, width))[:, : Y.shape[1]])  # type: ignore[attr-defined]

    return fit


def _isotrieve() -> Iterator[tuple[str, Fit]]:
    from isotrieve import mapping

    yield "isotrieve Ridge", _fit_plain(mapping.RidgeMapping)
    yield "isotrieve LowRankAffine 128", _fit_plain(lambda: mapping.LowRankAffineMapping(rank=128))
    yield "isotrieve OrthogonalProcrustes", _fit_square(mapping.OrthogonalProcrustesMapping)
    yield "isotrieve ProcrustesDiag", _fit_square(mapping.ProcrustesDiagMapping)
    if hasattr(mapping, "ResidualMLPMapping"):
        yield "isotrieve ResidualMLP", _fit_seeded(mapping.ResidualMLPMapping)


def _fit_plain(make: Callable[[], object]) -> Fit:
    def fit(X: Floats, Y: Floats) -> Map:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapter = make().fit(X, Y)  # type: ignore[attr-defined]
        return lambda rows: _unit(adapter.transform(rows))

    return fit


def _fit_square(make: Callable[[], object]) -> Fit:
    def fit(X: Floats, Y: Floats) -> Map:
        if X.shape[1] != Y.shape[1]:
            raise ValueError("it refuses two widths")
        return _fit_plain(make)(X, Y)

    return fit


def _fit_seeded(make: Callable[[], object]) -> Fit:
    def fit(X: Floats, Y: Floats) -> Map:
        import torch

        torch.manual_seed(0)  # it has a seed, and leaves the weights' beginning to chance
        return _fit_plain(make)(X, Y)

    return fit


def _pad(rows: Floats, width: int) -> Floats:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1]))).astype(np.float64)


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit
