"""The live index version: its model and its tables."""

from dataclasses import dataclass

from psycopg.rows import class_row

from core.db.database import Connection
from core.db.migrate import sentence_table, vector_table
from core.embedding import Embedder
from core.errors import Unavailable


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """The live index: which model its vectors are of, and the names of its tables."""

    index_version_id: int
    model: str
    revision: str
    dimension: int

    @property
    def vector_table_name(self) -> str:
        """Table with a vector for each chunk."""
        return vector_table(self.index_version_id)

    @property
    def sentence_table_name(self) -> str:
        """Table with a vector for each sentence."""
        return sentence_table(self.index_version_id)


def live_index(connection: Connection) -> IndexVersion:
    """The index version that is served now.

    Raises:
        Unavailable: there is none, so the database was never migrated.
    """
    with connection.cursor(row_factory=class_row(IndexVersion)) as cursor:
        index = cursor.execute(
            "select index_version_id, model, revision, dimension from index_version where live"
        ).fetchone()
    return require_live_index(index)


def require_live_index(index: IndexVersion | None) -> IndexVersion:
    """The index that was read as the live one.

    Raises:
        Unavailable: there is none, so the database was never migrated.
    """
    if index is None:
        raise Unavailable("The database has no live index; run `groundwork migrate` against it.")
    return index


def check_model_revision(index: IndexVersion, embedder: Embedder) -> None:
    if embedder.model.revision != index.revision:
        raise Unavailable(
            f"The weights of {index.model!r} are not those the index was built with"
            f" ({embedder.model.revision} instead of {index.revision}); put the old ones back, or use another database."
        )
