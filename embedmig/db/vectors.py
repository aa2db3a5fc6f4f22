"""Our own arrays on their way to Postgres."""

import struct
from typing import Any

import numpy as np
import psycopg
from pgvector.psycopg.vector import VectorBinaryDumper
from psycopg.abc import Buffer

_HEADER = struct.Struct(">HH")
_FLOAT = np.dtype(np.float32)


class FloatDumper(VectorBinaryDumper):  # type: ignore[misc]  # pgvector brings no types
    """pgvector's, with a short way for one vector of float32, which is what every search sends."""

    def dump(self, obj: Any) -> Buffer | None:
        """As vector_recv reads it: dimensions, two bytes of nothing, big-endian floats."""
        # It may be a Vector: COPY finds its dumpers by the column's type.
        if isinstance(obj, np.ndarray) and obj.dtype == _FLOAT and obj.ndim == 1:
            return _HEADER.pack(obj.size, 0) + bytes(obj.astype(">f4").data)
        other: Buffer | None = super().dump(obj)
        return other


def register_float_dumper(conn: psycopg.BaseConnection[Any], oid: int) -> None:
    """Puts it in the place of pgvector's for numpy arrays. ``oid``: of the type ``vector`` in this database."""
    conn.adapters.register_dumper("numpy.ndarray", type("FloatDumper", (FloatDumper,), {"oid": oid}))
