"""Lazy migration under skewed traffic, simulated: a bridge on day one, then what searches bring up is embedded.

    python scripts/bench/adapters_lazy.py

Queries come by Zipf's law (exponents 0.8, 1.0, 1.2) in a random order of popularity. After each search the rows among
its top 10 that are still bridged are embedded (`background`); or the top 20 before it answers (`inline`). Shown against
the searches served: quality weighted by traffic, as a share of the new model's (MRR@10 on WordNet, nDCG@10 on
Cranfield), the share of shown rows that were true since the line above, the share of rows embedded; and the same spend
in key order and in random order. The bridge is what `auto` chooses on pairs that are not the documents (WordNet), or
cross-fitted (Cranfield), as in adapters.py, without the rows' texts and with them. Means over five traffics. Kept in
.embedmig/bench/adapters/lazy.json.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import adapters as bench
import adapters_data as data
import numpy as np

from embedmig.adapters import Direction
from embedmig.adapters.measures import top_k
from embedmig.types import Floats

EXPONENTS = (0.8, 1.0, 1.2)
CHECKPOINTS = (0, 300, 1_000, 3_000, 10_000, 50_000)


class Corpus:
    """Scores of every query and document, by bridged and by true vectors; which document is true by now."""

    def __init__(self, name: str, *, with_texts: bool) -> None:
        self._case = bench.open_case(name, "static")
        n = bench.SIZES[name][-1]
        self.kind = bench.choose(self._case, n, Direction.BRIDGE, with_texts=with_texts).kind
        self._bridged = bench.score_all(
            self._case, n, lambda *args: bench.score_kind(self.kind, Direction.BRIDGE, *args)
        )
        self._true = self._case.queries @ self._case.documents.new.T
        self.ideal = self._case.measure(top_k(self._true, 10))
        self.n_queries, self.n_documents = self._true.shape
        self.key_order = np.array(self._case.corpus.key_order or range(self.n_documents))
        self.reset()

    def reset(self) -> None:
        self.scores: Floats = self._bridged.copy()
        self.is_true = np.zeros(self.n_documents, dtype=bool)

    def embed(self, documents: np.ndarray) -> None:
        new = documents[~self.is_true[documents]]
        self.scores[:, new] = self._true[:, new]
        self.is_true[new] = True

    def search(self, query: int, k: int) -> np.ndarray:
        return top_k(self.scores[query : query + 1], k)[0]

    def quality(self, traffic: np.ndarray) -> float:
        """Weighted by traffic, as a share of the new model's."""
        values = self._case.measure(top_k(self.scores, 10))
        return float((traffic * values).sum() / (traffic * self.ideal).sum())


def make_traffic(n_queries: int, exponent: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n_queries,): each query's share of the searches; (50,000,): the searches."""
    rng = np.random.default_rng(seed)
    share = np.empty(n_queries)
    share[rng.permutation(n_queries)] = np.arange(1, n_queries + 1) ** -exponent
    share /= share.sum()
    return share, rng.choice(n_queries, CHECKPOINTS[-1], p=share)


def serve(corpus: Corpus, exponent: float, mode: str, seed: int) -> Iterator[dict[str, float]]:
    """One line a checkpoint."""
    traffic, searches = make_traffic(corpus.n_queries, exponent, seed)
    corpus.reset()
    shown: list[float] = []
    for served in range(CHECKPOINTS[-1] + 1):
        if served in CHECKPOINTS:
            yield {
                "searches": served,
                "quality": corpus.quality(traffic),
                "impressions_true": float(np.mean(shown)) if shown else 0.0,
                "rows_embedded": int(corpus.is_true.sum()),
                "rows_share": float(corpus.is_true.mean()),
            }
            shown = []
        if served < len(searches):
            query = int(searches[served])
            if mode == "inline":
                corpus.embed(corpus.search(query, 20))
            top = corpus.search(query, 10)
            shown.append(float(corpus.is_true[top].mean()))
            corpus.embed(top)


def spend_otherwise(corpus: Corpus, exponent: float, rows: int, seed: int) -> dict[str, float]:
    """The quality that the same number of rows brings in other orders."""
    traffic, _ = make_traffic(corpus.n_queries, exponent, seed)
    found = {}
    orders = {"key": corpus.key_order, "random": np.random.default_rng(seed).permutation(corpus.n_documents)}
    for name, order in orders.items():
        corpus.reset()
        corpus.embed(order[:rows])
        found[f"quality_{name}_order"] = corpus.quality(traffic)
    return found


def measure(corpus: Corpus, exponent: float, mode: str, seeds: int) -> Iterator[dict[str, Any]]:
    """Means over traffics that differ in what is popular and in the order of searches; of the quality also the ends."""
    runs = []
    for seed in range(seeds):
        lines = list(serve(corpus, exponent, mode, seed))
        runs.append([line | spend_otherwise(corpus, exponent, int(line["rows_embedded"]), seed) for line in lines])
    for lines in zip(*runs, strict=True):
        qualities = [line["quality"] for line in lines]
        means = {name: round(float(np.mean([line[name] for line in lines])), 4) for name in lines[0]}
        yield (
            {"exponent": exponent, "mode": mode}
            | means
            | {"quality_from": min(qualities), "quality_to": max(qualities)}
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", nargs="+", default=["cranfield", "wordnet"], choices=list(bench.SIZES))
    parser.add_argument("--seeds", type=int, default=5, help="so many traffics")
    given = parser.parse_args()
    kept = []
    for name, with_texts in product(given.corpora, (False, True)):
        corpus = Corpus(name, with_texts=with_texts)
        print(f"{name}: {corpus.n_documents} rows, {corpus.n_queries} queries, bridge {corpus.kind}", flush=True)
        for exponent, mode in product(EXPONENTS, ("background", "inline")):
            for line in measure(corpus, exponent, mode, given.seeds):
                kept.append({"corpus": name, "bridge": corpus.kind} | line)
                print(json.dumps(kept[-1]), flush=True)
            (data.CACHE / "lazy.json").write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
