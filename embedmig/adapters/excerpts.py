"""Short pieces of the documents' own texts, to stand for queries where nobody has kept any."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedmig.adapters.checks import as_rows, to_unit_rows
from embedmig.adapters.kinds import Rows
from embedmig.errors import AdapterInputError
from embedmig.types import Floats

N_EXCERPTS = 1000
_FEWEST_WORDS, _MOST_WORDS = 2, 4
_LETTERS_A_WORD = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class Excerpts:
    """Pieces of texts of the pairs, embedded by the new model as queries: each should find its own row."""

    vectors: Floats
    """(q, d_new)"""
    rows: Rows
    """(q,): the row of the pairs that each was cut from."""

    def checked(self, d_new: int, *, normalise: bool) -> "Excerpts":
        """The same as arrays, of unit length when ``normalise``. Raises AdapterInputError on another width, values
        not finite, or another number of rows."""
        vectors = as_rows(self.vectors, "the excerpts")
        if vectors.shape[1] != d_new or len(vectors) != len(self.rows) or len(vectors) == 0:
            raise AdapterInputError(
                f"excerpts are (q, {d_new}), embedded by the new model, with a row for each; given were {vectors.shape}"
                f" and {len(self.rows)} rows"
            )
        unit = to_unit_rows(vectors, "the excerpts") if normalise else vectors
        return Excerpts(vectors=unit, rows=np.asarray(self.rows, dtype=np.int64))


def cut_excerpts(texts: Sequence[str], *, seed: int = 0) -> list[str]:
    """From each text 2 to 4 words that stand together, at most half of it; of a text without spaces as many letters
    as such words have. An empty text gives an empty excerpt."""
    rng = np.random.default_rng(seed)
    return [_cut(text, int(rng.integers(_FEWEST_WORDS, _MOST_WORDS + 1)), rng) for text in texts]


def _cut(text: str, n_words: int, rng: np.random.Generator) -> str:
    words = text.split()
    if len(words) >= 2 * _FEWEST_WORDS:
        return " ".join(_run(words, min(n_words, len(words) // 2), rng))
    return "".join(_run(list(text.strip()), n_words * _LETTERS_A_WORD, rng))


def _run(parts: list[str], n: int, rng: np.random.Generator) -> list[str]:
    n = min(n, max(1, len(parts) // 2))
    start = int(rng.integers(0, max(len(parts) - n, 0) + 1))
    return parts[start : start + n]
