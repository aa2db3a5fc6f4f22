"""Exact search with its products by torch finds what numpy's products find; on the processor, where there is no GPU."""

from functools import partial

import numpy as np
import pytest

from embedmig.types import Distance
from embedmig.validation.gpu_products import TorchProducts, best_products
from embedmig.validation.products import CpuProducts
from embedmig.validation.running_top_k import RunningTopK

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.models

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("distance", Distance)
def test_neighbours_and_distances_are_those_by_numpy(distance: Distance) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((5_000, 40), dtype=np.float32) * rng.uniform(0.5, 2, (5_000, 1)).astype(np.float32)
    vectors[100:140], vectors[4_321] = vectors[7], 0
    queries = rng.standard_normal((30, 40), dtype=np.float32)
    found = []
    for make_products in (CpuProducts, partial(TorchProducts.put, torch, DEVICE)):
        running = RunningTopK(queries, 50, distance, tie_order=int, make_products=make_products)
        for start in (0, 2_500, 4_990):
            end = {0: 2_500, 2_500: 4_990, 4_990: 5_000}[start]
            running.add(vectors[start:end], [str(row) for row in range(start, end)])
        found.append(running.rankings(lambda raw: (raw,)))
    for by_numpy, by_torch in zip(*found, strict=True):
        assert by_torch.keys == by_numpy.keys
        assert np.array_equal(by_torch.distances, by_numpy.distances)


def test_without_a_gpu_numpy_multiplies() -> None:
    with best_products() as make_products:
        is_numpy = make_products is CpuProducts
    assert is_numpy is not torch.cuda.is_available()
