"""The rotation between two spaces, about zero or about their means: it can hardly overfit."""

from typing import Self

import numpy as np

from embedmig.adapters.checks import describe_poverty, require_enough, say
from embedmig.adapters.linear import Blocks, LinearAdapter, sum_blocks
from embedmig.adapters.normal_equations import Doubles, Moments, NormalEquations


def solve_procrustes(products: Doubles) -> Doubles:
    """(d_from, d_to): of all matrices with orthonormal rows or columns, whichever are fewer, the one that maximises
    the sum of y . (x R), from ``products`` = sum of x y'."""
    left, _, right = np.linalg.svd(products, full_matrices=False)
    rotation: Doubles = left @ right
    return rotation


class ProcrustesAdapter(LinearAdapter):
    """An orthogonal map, between spaces of any two widths; the default query adapter.

    ``normalise``: rows are scaled to unit length before fitting and after mapping (cosine).
    """

    def __init__(self, normalise: bool = True) -> None:
        self.normalise = normalise

    def fit_blocks(self, blocks: Blocks) -> Self:
        """One pass over the blocks."""
        return self.fit_sums(sum_blocks(blocks, normalise=self.normalise))

    def fit_sums(self, sums: NormalEquations) -> Self:
        """The same from sums that the caller gathered. Raises AdapterInputError under 250 pairs."""
        notes = require_enough(sums.n, of_a_part=self._of_a_part)
        moments = sums.moments()
        notes += describe_poverty(moments, np.linalg.eigh(moments.gram).eigenvalues)
        rotation, bias = self._solve(moments)
        return self._learn(rotation, bias, n=sums.n, notes=say(notes, of_a_part=self._of_a_part))

    def _solve(self, moments: Moments) -> tuple[Doubles, Doubles | None]:
        # About zero, not about the means: an angle is taken from the origin, for queries as for documents.
        return solve_procrustes(moments.cross + moments.n * np.outer(moments.mean_x, moments.mean_y)), None


class CentredProcrustesAdapter(ProcrustesAdapter):
    """The same about the means: what a row has beside the mean of its space is rotated, and the other mean added. For
    models whose vectors all lean one way, where a rotation about zero is spent on turning one mean into the other."""

    def _solve(self, moments: Moments) -> tuple[Doubles, Doubles | None]:
        rotation = solve_procrustes(moments.cross)
        return rotation, moments.mean_y - moments.mean_x @ rotation
