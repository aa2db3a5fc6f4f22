"""How fast adapters fit and map.

    python scripts/bench/adapters_speed.py

One query through an adapter, a million rows through a bridge, and the ridge fit beside scikit-learn's at the same
penalty and accuracy. Printed as JSON, and kept in .embedmig/bench/adapters/speed.json.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import adapters_data as data
import numpy as np

from embedmig.adapters import LinearAdapter, ProcrustesAdapter, RidgeAdapter, TextBridge
from embedmig.types import Floats

CALLS = 20_000


def make_rows(n: int, d: int, seed: int) -> Floats:
    rows = np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def time_one_query(adapter: LinearAdapter, queries: Floats) -> dict[str, float]:
    """Microseconds a call, the output written into a buffer that is there already."""
    out = np.empty(adapter.weights_.shape[1], dtype=np.float32)
    rows = [query.copy() for query in queries]
    taken = np.empty(CALLS)
    for call in range(CALLS):
        row = rows[call % len(rows)]
        started = time.perf_counter_ns()
        adapter.transform_one(row, out)
        taken[call] = time.perf_counter_ns() - started
    return {f"p{q}_us": round(float(np.percentile(taken, q)) / 1000, 2) for q in (50, 95, 99)}


def time_rows(run: Callable[[], Any], n: int, repeats: int) -> dict[str, float]:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return {"rows_s_best": round(n / min(taken)), "rows_s_median": round(n / float(np.median(taken)))}


def compare_ridge(n: int, d: int, repeats: int) -> dict[str, Any]:
    """Ours at a given penalty and with one chosen, beside scikit-learn's in both precisions. Accuracy: the largest
    difference of a weight from scikit-learn's in float64, as a share of the largest weight."""
    from sklearn.linear_model import Ridge

    X = make_rows(n, d, 0)
    Y = (X @ np.random.default_rng(1).standard_normal((d, d), dtype=np.float32) / np.sqrt(d)).astype(np.float32)
    Y += 0.1 * make_rows(n, d, 2)
    X64, Y64 = X.astype(np.float64), Y.astype(np.float64)
    exact = Ridge(alpha=1.0, solver="cholesky").fit(X64, Y64).coef_.T
    runs: dict[str, Callable[[], Any]] = {
        "ours": lambda: RidgeAdapter(alpha=1.0, normalise=False).fit(X, Y).weights_,
        "ours, penalty chosen": lambda: RidgeAdapter(normalise=False).fit(X, Y).weights_,
        "ours, float64": lambda: RidgeAdapter(alpha=1.0, normalise=False).fit(X64, Y64).weights_,
        "scikit-learn, float32": lambda: Ridge(alpha=1.0, solver="cholesky").fit(X, Y).coef_.T,
        "scikit-learn, float64": lambda: Ridge(alpha=1.0, solver="cholesky").fit(X64, Y64).coef_.T,
    }
    found: dict[str, Any] = {name: {"seconds": []} for name in runs}
    for _ in range(repeats):  # in turn, so that a busy machine is busy for all
        for name, run in runs.items():
            started = time.perf_counter()
            weights = run()
            found[name]["seconds"].append(round(time.perf_counter() - started, 3))
            found[name]["error"] = float(np.abs(weights - exact).max() / np.abs(exact).max())
    best = {name: min(one["seconds"]) for name, one in found.items()}
    for precision in ("float32", "float64"):
        ours = "ours" if precision == "float32" else "ours, float64"
        found[f"times scikit-learn, {precision}"] = round(best[f"scikit-learn, {precision}"] / best[ours], 2)
    return found


def fit_streamed(n: int, d_from: int, d_to: int) -> dict[str, float]:
    """Seconds for n pairs that are made as they are read, without the making; and the process's peak memory."""
    block = 10_000
    pools = make_rows(block * 4, d_from, 0), make_rows(block * 4, d_to, 1)

    def blocks() -> Iterator[tuple[Floats, Floats]]:
        for at in range(0, n, block):
            start = at % (3 * block)
            yield pools[0][start : start + block], pools[1][start : start + block]

    started = time.perf_counter()
    RidgeAdapter().fit_blocks(blocks)
    seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"pairs": n, "seconds": round(seconds, 2), "pairs_s": round(n / seconds), "peak_mb": round(peak_mb)}


def time_text_bridge(repeats: int) -> dict[str, float]:
    corpus = data.CORPORA["wordnet"]()
    old, new = data.embed("static", corpus.fitting), data.embed(data.NEW_MODEL, corpus.fitting)
    bridge = TextBridge().fit(old, new, corpus.fitting)
    rows, texts = data.embed("static", corpus.documents), corpus.documents
    return time_rows(lambda: bridge.transform(rows, texts), len(rows), repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="through the bridge")
    parser.add_argument("--fit-rows", type=int, default=100_000, help="of the ridge fit, 768-d")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    found: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    found["fit a million streamed, 256 -> 384"] = [fit_streamed(n, 256, 384) for n in (10_000, 1_000_000)]
    new, old = make_rows(5_000, 384, 0), make_rows(5_000, 256, 1)
    found["one query, 384 -> 256"] = {
        "procrustes": time_one_query(ProcrustesAdapter().fit(new, old), new),
        "ridge (with a bias)": time_one_query(RidgeAdapter().fit(new, old), new),
    }
    bridge, rows = RidgeAdapter().fit(old, new), make_rows(given.rows, 256, 3)
    out = np.empty((given.rows, 384), dtype=np.float32)
    found["bridge, 256 -> 384"] = time_rows(lambda: bridge.transform(rows, out), given.rows, given.repeat)
    rows = out = rows[:0]  # room for what comes
    if data.WORDNET.exists():
        found["bridge with text, WordNet glosses"] = time_text_bridge(given.repeat)
    found[f"ridge fit, {given.fit_rows} x 768 -> 768"] = compare_ridge(given.fit_rows, 768, given.repeat)
    data.CACHE.mkdir(parents=True, exist_ok=True)
    (data.CACHE / "speed.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
