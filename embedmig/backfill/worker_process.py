"""A worker in a process of its own: ``python -m embedmig.backfill.worker_process``, its task on standard input."""

import json
import sys
import threading
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from typing import Any, TextIO

from embedmig.backfill.gate import Gate
from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.slices import GroupSize
from embedmig.backfill.worker import WorkerStats, run_worker
from embedmig.catalog.collections import get_collection
from embedmig.catalog.slots import get_slot
from embedmig.db import Database
from embedmig.embedders import Embedder, load_embedder
from embedmig.errors import EmbedmigError
from embedmig.types import Model

_TELL_EVERY_S = 0.5


def main() -> int:
    """Works until standard input says so, or closes because the parent is gone."""
    task = json.loads(sys.stdin.readline())
    stop, stats, gate = threading.Event(), WorkerStats(), Gate(longest_s=task.get("longest_hold_s", 600.0))
    threading.Thread(target=_listen, args=(stop, gate), daemon=True).start()
    channel = sys.stdout
    threading.Thread(target=_tell, args=(channel, stop, stats), daemon=True).start()
    # A library that prints must not speak into the channel.
    with redirect_stdout(sys.stderr):
        try:
            _work(task, stop, stats, gate)
        except EmbedmigError as error:
            _say(channel, {"error": type(error).__name__, "message": str(error)})
            return error.exit_code
    _say(channel, asdict(stats))
    _say(channel, {"goodbye": True})
    return 0


def _work(task: dict[str, Any], stop: threading.Event, stats: WorkerStats, gate: Gate) -> None:
    db = Database(task["url"])
    with db.connect() as conn:
        collection = get_collection(conn, task["collection"])
        slots = [get_slot(conn, collection, name) for name in task["slots"]]
    options = WorkerOptions(
        size=replace(GroupSize(), rows=task["rows"], text_bytes=task["text_bytes"]),
        lease_s=task["lease_s"],
        rest_s=task["rest_s"],
        idle_s=task["idle_s"],
        queue_keys=task["queue_keys"],
        embed_threads=task["embed_threads"],
        fingerprint_every_s=task["fingerprint_every_s"],
        aim_s=task.get("aim_s"),
        join=task.get("join", True),
    )

    def load(model: Model) -> Embedder:
        _choose_gpu(model, task["place"])
        return load_embedder(model)

    run_worker(db, collection, slots, stop, options=options, stats=stats, load=load, gate=gate)


def _choose_gpu(model: Model, place: int) -> None:
    """Spreads the workers over the GPUs, where there are several."""
    if model.provider != "sentence-transformers":
        return
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() > 1:
        torch.cuda.set_device(place % torch.cuda.device_count())


def _listen(stop: threading.Event, gate: Gate) -> None:
    """Until the parent says stop, or is gone."""
    for line in sys.stdin:
        message = json.loads(line)
        if "hold" not in message:
            break
        gate.hold(message["hold"])
    stop.set()


def _tell(channel: TextIO, stop: threading.Event, stats: WorkerStats) -> None:
    while not stop.wait(_TELL_EVERY_S):
        _say(channel, asdict(stats))


def _say(channel: TextIO, message: dict[str, Any]) -> None:
    try:
        channel.write(json.dumps(message) + "\n")
        channel.flush()
    except BrokenPipeError:
        return


if __name__ == "__main__":
    sys.exit(main())
