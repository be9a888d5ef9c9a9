"""What a document's chunks and vectors were made with; when it changes, everything is taken in anew."""

import hashlib

from core.db.index_version import live_index
from core.services import Services

PIPELINE_VERSION = "5"  # raise it when parsing, chunking or analysis changes


def compute_pipeline_hash(services: Services) -> str:
    """Names what made a document's chunks and vectors: recipe, chunker, sentence vectors, model and revision."""
    with services.database.connection() as connection:
        index = live_index(connection)
    settings = services.settings
    parts = (
        PIPELINE_VERSION,
        settings.chunker,
        settings.sentence_vectors,
        index.model,
        index.revision,
    )
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
