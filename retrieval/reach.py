"""What a search goes by, read in its own snapshot: the live index, and how much there is that the reader may see."""

from dataclasses import dataclass
from pathlib import Path

from psycopg.rows import dict_row

from knowledge.database import Connection, statement
from knowledge.services import IndexVersion, check_live

SQL = Path(__file__).parent / "sql"

# Vectors that are compared one by one in about the time that the vector index takes. Where a tenant has but a share of
# an index, the index passes by others' vectors to find its own, so comparing pays for as many more.
EXACT = 4_000


@dataclass(frozen=True, slots=True)
class Reach:
    """The live index; the documents, chunks and terms that the reader may see; all vectors of the index."""

    index: IndexVersion
    documents: int
    chunks: int
    terms: int
    vectors: int

    @property
    def few(self) -> bool:
        """Whether to compare every vector: exact, and no slower than the index."""
        return self.chunks * min(1.0, self.chunks / max(1, self.vectors)) <= EXACT


def within_reach(connection: Connection, tenant: str) -> Reach:
    """What the connection's reader can reach.

    Raises:
        Unavailable: the database has no live index.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(statement(SQL / "reach.sql"), {"tenant": tenant}, prepare=True).fetchone()
    assert row is not None
    number = row["index_version_id"]
    index = check_live(IndexVersion(number, row["model"], row["revision"], row["dimension"]) if number else None)
    return Reach(index, row["documents"], row["chunks"], row["terms"], row["rows"])


def set_up(connection: Connection, *, filtered: bool) -> None:
    """Tell the planner and the vector index how to work for this transaction."""
    values = {"plan": "force_custom_plan" if filtered else "force_generic_plan", "joins": "on" if filtered else "off"}
    connection.execute(statement(SQL / "settings.sql"), values, prepare=True)
