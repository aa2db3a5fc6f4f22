"""Arrays on their way to Postgres: the same vector by whatever way it goes."""

import numpy as np
import pytest
from pgvector import HalfVector, Vector

from embedmig.db import Connection

VALUES = np.array([0.5, -1.25, 3e-7, 2.0], dtype=np.float32)
FORMS = {
    "float32": VALUES,
    "every second of an array": np.repeat(VALUES, 2)[::2],
    "float64": VALUES.astype(np.float64),
    "a Vector": Vector(VALUES),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["binary", "text", "either"])
def test_an_array_arrives_as_it_is(conn: Connection, form: str, way: str) -> None:
    placeholder = {"binary": "%b", "text": "%t", "either": "%s"}[way]
    row = conn.execute(f"SELECT {placeholder}::vector AS v".encode(), [FORMS[form]]).fetchone()
    assert row is not None
    np.testing.assert_allclose(row["v"].to_numpy(), VALUES, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_takes_the_same_forms(conn: Connection, form: str) -> None:
    conn.execute("CREATE TEMP TABLE copied (v vector(4))")
    with conn.cursor() as cursor, cursor.copy("COPY copied FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["vector"])
        copy.write_row([FORMS[form]])
    row = conn.execute("SELECT v FROM copied").fetchone()
    assert row is not None
    np.testing.assert_array_equal(row["v"].to_numpy(), VALUES)


def test_half_precision_still_goes_as_halfvec(conn: Connection) -> None:
    row = conn.execute("SELECT %s AS v", [HalfVector(VALUES)]).fetchone()
    assert row is not None
    np.testing.assert_allclose(row["v"].to_numpy(), VALUES, atol=1e-3)
