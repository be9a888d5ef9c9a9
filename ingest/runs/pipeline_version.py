"""Version of the pipeline that made a document's chunks and vectors.

When it changes, the next run ingests every document again.
"""

import hashlib

from core.code_hash import hash_source_files
from core.db.index_version import live_index
from core.services import Services

HASHED_PATHS = (  # not all of core/text: the words that only serving uses change no chunk
    "core/text/invisible.py",
    "core/text/lexicon.py",
    "core/text/sentences.py",
    "core/text/terms.py",
    "core/text/english/sentences.yaml",
    "core/text/english/terms.yaml",
    "ingest/chunkers",
    "ingest/parsers",
)


def compute_pipeline_hash(services: Services) -> str:
    """Return a hash of the code and settings that make chunks and vectors, 16 hex digits."""
    with services.database.connection() as connection:
        index = live_index(connection)
    settings = services.settings
    parts = (
        hash_source_files(HASHED_PATHS),
        settings.chunker,
        settings.sentence_vectors,
        index.model,
        index.revision,
    )
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
