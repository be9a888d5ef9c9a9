"""Binary halfvec arrays for PostgreSQL, built from a whole matrix at once.

To write vectors as text would take longer than all other steps of storing a document.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

from core.db.database import Connection
from core.embedding import Vectors


@dataclass(frozen=True, slots=True)
class HalfvecArray:
    """A parameter of type halfvec[]. Each row of the matrix (n, dimension) is an element."""

    vectors: Vectors


class _HalfvecArrayDumper(Dumper):
    """Writes the layout of PostgreSQL's array_send and pgvector's halfvec_send, big-endian."""

    format = Format.BINARY

    def __init__(self, cls: type, context: AdaptContext | None = None) -> None:
        super().__init__(cls, context)
        assert context is not None
        info = context.adapters.types["halfvec"]
        self._element_oid, self.oid = info.oid, info.array_oid

    def dump(self, obj: Any) -> bytes:
        count, dimension = obj.vectors.shape
        # Number of dimensions, NULL flag, element type; then length and lower bound, if not empty.
        fields = [1, 0, self._element_oid, count, 1] if count else [0, 0, self._element_oid]
        head = np.array(fields, dtype=">i4")
        header = [("bytes", ">i4"), ("dimension", ">i2"), ("unused", ">i2")]
        row = np.dtype([*header, ("halves", ">f2", (dimension,))])
        rows = np.zeros(count, dtype=row)
        rows["bytes"] = row.itemsize - 4
        rows["dimension"] = dimension
        rows["halves"] = obj.vectors
        return head.tobytes() + rows.tobytes()


def register_halfvec_array(connection: Connection) -> None:
    """Let a connection accept `HalfvecArray` as a parameter."""
    connection.adapters.register_dumper(HalfvecArray, _HalfvecArrayDumper)
