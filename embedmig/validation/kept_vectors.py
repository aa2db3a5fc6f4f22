"""Vectors of texts kept on disk between runs: what was embedded, and paid for, is not embedded again."""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import numpy as np

from embedmig.types import Floats, Model

if TYPE_CHECKING:
    from collections.abc import Iterator

_HASH_BYTES = 16
_TEXTS_AT_ONCE = 64
_TEXTS_TO_TIME = 20
_log = logging.getLogger(__name__)

Kind = Literal["documents", "queries"]


@dataclass(frozen=True, kw_only=True)
class VectorFile:
    """One model's vectors of documents, or of queries, by the hash of the text; the texts themselves are not in it.

    Records of one width, only ever appended and only whole: a process that is killed loses the batch it was at.
    """

    path: Path
    dimensions: int

    def find(self, hashes: Sequence[bytes]) -> dict[bytes, Floats]:
        """The vectors (d,) that are kept of these texts."""
        wanted = set(hashes)
        try:
            count = self.path.stat().st_size // self._record.itemsize
            if not count:
                return {}
            records = np.memmap(self.path, dtype=self._record, mode="r", shape=(count,))
        except FileNotFoundError:
            return {}
        except OSError as exc:
            _log.warning("kept vectors cannot be read from %s: %s", self.path, exc)
            return {}
        return {
            hashed: np.array(records["values"][place], dtype=np.float32)
            for place, hashed in enumerate(records["text"].tolist())
            if hashed in wanted
        }

    def add(self, hashes: Sequence[bytes], vectors: Floats) -> None:
        """Appends what can be used again. Where the file cannot be written nothing is kept, and the log says so."""
        if vectors.shape[1:] != (self.dimensions,):
            return
        usable = np.flatnonzero(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)).tolist()
        records = np.empty(len(usable), dtype=self._record)
        records["text"] = [np.void(hashes[place]) for place in usable]
        records["values"] = vectors[usable]
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _alone(self.path) as file:
                # What a killed process left behind of its last record.
                file.seek(file.truncate(file.tell() // self._record.itemsize * self._record.itemsize))
                file.write(records.tobytes())
        except OSError as exc:
            _log.warning("vectors are not kept in %s: %s", self.path, exc)

    def note_pace(self, ms_a_text: float) -> None:
        """Keeps how long a text took, for runs that ask the model for none."""
        try:
            self._pace.write_text(f"{ms_a_text:.6g}", encoding="ascii")
        except OSError as exc:
            _log.warning("the pace is not kept in %s: %s", self._pace, exc)

    def find_pace(self) -> float | None:
        """Milliseconds a text took when some were last embedded."""
        try:
            return float(self._pace.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    @property
    def _pace(self) -> Path:
        return self.path.with_suffix(".pace")

    @property
    def _record(self) -> np.dtype[np.void]:
        return np.dtype([("text", f"V{_HASH_BYTES}"), ("values", "<f4", (self.dimensions,))])


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Vectors of texts, and where they come from."""

    vectors: Floats
    """(n, d), one row a text."""
    asked: int
    """How many distinct texts the model was asked for."""
    reused: int
    """How many it was not: they were kept."""
    ms_a_text: float | None
    """Many at once, now or when they were last embedded; None where nobody knows."""


def vector_file(folder: Path, model: Model, fingerprint: bytes | None, kind: Kind) -> VectorFile | None:
    """Where the model's vectors are kept; None for a model without a fingerprint, which nobody could know again."""
    if fingerprint is None:
        return None
    digest = hashlib.sha256(fingerprint).hexdigest()[:16]
    name = f"{model.id & 0xFFFFFFFF:08x}-{digest}-{kind}.f32"
    return VectorFile(path=folder / "vectors" / name, dimensions=model.dimensions)


def list_missing(file: VectorFile | None, texts: Sequence[str]) -> list[str]:
    """The distinct texts of which no vector is kept."""
    by_hash = {hash_text(text): text for text in texts}
    known = {} if file is None else file.find(list(by_hash))
    return [text for hashed, text in by_hash.items() if hashed not in known]


def embed_once(
    file: VectorFile | None,
    texts: Sequence[str],
    embed: Callable[[list[str]], Floats],
    dimensions: int,
    on_progress: Callable[[int], None] | None = None,
) -> Embedded:
    """Each text by its kept vector, or else by ``embed``, some texts at a time, kept as soon as it has them."""
    hashes = [hash_text(text) for text in texts]
    known = {} if file is None else file.find(hashes)
    reused = len(known)
    missing = {hashed: text for hashed, text in zip(hashes, texts, strict=True) if hashed not in known}
    if on_progress is not None:
        on_progress(len(texts) - len(missing))
    places, seconds = list(missing), 0.0
    for start in range(0, len(places), _TEXTS_AT_ONCE):
        some = places[start : start + _TEXTS_AT_ONCE]
        began = time.perf_counter()
        vectors = embed([missing[hashed] for hashed in some])
        seconds += time.perf_counter() - began
        if file is not None:
            file.add(some, vectors)
        known |= zip(some, vectors, strict=True)
        if on_progress is not None:
            on_progress(len(some))
    rows = [known[hashed] for hashed in hashes]
    vectors = np.stack(rows) if rows else np.empty((0, dimensions), dtype=np.float32)
    pace = _pace(file, len(places), reused, seconds)
    return Embedded(vectors=vectors, asked=len(places), reused=reused, ms_a_text=pace)


def _pace(file: VectorFile | None, asked: int, reused: int, seconds: float) -> float | None:
    if asked >= _TEXTS_TO_TIME or (asked and not reused):
        pace = 1000 * seconds / asked
        if file is not None:
            file.note_pace(pace)
        return pace
    return None if file is None else file.find_pace()


def hash_text(text: str) -> bytes:
    """What a text's vector is kept under."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()


@contextmanager
def _alone(path: Path) -> "Iterator[IO[bytes]]":
    """The file, opened at its end, while no other process appends."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        try:
            import fcntl
        except ImportError:
            pass  # On Windows two validations at once may cut each other's last batch short, no more.
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0, os.SEEK_END)
        yield file
