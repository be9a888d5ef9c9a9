"""Index versions: the embedding model of an index, and the tables with its vectors."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql
from psycopg.rows import class_row

from core.db.database import Connection
from core.db.queries import load_queries
from core.errors import Unavailable
from core.types import EmbeddingModel

QUERIES = load_queries(Path(__file__).with_name("index_version.sql"))


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """A row of `index_version`, and the names of its tables."""

    index_version_id: int
    model: str
    revision: str
    dimension: int

    @property
    def vector_table_name(self) -> str:
        """Table with one vector for each chunk."""
        return vector_table(self.index_version_id)

    @property
    def sentence_table_name(self) -> str:
        """Table with one vector for each sentence."""
        return sentence_table(self.index_version_id)


def live_index(connection: Connection) -> IndexVersion:
    """Return the index version that searches use now.

    Raises:
        Unavailable: the database has no live index.
    """
    with connection.cursor(row_factory=class_row(IndexVersion)) as cursor:
        index = cursor.execute(QUERIES["live_index_version"]).fetchone()
    return require_live_index(index)


def require_live_index(index: IndexVersion | None) -> IndexVersion:
    """Return the index.

    Raises:
        Unavailable: it is None, so the database was never migrated.
    """
    if index is None:
        raise Unavailable("The database has no live index. Run `groundwork migrate` against it.")
    return index


def check_model_revision(index: IndexVersion, model: EmbeddingModel) -> None:
    """Check that a loaded model has the weights that the index was built with.

    Raises:
        Unavailable: the revisions differ.
    """
    if model.revision != index.revision:
        raise Unavailable(
            f"The weights of {index.model!r} have the revision {model.revision}, but the index"
            f" was built with {index.revision}. Restore the old weights, or use another database."
        )


def create_index_version(connection: Connection, model: EmbeddingModel, *, live: bool) -> int:
    """Create an index version and its vector tables. Return its number."""
    values = (model.name, model.revision, model.dimension, live)
    with connection.transaction():
        row = connection.execute(QUERIES["insert_index_version"], values).fetchone()
        assert row is not None
        number: int = row[0]
        connection.execute(
            sql.SQL(QUERIES["create_vector_tables"]).format(
                vectors=sql.Identifier(vector_table(number)),
                shared=sql.Identifier(shared_partition(number)),
                sentences=sql.Identifier(sentence_table(number)),
                dimension=sql.Literal(model.dimension),
            )
        )
    return number


def vector_table(index_version: int) -> str:
    """Return the name of the table with the chunk vectors of an index version."""
    return f"vector_{index_version}"


def sentence_table(index_version: int) -> str:
    """Return the name of the table with the sentence vectors of an index version."""
    return f"sentence_{index_version}"


def shared_partition(index_version: int) -> str:
    """Return the name of the partition for all tenants without a partition of their own."""
    return f"{vector_table(index_version)}_shared"


def tenant_partition(index_version: int, tenant: str) -> str:
    """Return the name of a tenant's own partition."""
    return f"{vector_table(index_version)}_{partition_suffix(tenant)}"


def partition_suffix(tenant: str) -> str:
    """Return 64 bits of the SHA-256 of a tenant's name, which may hold any printable character."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:16]
