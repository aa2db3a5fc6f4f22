"""Faults at random moments, as many as asked for, in both placements; prints what came of it and exits 1 on a loss."""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from embedmig.types import Placement
from tests.processes.faults import Server, Trial, run_trial

KINDS = ["kill", "kill", "stop", "terminate", "crash"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=50, help="in each placement")
    parser.add_argument("--a-trial", type=int, default=10, help="faults in one trial, on one table")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--pause-s", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=[*dict.fromkeys(KINDS)], help="this kind of fault alone")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="embedmig-faults-"))
    server = Server(folder)
    losses = 0
    try:
        for placement in Placement:
            losses += run_placement(server, placement, given)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if losses else 0


def run_placement(server: Server, placement: Placement, given: argparse.Namespace) -> int:
    rows, losses, faults = 0, 0, Counter[str]()
    for trial_number in range(-(-given.faults // given.a_trial)):
        began, seed = time.monotonic(), given.seed + trial_number
        kinds = [given.only or KINDS[(seed + n) % len(KINDS)] for n in range(given.a_trial)]
        trial = run_trial(
            server,
            rows=given.rows,
            placement=placement,
            workers=given.workers,
            writers=given.writers,
            faults=kinds,
            pause_s=given.pause_s,
            seed=seed,
        )
        print(describe(placement, seed, trial, time.monotonic() - began), flush=True)
        rows, losses, faults = rows + trial.rows, losses + lost(trial), faults + trial.faults
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items()))
    print(f"{placement}: {said}; {rows:,} rows checked one by one, {losses} wrong", flush=True)
    return losses


def describe(placement: Placement, seed: int, trial: Trial, seconds: float) -> str:
    checked = trial.checked
    return (
        f"{placement} seed {seed}: {sum(trial.writes.values()):,} writes, users' p99 {trial.p99_ms():.1f} ms, errors"
        f" {dict(trial.users_errors)}, {trial.rows:,} rows, {len(checked.missing)} missing, {len(checked.wrong)} stale,"
        f" {len(checked.unwanted)} unwanted, {len(checked.orphans)} orphans, {trial.chunks_left} chunks and"
        f" {trial.entries_left} entries left, {seconds:.0f} s"
    )


def lost(trial: Trial) -> int:
    checked = trial.checked
    wrong = len(checked.missing) + len(checked.wrong) + len(checked.unwanted) + len(checked.orphans)
    return wrong + trial.chunks_left + trial.entries_left + trial.users_errors["deadlock with a worker"]


if __name__ == "__main__":
    sys.exit(main())
