"""Who runs the workers: one in a thread of this process, or several in processes of their own."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from embedmig import errors
from embedmig.backfill.gate import Gate
from embedmig.backfill.job_models import Loader
from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.worker import WorkerStats, run_worker
from embedmig.db import Database
from embedmig.errors import EmbedmigError, ProviderError
from embedmig.types import Collection, Slot

_RESTARTS = 3
"""So often a worker process that was killed is begun anew."""


class WorkerCrew(Protocol):
    """Workers at work."""

    def check(self) -> None:
        """Raises what a worker failed with."""
        ...

    def stats(self) -> list[WorkerStats]:
        """What each has to say."""
        ...

    def hold(self, reason: str | None) -> None:
        """Lets them wait between batches while there is a reason to."""
        ...

    def stop(self) -> None:
        """Lets them finish what is embedded, and waits for that."""
        ...


class ThreadCrew:
    """One worker in this process."""

    def __init__(
        self, db: Database, collection: Collection, slots: Sequence[Slot], options: WorkerOptions, load: Loader
    ) -> None:
        self._stop, self._stats = threading.Event(), WorkerStats()
        self._gate = Gate(longest_s=options.longest_hold_s)
        self._error: BaseException | None = None

        def work() -> None:
            try:
                run_worker(
                    db, collection, slots, self._stop, options=options, stats=self._stats, load=load, gate=self._gate
                )
            except BaseException as error:  # noqa: BLE001
                self._error = error

        self._thread = threading.Thread(target=work, name="embedmig worker", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def stats(self) -> list[WorkerStats]:
        return [self._stats]

    def hold(self, reason: str | None) -> None:
        self._gate.hold(reason)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


class ProcessCrew:
    """Several workers, each with a model of its own. They end when this process does, however it ends: the pipe to
    each of them closes."""

    def __init__(
        self, db: Database, collection: Collection, slots: Sequence[Slot], options: WorkerOptions, workers: int
    ) -> None:
        self._task = {
            "collection": collection.name,
            "slots": [slot.name for slot in slots],
            "lease_s": options.lease_s,
            "rest_s": options.rest_s,
            "idle_s": options.idle_s,
            "queue_keys": options.queue_keys,
            "embed_threads": options.embed_threads,
            "fingerprint_every_s": options.fingerprint_every_s,
            "aim_s": options.aim_s,
            "longest_hold_s": options.longest_hold_s,
            "rows": options.size.rows,
            "text_bytes": options.size.text_bytes,
            "join": options.join,
        }
        self._url, self._workers = db.url, workers
        self._restarts = 0
        self._reason: str | None = None
        self._ended: list[WorkerStats] = []
        self._members = [_Member(self._url, self._task, place, workers) for place in range(workers)]

    def check(self) -> None:
        for place, member in enumerate(self._members):
            if member.error is not None:
                raise member.error
            if member.ended and not member.said_goodbye:
                self._restarts += 1
                if self._restarts > _RESTARTS:
                    raise ProviderError(
                        f"a worker process was killed {self._restarts} times (exit {member.exit_code}):"
                        " is there enough memory for so many workers? Try fewer --workers"
                    )
                member.wait()
                self._ended.append(member.stats)
                self._members[place] = _Member(self._url, self._task, place, self._workers)
                self._members[place].hold(self._reason)

    def stats(self) -> list[WorkerStats]:
        return [*self._ended, *(member.stats for member in self._members)]

    def hold(self, reason: str | None) -> None:
        if reason != self._reason:
            self._reason = reason
            for member in self._members:
                member.hold(reason)

    def stop(self) -> None:
        for member in self._members:
            member.ask_to_stop()
        for member in self._members:
            member.wait()


class _Member:
    """One worker process, as its parent sees it."""

    def __init__(self, url: str, task: dict[str, Any], place: int, workers: int) -> None:
        self.stats, self.said_goodbye = WorkerStats(), False
        self.error: EmbedmigError | None = None
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "embedmig.backfill.worker_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            # A terminal's Ctrl-C goes to us alone; we ask them to stop.
            process_group=0,
        )
        self._say(task | {"url": url, "place": place})
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None and not self._listener.is_alive()

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def hold(self, reason: str | None) -> None:
        self._say({"hold": reason})

    def ask_to_stop(self) -> None:
        self._say({"stop": True})

    def wait(self) -> None:
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "error" in message:
                self.error = error_from(message["error"], message["message"])
            elif "goodbye" in message:
                self.said_goodbye = True
            else:
                self.stats = WorkerStats(**message)


def error_from(kind: str, message: str) -> EmbedmigError:
    """The nearest of our errors that can be made of a sentence alone."""
    cls = getattr(errors, kind, ProviderError)
    for candidate in cls.__mro__:
        if issubclass(candidate, EmbedmigError) and "__init__" not in vars(candidate):
            found: EmbedmigError = candidate(message)
            return found
    return ProviderError(message)
