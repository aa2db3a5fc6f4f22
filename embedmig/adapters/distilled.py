"""A query adapter read backwards from a bridge."""

from collections.abc import Iterator
from typing import Self

from embedmig.adapters.checks import describe_poverty, require_enough, say
from embedmig.adapters.linear import Blocks, LinearAdapter, read_block, sum_blocks
from embedmig.adapters.normal_equations import NormalEquations
from embedmig.adapters.ridge import RidgeAdapter, solve_ridge
from embedmig.types import Floats


class SelfDistilledAdapter(LinearAdapter):
    """Ranks the old vectors for a new query as a bridge would, without bridging them.

    A linear query adapter is a bridge read backwards: q . (y B) = (q B') . y. But a bridge is good because its output
    is normalised, which no query can do to stored vectors. So a bridge is fitted first, the stored vectors are mapped
    and normalised by it, a second map is fitted to that, and its transpose is the adapter.

    ``alpha``: the second map's penalty, None for generalised cross-validation. ``normalise``: as in RidgeAdapter.
    """

    def __init__(self, alpha: float | None = None, normalise: bool = True) -> None:
        self.alpha = alpha
        self.normalise = normalise

    def fit_blocks(self, blocks: Blocks) -> Self:
        """Two passes over the blocks."""
        stored = sum_blocks(lambda: self._read_backwards(blocks), normalise=False)
        notes = require_enough(stored.n, of_a_part=self._of_a_part)
        moments = stored.moments()
        solution = solve_ridge(moments)
        notes += describe_poverty(moments, solution.eigenvalues, names=("Y", "X"))
        bridge = RidgeAdapter(normalise=self.normalise)._learn(solution.weights, solution.bias, n=stored.n, notes=())
        bridged = NormalEquations(stored.d_from, stored.d_to)
        for Y, _ in self._read_backwards(blocks):
            bridged.add(Y, bridge.transform(Y))
        # The bias moves all of a query's scores alike: it ranks nothing.
        back = solve_ridge(bridged.moments(), alpha=self.alpha)
        return self._learn(back.weights.T, None, n=stored.n, notes=say(notes, of_a_part=self._of_a_part))

    def _read_backwards(self, blocks: Blocks) -> Iterator[tuple[Floats, Floats]]:
        for block in blocks():
            X, Y = read_block(*block, normalise=self.normalise)
            yield Y, X
