"""A query adapter taught to rank the old vectors as the new model ranks its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from embedmig.adapters.linear import Blocks, LinearAdapter, read_block
from embedmig.adapters.procrustes import ProcrustesAdapter
from embedmig.types import Floats

_BATCH = 256
_CANDIDATES = 2048
_EPOCH_STEPS = 20
_PATIENCE = 5
_HELD_OUT = 0.15


@dataclass(frozen=True, eq=False, kw_only=True)
class Lists:
    """Documents in both spaces, each a query for the others."""

    new: Floats
    old: Floats


class RankingAdapter(LinearAdapter):
    """The rotation, then changed by gradient descent until old vectors are ranked as new ones are.

    Every document is a query for the others: the divergence (KL) of the adapter's ranking from the new model's is
    minimised, until it grows on a part of the pairs that is held out. Needs no judgments.

    ``temperature``: of both rankings; lower looks at fewer top documents. ``jitter``: the length of the noise added to
    a document when it asks, for queries are not documents. ``learning_rate``, ``max_steps``: of the descent (Adam).
    ``max_pairs``: of more pairs, the first so many are used. ``seed``: same input and seed, same result. After fit,
    besides what LinearAdapter says: ``n_steps_``, ``divergence_`` (held out).
    """

    n_steps_: int
    divergence_: float

    def __init__(
        self,
        temperature: float = 0.02,
        learning_rate: float = 3e-4,
        jitter: float = 0.5,
        max_steps: int = 600,
        max_pairs: int = 20_000,
        seed: int = 0,
        normalise: bool = True,
    ) -> None:
        self.temperature = temperature
        self.learning_rate = learning_rate
        self.jitter = jitter
        self.max_steps = max_steps
        self.max_pairs = max_pairs
        self.seed = seed
        self.normalise = normalise

    def fit_blocks(self, blocks: Blocks) -> Self:
        """Two passes over the blocks: one for the rotation, one that keeps ``max_pairs``."""
        start = ProcrustesAdapter(normalise=self.normalise)
        start._of_a_part = self._of_a_part
        start.fit_blocks(blocks)
        X, Y = self._gather(iter(blocks()))
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(X))
        held = order[: min(int(_HELD_OUT * len(X)), _CANDIDATES)]
        kept = order[held.size :]
        learning, watching = Lists(new=X[kept], old=Y[kept]), Lists(new=X[held], old=Y[held])
        weights = self._descend(start.weights_, learning, watching, rng)
        return self._learn(weights.astype(np.float64), None, n=start.n_fit_, notes=start.notes_)

    def _gather(self, blocks: Iterator[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
        parts, n = [], 0
        for block in blocks:
            X, Y = read_block(*block, normalise=self.normalise)
            parts.append((X.astype(np.float32), Y.astype(np.float32)))
            n += len(X)
            if n >= self.max_pairs:
                break
        return tuple(np.concatenate(side)[: self.max_pairs] for side in zip(*parts, strict=True))  # type: ignore

    def _descend(self, weights: Floats, learning: Lists, watching: Lists, rng: np.random.Generator) -> Floats:
        """The weights with the least divergence on ``watching``."""
        best, self.divergence_, self.n_steps_ = weights, _divergence(weights, watching, self.temperature), 0
        weights, patience = weights.copy(), _PATIENCE
        step = Adam(weights, self.learning_rate)
        for done in range(1, self.max_steps + 1):
            step.apply(weights, self._gradient(weights, learning, rng))
            if done % _EPOCH_STEPS:
                continue
            divergence = _divergence(weights, watching, self.temperature)
            patience = _PATIENCE if divergence < self.divergence_ else patience - 1
            if divergence < self.divergence_:
                best, self.divergence_, self.n_steps_ = weights.copy(), divergence, done
            if not patience:
                break
        return best

    def _gradient(self, weights: Floats, lists: Lists, rng: np.random.Generator) -> Floats:
        """Of the divergence over a batch of queries and a sample of candidates."""
        n = len(lists.new)
        candidates = rng.choice(n, min(n, _CANDIDATES), replace=False)
        among = Lists(new=lists.new[candidates], old=lists.old[candidates])
        asked = among.new[:_BATCH]
        lengths = np.linalg.norm(asked, axis=1, keepdims=True)
        noise = rng.standard_normal(asked.shape, dtype=np.float32) * np.float32(self.jitter / np.sqrt(asked.shape[1]))
        asked = asked + noise * lengths
        asked *= lengths / np.linalg.norm(asked, axis=1, keepdims=True)
        wanted, given = _distributions(weights, asked, among, self.temperature)
        pull = (given - wanted) / (self.temperature * len(asked))
        gradient: Floats = asked.T @ (pull @ among.old)
        return gradient


class Adam:
    """Gradient descent with a step length of each weight's own."""

    def __init__(self, weights: Floats, learning_rate: float) -> None:
        self._mean, self._square = np.zeros_like(weights), np.zeros_like(weights)
        self._rate, self._n = learning_rate, 0

    def apply(self, weights: Floats, gradient: Floats) -> None:
        """One step, in place."""
        self._n += 1
        self._mean += 0.1 * (gradient - self._mean)
        self._square += 0.001 * (gradient**2 - self._square)
        mean, square = self._mean / (1 - 0.9**self._n), self._square / (1 - 0.999**self._n)
        weights -= self._rate * mean / (np.sqrt(square) + 1e-8)


def _divergence(weights: Floats, lists: Lists, temperature: float) -> float:
    wanted, given = _distributions(weights, lists.new, lists, temperature)
    tiny = np.finfo(np.float32).tiny
    return float((wanted * (np.log(wanted + tiny) - np.log(given + tiny))).sum(axis=1, dtype=np.float64).mean())


def _distributions(weights: Floats, asked: Floats, among: Lists, temperature: float) -> tuple[Floats, Floats]:
    """(q, n) twice: how the new model and the adapter share their attention over the documents. ``asked`` (q, d_new)
    are the first documents' queries; the document itself is left out."""
    cold = np.float32(temperature)
    wanted: Floats = asked @ among.new.T / cold
    given: Floats = np.divide((asked @ weights) @ among.old.T, cold, dtype=np.float32)
    itself = np.arange(len(asked))
    wanted[itself, itself] = given[itself, itself] = -np.inf
    return _softmax(wanted), _softmax(given)


def _softmax(scores: Floats) -> Floats:
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores
