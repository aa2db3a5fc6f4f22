"""Vectors of texts that come again: those of a row that was locked, and texts that many rows share."""

from collections import OrderedDict

from embedmig.types import Floats


class VectorCache:
    """Keeps the vectors of texts met a second time, the least recently used go first; by the hash of the text."""

    def __init__(self, *, limit_bytes: int = 16 * 1024 * 1024) -> None:
        self._vectors: OrderedDict[bytes, Floats] = OrderedDict()
        self._met: OrderedDict[bytes, None] = OrderedDict()
        self._limit_bytes, self._bytes = limit_bytes, 0
        self._met_limit = 100_000

    def find(self, text_hash: bytes) -> Floats | None:
        """The vector (d,), or None."""
        vector = self._vectors.get(text_hash)
        if vector is not None:
            self._vectors.move_to_end(text_hash)
        return vector

    def keep(self, text_hash: bytes, vector: Floats) -> None:
        """Keeps a copy, if the text was met before: most never come again."""
        if text_hash not in self._met:
            self._met[text_hash] = None
            if len(self._met) > self._met_limit:
                self._met.popitem(last=False)
            return
        self._vectors[text_hash] = vector.copy()
        self._bytes += vector.nbytes
        while self._bytes > self._limit_bytes:
            self._bytes -= self._vectors.popitem(last=False)[1].nbytes
