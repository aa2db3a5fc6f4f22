"""The same products on a GPU, by torch, where there is one: only what counts comes back."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from embedmig.types import Floats
from embedmig.validation.products import CpuProducts, MakeProducts, Within

_DEVICES = ("/dev/nvidia0", "/dev/kfd")
"""To import torch takes seconds: not without a sign of a GPU."""
_FREE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class TorchProducts:
    """A block's rows on a device."""

    rows: Any
    squares: Any

    @classmethod
    def put(cls, torch: Any, device: str, rows: Floats, squares: Floats | None) -> "TorchProducts":
        """Copies the rows there."""
        there = [None if one is None else torch.from_numpy(one).to(device) for one in (rows, squares)]
        return cls(*there)

    def scores(self, factors: Floats, first: int) -> Floats:
        """As Products has it."""
        found: Floats = self._scores(factors, slice(0, first)).cpu().numpy()
        return found

    def within(self, factors: Floats, limits: Floats) -> Within:
        """As Products has it."""
        scores = self._scores(factors, slice(None))
        queries, places = (scores <= self._beside(limits)[:, None]).nonzero(as_tuple=True)
        return queries.cpu().numpy(), places.cpu().numpy(), scores[queries, places].cpu().numpy()

    def _scores(self, factors: Floats, part: slice) -> Any:
        scores = self._beside(factors) @ self.rows[part].T
        return scores if self.squares is None else scores.add_(self.squares[part])

    def _beside(self, values: Floats) -> Any:
        return self.rows.new_tensor(values)


@contextmanager
def best_products() -> Iterator[MakeProducts]:
    """On a GPU that has some memory free, else by numpy. In whole float32 for as long as it is open."""
    torch = _torch_with_gpu()
    if torch is None:
        yield CpuProducts
        return
    # Products rounded to ten bits would pass over rows that belong to the nearest.
    rounded, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    try:
        yield partial(TorchProducts.put, torch, "cuda")
    finally:
        torch.backends.cuda.matmul.allow_tf32 = rounded


def _torch_with_gpu() -> Any:
    is_likely = "torch" in sys.modules or any(Path(device).exists() for device in _DEVICES)
    if not is_likely or importlib.util.find_spec("torch") is None:
        return None
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available() or torch.cuda.mem_get_info()[0] < _FREE_BYTES:
        return None
    return torch
