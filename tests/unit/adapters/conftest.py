"""Two made-up models that look at the same meanings: each blurs, bends and rotates them in its own way."""

from collections.abc import Callable

import numpy as np
import pytest

from embedmig.adapters import Pairs
from embedmig.types import Floats

MakePairs = Callable[..., Pairs]


def _unit(rows: Floats) -> Floats:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def make_pairs() -> MakePairs:
    """n texts' meanings in two spaces; ``bend`` 0 makes both linear, ``noise`` is what either model gets wrong."""

    def make(
        n: int = 800, d_old: int = 24, d_new: int = 32, *, noise: float = 0.1, bend: float = 0.5, seed: int = 0
    ) -> Pairs:
        models = np.random.default_rng(99)
        meanings = np.random.default_rng(seed).normal(size=(n, 20)) * np.linspace(2, 0.3, 20)
        rng = np.random.default_rng(seed + 1)

        def see(d: int) -> Floats:
            seen = meanings @ models.normal(size=(20, d)) / np.sqrt(20) + models.normal(size=d) * 0.3
            return _unit(seen + bend * np.tanh(seen) ** 3 + noise * rng.normal(size=(n, d)))

        return Pairs(old=see(d_old), new=see(d_new))

    return make
