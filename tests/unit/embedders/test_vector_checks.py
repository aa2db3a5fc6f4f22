import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmig.embedders import validate_vectors
from embedmig.types import Model

THREE = Model(name="m", revision="1", provider="hashing", dimensions=3)
KINDS = {
    "good": [0.0, 1.0, 0.0],
    "zeros": [0.0, 0.0, 0.0],
    "nan": [np.nan, 1.0, 0.0],
    "infinity": [1.0, -np.inf, 0.0],
    "both": [np.inf, np.nan, 0.0],
}


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=30))
@settings(deadline=None)
def test_exactly_the_bad_rows_are_named(kinds: list[str]) -> None:
    vectors = np.array([KINDS[kind] for kind in kinds], dtype=np.float32).reshape(-1, 3)
    assert set(validate_vectors(vectors, THREE)) == {row for row, kind in enumerate(kinds) if kind != "good"}


def test_each_reason_says_what_is_wrong() -> None:
    vectors = np.array([KINDS[kind] for kind in ("zeros", "nan", "infinity", "both")], dtype=np.float32)
    assert validate_vectors(vectors, THREE) == {
        0: "the vector by m@1: all zeros",
        1: "the vector by m@1: holds NaN",
        2: "the vector by m@1: holds infinity",
        3: "the vector by m@1: holds NaN",
    }


def test_every_row_of_another_dimension_is_bad() -> None:
    assert validate_vectors(np.ones((2, 4), dtype=np.float32), THREE) == {
        0: "4 dimensions where m@1 has 3",
        1: "4 dimensions where m@1 has 3",
    }


def test_an_array_that_is_no_batch_is_bad() -> None:
    assert set(validate_vectors(np.ones(2, dtype=np.float32), THREE)) == {0, 1}


def test_no_rows_are_no_trouble() -> None:
    assert validate_vectors(np.empty((0, 3), dtype=np.float32), THREE) == {}
