"""How much of a full re-embedding's quality adapters keep, beside what others' adapters keep.

    python scripts/bench/adapters.py --peers DIR       # everything; DIR as scripts/bench/adapters_peers.py says
    python scripts/bench/adapters.py --corpora cranfield --old static --print-only

Figures are shares of what the new model gets when everything is re-embedded (nDCG@10 on Cranfield, MRR@10 on WordNet),
with 95 % bootstrap intervals over the queries, and the share of the new model's top 10 that is found. No document is
scored by a map that was fitted on it: Cranfield by cross-fitting in five folds, WordNet on glosses of other synsets.

No setting was chosen on these queries or documents. Penalties are by generalised cross-validation on the fitted pairs;
the ranking adapter's temperature, step length and jitter, the text bridge's features and penalty, the shrinkage of
distances and the floor of the selection were chosen on docstrings and on WordNet synsets that are in no part of this
(`docstrings` and `wordnet-dev` in adapters_data.py); `auto` chooses by held-out parts of the fitted pairs, query
adapters by excerpts of them.

Figures are kept in .embedmig/bench/adapters/quality.json after each setting, and a run goes on where one stopped.
"""

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import adapters_data as data
import numpy as np
from adapters_peers import Fit, find_peers

from embedmig.adapters import Direction, Pairs, apply_adapter, select_adapter
from embedmig.adapters.checks import AdapterWarning
from embedmig.adapters.excerpts import N_EXCERPTS, Excerpts, cut_excerpts
from embedmig.adapters.intervals import bootstrap_mean, bootstrap_ratio
from embedmig.adapters.kinds import fit_adapter
from embedmig.adapters.measures import ndcg, overlap, reciprocal_rank, top_k
from embedmig.adapters.trials import held_out_rows
from embedmig.types import Floats

RESULTS = data.CACHE / "quality.json"
SIZES = {"cranfield": (500, 1118), "wordnet": (500, 2_000, 10_000)}
DEVELOPMENT = {"docstrings": (500, 2_000), "wordnet-dev": (500, 2_000)}
"""What settings were chosen on: measured when it is asked for, and no evidence."""
FOLDS = 5
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A corpus and an old model, all vectors of unit length."""

    corpus: data.Corpus
    old: str
    documents: Pairs
    fitting: Pairs | None
    queries: Floats
    """By the new model."""
    old_queries: Floats

    def splits(self, n: int) -> Iterator[tuple[Pairs, np.ndarray]]:
        """(n pairs to fit on, the documents to be scored)."""
        if self.fitting is not None:
            yield self.fitting.at(np.arange(n)), np.arange(len(self.documents))
            return
        order = np.random.default_rng(SEED).permutation(len(self.documents))
        for held in np.array_split(order, FOLDS):
            yield self.documents.at(np.setdiff1d(order, held, assume_unique=True)[:n]), np.sort(held)

    def measure(self, found: np.ndarray) -> np.ndarray:
        """One figure a query of the top 10."""
        measure = ndcg if self.corpus.name == "cranfield" else reciprocal_rank
        return measure(found, self.corpus.relevant)


Score = Callable[[Case, Pairs, Pairs], Floats]
"""(queries, documents) scored by what was fitted on the pairs."""


def open_case(name: str, old: str) -> Case:
    corpus = data.CORPORA[name]()
    fitting = None
    if corpus.fitting:
        fitting = Pairs(
            old=data.embed(old, corpus.fitting), new=data.embed(data.NEW_MODEL, corpus.fitting), texts=corpus.fitting
        )
    return Case(
        corpus=corpus,
        old=old,
        documents=Pairs(
            old=data.embed(old, corpus.documents),
            new=data.embed(data.NEW_MODEL, corpus.documents),
            texts=corpus.documents,
        ),
        fitting=fitting,
        queries=data.embed(data.NEW_MODEL, corpus.queries),
        old_queries=data.embed(old, corpus.queries),
    )


def score_new(case: Case, pairs: Pairs, documents: Pairs) -> Floats:
    return case.queries @ documents.new.T


def score_old(case: Case, pairs: Pairs, documents: Pairs) -> Floats:
    return case.old_queries @ documents.old.T


def score_unmapped(case: Case, pairs: Pairs, documents: Pairs) -> Floats:
    if case.queries.shape[1] != documents.old.shape[1]:
        raise ValueError("vectors of two widths cannot be compared")
    return case.queries @ documents.old.T


def score_tf_idf(case: Case, pairs: Pairs, documents: Pairs) -> Floats:
    from sklearn.feature_extraction.text import TfidfVectorizer

    reader = TfidfVectorizer(sublinear_tf=True, dtype=np.float32).fit(case.corpus.documents)
    return (reader.transform(case.corpus.queries) @ reader.transform(documents.texts).T).toarray()


def score_kind(kind: str, direction: Direction, case: Case, pairs: Pairs, documents: Pairs) -> Floats:
    adapter = fit_adapter(kind, pairs, direction, seed=SEED)
    if direction is Direction.QUERY:
        return apply_adapter(adapter, case.queries) @ documents.old.T
    return case.queries @ apply_adapter(adapter, documents.old, documents.texts).T


def score_peer(fit: Fit, direction: Direction, case: Case, pairs: Pairs, documents: Pairs) -> Floats:
    if direction is Direction.QUERY:
        return fit(pairs.new, pairs.old)(case.queries) @ documents.old.T
    return case.queries @ fit(pairs.old, pairs.new)(documents.old).T


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What `auto` chose on each split, and which share of the new model's top 10 it believed to keep."""

    kinds: list[str]
    believed: list[float]

    @property
    def kind(self) -> str:
        """One deployment has one adapter: the most frequent of the five that cross-fitting needs."""
        return Counter(self.kinds).most_common(1)[0][0]


def choose(case: Case, n: int, direction: Direction, *, with_texts: bool = False) -> Choice:
    kinds, believed = [], []
    for pairs, _ in case.splits(n):
        excerpts = cut(pairs) if direction is Direction.QUERY else None
        given = pairs if with_texts else Pairs(old=pairs.old, new=pairs.new)
        selection = select_adapter(given, direction, excerpts=excerpts, seed=SEED)
        kinds.append(selection.kind or "none")
        believed.append(selection.score.share if selection.score else 0.0)
    return Choice(kinds=kinds, believed=believed)


def cut(pairs: Pairs) -> Excerpts:
    """As a deployment would: short pieces of held-out documents, embedded by the new model."""
    rows = held_out_rows(len(pairs), seed=SEED)[:N_EXCERPTS]
    texts = cut_excerpts([pairs.texts[row] for row in rows.tolist()], seed=SEED)
    return Excerpts(vectors=data.embed(data.NEW_MODEL, texts), rows=rows)


def score_all(case: Case, n: int, score: Score) -> Floats:
    """(queries, all documents), each document by what was fitted without it."""
    scores = np.empty((len(case.queries), len(case.documents)), dtype=np.float32)
    for pairs, rows in case.splits(n):
        scores[:, rows] = score(case, pairs, case.documents.at(rows))
    return scores


def rank_again(case: Case, scores: Floats, k: int) -> np.ndarray:
    """The top 10 after the top ``k`` by ``scores`` were re-embedded and ordered by their true vectors."""
    candidates = top_k(scores, k)
    true = np.einsum("qd,qkd->qk", case.queries, case.documents.new[candidates])
    return np.take_along_axis(candidates, top_k(true.astype(np.float32), 10), axis=1)


def measure_case(case: Case, n: int, peers: dict[str, Fit]) -> list[dict[str, Any]]:
    """All methods on one corpus, old model and number of pairs."""
    new = top_k(score_all(case, n, score_new), 10)
    ideal = case.measure(new)
    rows: list[dict[str, Any]] = []
    values: dict[str, np.ndarray] = {}

    def keep(family: str, method: str, found: np.ndarray, seconds: float, **more: Any) -> None:
        values[method] = case.measure(found)
        low, high = bootstrap_ratio(values[method], ideal)
        rows.append(
            {
                "corpus": case.corpus.name,
                "old": case.old,
                "pairs": n,
                "family": family,
                "method": method,
                "share": float(values[method].mean() / ideal.mean()),
                "interval": [low, high],
                "recall_10": float(overlap(found, new).mean()),
                "seconds": round(seconds, 2),
                **more,
            }
        )
        print(describe(rows[-1]), flush=True)

    def run(family: str, method: str, score: Score, **more: Any) -> Floats | None:
        started = time.perf_counter()
        try:
            scores = score_all(case, n, score)
        except ValueError as error:
            print(f"   {method}: {error}", flush=True)
            return None
        keep(family, method, top_k(scores, 10), time.perf_counter() - started, **more)
        return scores

    def run_auto(family: str, method: str, direction: Direction, *, with_texts: bool = False) -> Floats | None:
        choice = choose(case, n, direction, with_texts=with_texts)
        if choice.kind == "none":
            print(f"   {method}: none is good enough", flush=True)
            return None
        score = partial(score_kind, choice.kind, direction)
        return run(family, method, score, chosen=choice.kinds, believed=choice.believed)

    print(f"{case.corpus.name}, {case.old} -> minilm, {n} pairs; the new model gets {ideal.mean():.4f}", flush=True)
    run("none", "no adapter", score_unmapped)
    run("none", "old model", score_old)
    run("none", "tf-idf", score_tf_idf)
    for kind in ("procrustes", "centred", "ridge", "distilled", "ranking"):
        run("query", f"query {kind}", partial(score_kind, kind, Direction.QUERY))
    run_auto("query", "query auto", Direction.QUERY)
    for kind in ("procrustes", "ridge", "text"):
        run("bridge", f"bridge {kind}", partial(score_kind, kind, Direction.BRIDGE))
    bridged = run_auto("bridge", "bridge auto", Direction.BRIDGE)
    run_auto("text", "bridge auto with text", Direction.BRIDGE, with_texts=True)
    if bridged is not None:
        for k in (20, 100):
            keep("lazy", f"bridge auto, top {k} re-embedded", rank_again(case, bridged, k), 0.0)
    for name, fit in peers.items():
        run("peer query", f"{name} (query)", partial(score_peer, fit, Direction.QUERY))
        run("peer bridge", f"{name} (bridge)", partial(score_peer, fit, Direction.BRIDGE))
    for row in rows:
        ours = {"peer query": "query auto", "peer bridge": "bridge auto with text"}.get(row["family"])
        if row["family"] == "none":
            ours = "bridge auto with text"
        if ours in values:
            difference = (values[ours] - values[row["method"]]) / ideal.mean()
            row["ours"] = ours
            row["ours_less_this"] = [float(difference.mean()), *bootstrap_mean(difference)]
    return rows


def describe(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    chosen = f"  chose {', '.join(dict.fromkeys(row['chosen']))}" if "chosen" in row else ""
    believed = f", believed {np.mean(row['believed']):.3f}" if row.get("believed") else ""
    return (
        f"   {row['method']:<46} {100 * row['share']:6.1f} [{100 * low:5.1f} to {100 * high:5.1f}]"
        f"  top 10 {100 * row['recall_10']:5.1f}{chosen}{believed}"
    )


def verdicts(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Where a baseline is better than ours, and whether that is beyond the noise."""
    for row in rows:
        if "ours_less_this" in row:
            mean, low, high = row["ours_less_this"]
            if mean < 0:
                noise = "beyond the noise" if high < 0 else "within the noise"
                yield (
                    f"   {row['corpus']}, {row['old']}, {row['pairs']} pairs: {row['ours']} less {row['method']}:"
                    f" {100 * mean:+.1f} [{100 * low:+.1f} to {100 * high:+.1f}], {noise}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", nargs="+", default=list(SIZES), choices=[*SIZES, *DEVELOPMENT])
    parser.add_argument("--old", nargs="+", default=list(data.OLD_MODELS), choices=list(data.OLD_MODELS))
    parser.add_argument("--pairs", nargs="+", type=int, help="only these numbers of pairs")
    parser.add_argument("--peers", type=Path, help="folder that vectormigrate and isotrieve were installed into")
    parser.add_argument("--again", action="store_true", help="measure anew what is kept already")
    parser.add_argument("--print-only", action="store_true", help="only print what is kept")
    given = parser.parse_args()
    warnings.simplefilter("ignore", AdapterWarning)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    peers = {} if given.print_only else find_peers(given.peers)
    for corpus in given.corpora:
        for old in given.old:
            for n in (SIZES | DEVELOPMENT)[corpus]:
                key = f"{corpus}/{old}/{n}"
                if given.pairs and n not in given.pairs:
                    continue
                if not given.print_only and (given.again or key not in kept):
                    kept[key] = measure_case(open_case(corpus, old), n, peers)
                    RESULTS.write_text(json.dumps(kept, indent=1))
                elif key in kept:
                    print(key, *map(describe, kept[key]), sep="\n")
    print("Where a baseline is better than ours:")
    print(*verdicts([row for rows in kept.values() for row in rows]), sep="\n")


if __name__ == "__main__":
    main()
