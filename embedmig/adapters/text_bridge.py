"""A bridge that also reads the row's own text: what the old model never kept cannot be mapped, but words can."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from embedmig.adapters.checks import as_pairs, as_rows, describe_poverty, require_enough, say, to_unit_rows
from embedmig.adapters.estimator import Estimator
from embedmig.adapters.measures import mean_cosine
from embedmig.adapters.normal_equations import NormalEquations
from embedmig.adapters.ridge import solve_ridge
from embedmig.errors import AdapterInputError, UnsupportedError
from embedmig.types import Floats

_HELD_OUT = 0.1
_PATIENCE = 3
_MOST_STEPS = 60
_BLOCK_ROWS = 4096


class TextBridge(Estimator):
    """y = x A + t B + b, where t are tf-idf features of the row's text, hashed: any word has a place, none is stored.

    The vector part is ridge (as RidgeAdapter); the text part is found by conjugate gradients on what that leaves,
    stopped where a held-out tenth of the pairs fits best. Needs scikit-learn: ``pip install 'embedmig[adapters]'``.

    ``n_features``: columns of t. ``analyzer``, ``ngrams``: as HashingVectorizer's ``analyzer`` and ``ngram_range``
    (``char_wb`` and (3, 5) is as good and slower). ``penalty``: on squared text weights. ``max_pairs``: of more pairs,
    the first so many are used. ``seed``: which tenth is held out.
    After fit: ``weights_`` (d_from, d_to), ``text_weights_`` (n_features, d_to), ``idf_`` (n_features,), ``bias_``,
    all float32; ``alpha_``, ``n_steps_``, ``n_fit_``, ``notes_``.
    """

    weights_: Floats
    text_weights_: Floats
    idf_: Floats
    bias_: Floats
    alpha_: float
    n_steps_: int
    n_fit_: int
    notes_: tuple[str, ...]

    def __init__(
        self,
        n_features: int = 2**14,
        analyzer: str = "word",
        ngrams: tuple[int, int] = (1, 1),
        penalty: float = 1.0,
        max_pairs: int = 20_000,
        seed: int = 0,
        normalise: bool = True,
    ) -> None:
        self.n_features = n_features
        self.analyzer = analyzer
        self.ngrams = ngrams
        self.penalty = penalty
        self.max_pairs = max_pairs
        self.seed = seed
        self.normalise = normalise

    def fit(self, X: Any, Y: Any, texts: Sequence[str]) -> Self:
        """``X``: (n, d_from), ``Y``: (n, d_to), ``texts``: the n rows' texts; left unchanged.

        Raises AdapterInputError as the other adapters do, UnsupportedError without scikit-learn.
        """
        X, Y = as_pairs(X, Y)
        _require_texts(texts, len(X))
        X, Y, texts = X[: self.max_pairs], Y[: self.max_pairs], texts[: self.max_pairs]
        notes = require_enough(len(X), of_a_part=self._of_a_part)
        if self.normalise:
            X, Y = to_unit_rows(X, "X"), to_unit_rows(Y, "Y")
        counts = self._count_words(texts)
        self.idf_ = _inverse_document_frequency(counts)
        features = _weigh(counts, self.idf_)
        held = np.random.default_rng(self.seed).permutation(len(X)) < max(int(_HELD_OUT * len(X)), 1)
        self.n_steps_ = self._watch_steps(X, Y, features, held)
        problem = _Problem(X, Y, features, self.penalty)
        for _ in range(self.n_steps_):
            problem.step()
        notes += describe_poverty(problem.moments, problem.eigenvalues)
        self.alpha_, self.n_fit_, self.notes_ = problem.alpha, len(X), say(notes, of_a_part=self._of_a_part)
        self.weights_, self.text_weights_, self.bias_ = problem.solution()
        return self

    def _watch_steps(self, X: Floats, Y: Floats, features: Any, held: Any) -> int:
        """After how many steps on the other pairs the held-out ones fit best."""
        problem = _Problem(X[~held], Y[~held], features[~held], self.penalty)
        best, best_at, at = _fit_on(problem, X[held], Y[held], features[held]), 0, 0
        while at < min(best_at + _PATIENCE, _MOST_STEPS):
            problem.step()
            at += 1
            fit = _fit_on(problem, X[held], Y[held], features[held])
            if fit > best:
                best, best_at = fit, at
        return best_at

    def transform(self, X: Any, texts: Sequence[str], out: Floats | None = None) -> Floats:
        """(n, d_to) float32, unit length when ``normalise``, for rows with these vectors and texts.

        Raises AdapterNotFittedError before fit, AdapterInputError on another width, values not finite, or another
        number of texts.
        """
        self._require_fitted()
        rows = as_rows(X, "X")
        if rows.shape[1] != self.weights_.shape[0]:
            raise AdapterInputError(
                f"TextBridge was fitted on vectors of {self.weights_.shape[0]} dimensions, given were {rows.shape[1]}"
            )
        _require_texts(texts, len(rows))
        if out is None:
            out = np.empty((len(rows), self.weights_.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            out[block] = self._transform_block(rows[block], texts[block])
        return out

    def _transform_block(self, rows: Floats, texts: Sequence[str]) -> Floats:
        if self.normalise:
            rows = to_unit_rows(rows, "X")
        features = _weigh(self._count_words(texts), self.idf_)
        mapped = rows.astype(np.float32, copy=False) @ self.weights_ + features @ self.text_weights_ + self.bias_
        return to_unit_rows(mapped, "the mapped block") if self.normalise else mapped

    def score(self, X: Any, Y: Any, texts: Sequence[str]) -> float:
        """The mean cosine between ``transform(X, texts)`` and ``Y``, from -1 to 1."""
        X, Y = as_pairs(X, Y)
        return mean_cosine(self.transform(X, texts), Y)

    def _count_words(self, texts: Sequence[str]) -> Any:
        """(n, n_features) sparse: 1 + log of how often each word stands in each text, signed by its hash."""
        try:
            from sklearn.feature_extraction.text import HashingVectorizer
        except ImportError:
            raise UnsupportedError(
                "a bridge with text needs scikit-learn: pip install 'embedmig[adapters]', or bridge without text"
            ) from None
        vectorizer = HashingVectorizer(
            n_features=self.n_features, analyzer=self.analyzer, ngram_range=self.ngrams, norm=None, dtype=np.float32
        )
        counts = vectorizer.transform(texts)
        counts.eliminate_zeros()
        counts.data = np.sign(counts.data) * (1 + np.log(np.abs(counts.data)))
        return counts


class _Problem:
    """min over A, B, b of |Y - X A - T B - b|^2 + alpha |A|^2 + penalty |B|^2: B by conjugate gradients, A, b exact.

    ``alpha`` is what generalised cross-validation says for the vectors alone. Every step costs two products with the
    sparse T, and lowers the rest that the held-out pairs are watched for.
    """

    def __init__(self, X: Floats, Y: Floats, features: Any, penalty: float) -> None:
        self.penalty = penalty
        self.moments = NormalEquations(X.shape[1], Y.shape[1]).add(X, Y).moments()
        solution = solve_ridge(self.moments)
        self.alpha, self.eigenvalues = solution.alpha, solution.eigenvalues
        self._mean_x, self._mean_y = self.moments.mean_x.astype(np.float32), self.moments.mean_y.astype(np.float32)
        self._X, self._Y, self._T = X - self._mean_x, Y - self._mean_y, features
        damped = self.moments.gram + self.alpha * np.eye(X.shape[1])
        self._inverse: Floats = np.linalg.inv(damped).astype(np.float32)
        self._mean_t = np.asarray(features.mean(axis=0), dtype=np.float32).ravel()
        self.text_weights: Floats = np.zeros((features.shape[1], Y.shape[1]), dtype=np.float32)
        self._rest: Floats = features.T @ self._without_vectors(self._Y)
        self._direction = self._rest.copy()
        self._energy = _column_squares(self._rest)

    def _without_vectors(self, Z: Floats) -> Floats:
        """What the vectors and a constant leave of Z (n, d)."""
        centred: Floats = Z - Z.mean(axis=0)
        explained = self._X @ (self._inverse @ (self._X.T @ centred))
        return np.subtract(centred, explained, dtype=np.float32)

    def step(self) -> None:
        """One step of conjugate gradients, each output column with a step length of its own."""
        image = self._T.T @ self._without_vectors(self._T @ self._direction) + self.penalty * self._direction
        along = np.einsum("ij,ij->j", self._direction, image)
        length = np.divide(self._energy, along, out=np.zeros_like(along), where=along > 0)
        self.text_weights += self._direction * length
        self._rest -= image * length
        energy = _column_squares(self._rest)
        turn = np.divide(energy, self._energy, out=np.zeros_like(energy), where=self._energy > 0)
        self._direction *= turn
        self._direction += self._rest
        self._energy = energy

    def solution(self) -> tuple[Floats, Floats, Floats]:
        """(A, B, b) for rows that are not centred."""
        left = self._Y - self._T @ self.text_weights
        left -= left.mean(axis=0)
        weights: Floats = self._inverse @ (self._X.T @ left)
        bias: Floats = self._mean_y - self._mean_x @ weights - self._mean_t @ self.text_weights
        return weights, self.text_weights, bias


def _fit_on(problem: _Problem, X: Floats, Y: Floats, features: Any) -> float:
    weights, text_weights, bias = problem.solution()
    return mean_cosine(X @ weights + features @ text_weights + bias, Y)


def _column_squares(values: Floats) -> Floats:
    squares: Floats = np.einsum("ij,ij->j", values, values)
    return squares


def _inverse_document_frequency(counts: Any) -> Floats:
    n = counts.shape[0]
    with_it = np.bincount(counts.indices, minlength=counts.shape[1])
    weights: Floats = (np.log((1 + n) / (1 + with_it)) + 1).astype(np.float32)
    return weights


def _weigh(counts: Any, idf: Floats) -> Any:
    """tf-idf rows of unit length; a text without a word stays zeros, and is mapped by its vector alone."""
    weighed = counts.copy()
    weighed.data = weighed.data * idf[weighed.indices]
    lengths = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    weighed.data /= np.repeat(np.maximum(lengths, np.finfo(np.float32).tiny), np.diff(weighed.indptr))
    return weighed


def _require_texts(texts: Sequence[str], n: int) -> None:
    if isinstance(texts, str) or len(texts) != n:
        raise AdapterInputError(f"{n} rows need {n} texts, one each, given were {len(texts)}")
