"""How much of the bare model's speed reembed keeps: its rows a second over those of ``encode`` in its best batch size.

    python scripts/bench/efficiency.py             MiniLM on 800 texts, the static model on 50,000; some minutes
    python scripts/bench/efficiency.py --quick     a minute

The same texts on both sides, into a companion; the model is loaded before. Bare model and reembed take turns, so that
what else the machine does hits both; the ratio is that of their times added up. reembed's time is that of the whole
run: planning, reading, embedding, writing, counting.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ground import fresh_copy, hashing_model, keep, machine, make_table, make_texts, register, server

from embedmig.commands import reembed
from embedmig.db import Database
from embedmig.demo.models import STATIC_DIMENSIONS, ensure_static_model, minilm_path
from embedmig.embedders import load_embedder
from embedmig.embedders.quiet import quiet_libraries
from embedmig.schema.expanding import expand
from embedmig.types import Model, Placement

ROUNDS = 3


def main() -> None:
    """Measures, prints and keeps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, help="Of torch, on both sides [as many as it takes].")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    found: dict[str, Any] = {"machine": machine(), "threads": given.threads, "models": {}}
    with tempfile.TemporaryDirectory() as folder, server() as url:
        for name, path, dimensions, rows, sizes in (
            ("MiniLM", minilm_path(), 384, 100 if given.quick else 800, (16, 32, 64, 128)),
            (
                "static",
                ensure_static_model(Path(folder)),
                STATIC_DIMENSIONS,
                5_000 if given.quick else 50_000,
                (64, 256, 1024, 4096),
            ),
        ):
            texts = make_texts(rows)
            make_table(url, texts, 32, name=f"texts_of_{name.lower()}", index=False, vectors=False)
            model = model_at(path, name, dimensions)
            found["models"][name] = compare(url, f"texts_of_{name.lower()}", model, texts, sizes)
    found["load_average_after"] = os.getloadavg()
    if not given.quick:
        keep("efficiency", found)
    print(json.dumps(found, default=str) if given.as_json else table(found))


def model_at(path: Path, name: str, dimensions: int) -> Model:
    return Model(
        name=name.lower(),
        revision="1",
        provider="sentence-transformers",
        dimensions=dimensions,
        options={"path": str(path)},
    )


def compare(url: str, template: str, model: Model, texts: list[str], sizes: Sequence[int]) -> dict[str, Any]:
    from sentence_transformers import SentenceTransformer

    with quiet_libraries():
        bare_model = SentenceTransformer(model.options["path"], device="cpu", local_files_only=True)
    # Loaded once in a process: what reembed asks for later is there.
    load_embedder(model).embed_documents(texts[:64])
    batch_size, seconds_of = best_batch_size(bare_model, texts[: max(128, len(texts) // 10)], sizes)
    bare_s, our_s = 0.0, 0.0
    for _ in range(ROUNDS):
        bare_s += encode(bare_model, texts, batch_size)
        our_s += fill(url, template, model, len(texts))
    rows = ROUNDS * len(texts)
    return {
        "rows": len(texts),
        "rounds": ROUNDS,
        "best_batch_size": batch_size,
        "seconds_by_batch_size": seconds_of,
        "bare_rows_per_s": rows / bare_s,
        "reembed_rows_per_s": rows / our_s,
        "share": bare_s / our_s,
    }


def best_batch_size(model: Any, texts: list[str], sizes: Sequence[int]) -> tuple[int, dict[int, float]]:
    """The fastest on a part of the texts, the better of two tries each."""
    seconds = {size: min(encode(model, texts, size) for _ in range(2)) for size in sizes}
    return min(seconds, key=lambda size: seconds[size]), seconds


def encode(model: Any, texts: list[str], batch_size: int) -> float:
    began = time.perf_counter()
    model.encode(texts, batch_size=batch_size, show_progress_bar=False)
    return time.perf_counter() - began


def fill(url: str, template: str, model: Model, rows: int) -> float:
    """Seconds of a whole run."""
    with fresh_copy(url, template) as inside:
        db = Database(inside)
        with db.connect() as conn:
            docs = register(conn, hashing_model("old", 32), model)
            expand(conn, docs, model, Placement.COMPANION)
        result = reembed(db, "docs")
    if result.slots[0].census.true != rows:
        raise SystemExit(f"{result.slots[0].census.true} of {rows} rows have a vector: the ratio is worth nothing")
    return result.seconds


def table(found: dict[str, Any]) -> str:
    lines = [
        f"load {found['machine']['load_average'][0]} to {found['load_average_after'][0]:.1f} on"
        f" {found['machine']['cores']} cores",
        f"{'':8} {'rows':>8} {'bare rows/s':>12} {'batch':>6} {'reembed rows/s':>15} {'share':>6}",
    ]
    lines += [
        f"{name:8} {one['rows']:8,} {one['bare_rows_per_s']:12,.0f} {one['best_batch_size']:6}"
        f" {one['reembed_rows_per_s']:15,.0f} {one['share']:6.2f}"
        for name, one in found["models"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
