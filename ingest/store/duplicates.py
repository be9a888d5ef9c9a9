"""Duplicates: files with the same content, and passages that say almost the same.

**Exact duplicates** share one text, one set of chunks and one set of vectors. The document that
was stored first owns them; every other one points to it (`same_as`). When the owner changes or
goes, one of the others takes them over, and nothing is embedded again. Only documents with the same
allowed groups share, so that a user's view never depends on documents that the user can't see.

**Near-duplicates** are stored in full, and recognised by the search. The shingles of a chunk are
its runs of SHINGLE_WORDS words. MinHash (A. Broder, "On the resemblance and containment of
documents", 1997) keeps the least hash of the shingles under each of BAND_COUNT x ROWS_PER_BAND hash
functions; two chunks agree in one of these with probability s, their Jaccard resemblance. Each
ROWS_PER_BAND of them are folded into one number, a band. Two chunks share some band with
probability 1 - (1 - s^ROWS_PER_BAND)^BAND_COUNT (P. Indyk, R. Motwani, "Approximate nearest
neighbors", 1998). With 6 x 10:

    s               0.5    0.6    0.7    0.8    0.85   0.9    0.95   1
    share a band    0.006  0.04   0.16   0.49   0.73   0.92   1.00   1
"""

import hashlib
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.db.database import Connection
from core.db.queries import load_queries
from core.principal import GROUP_SEPARATOR
from core.types import Document

QUERIES = load_queries(Path(__file__).with_name("duplicates.sql"))

BAND_COUNT, ROWS_PER_BAND = 6, 10
SHINGLE_WORDS = 3  # with single words, any two texts on one subject would look alike
MIN_WORDS = 8  # shorter texts are alike by chance
CHUNKS_PER_STEP = 64  # their hashes, 60 for each shingle, stay in the processor's cache

# Stored bands depend on this seed: never change it.
_RANDOM_GENERATOR = np.random.default_rng(20_071_997)
_HASH_COUNT = BAND_COUNT * ROWS_PER_BAND
_ODD_32, _ODD_64 = np.uint32(1), np.uint64(1)  # odd multipliers map no two numbers to one
_HASH_MULTIPLIERS = _RANDOM_GENERATOR.integers(0, 2**32, _HASH_COUNT, dtype=np.uint32) | _ODD_32
_HASH_ADDENDS = _RANDOM_GENERATOR.integers(0, 2**32, _HASH_COUNT, dtype=np.uint32)
_FOLD_MULTIPLIERS = _RANDOM_GENERATOR.integers(0, 2**64, ROWS_PER_BAND, dtype=np.uint64) | _ODD_64
_GOLDEN_RATIO_64 = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, spreads similar numbers


# --- exact duplicates -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IncomingDocument:
    """Properties of a new document that decide if it is a duplicate."""

    uri: str
    document_id: uuid.UUID
    content_key: str | None
    reader_set_id: int
    has_chunks: bool


def compute_content_key(document: Document, pipeline_hash: str) -> str:
    """Return a key of content, file suffix (it selects the parser) and pipeline."""
    suffix = PurePosixPath(document.path).suffix.lower()
    parts = (document.content_hash, suffix, pipeline_hash)
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def find_duplicates(
    connection: Connection,
    tenant: str,
    documents: Sequence[Document],
    content_keys: Mapping[str, str],
) -> set[str]:
    """Return the uris of documents that repeat a stored document, or an earlier one of these.

    `content_keys` are by uri. The stored document may be gone by the time these are stored.
    """
    seen: set[tuple[str, tuple[str, ...]]] = set()
    repeated = set()
    for document in documents:
        content = content_keys[document.uri], document.allowed_groups
        if content in seen:
            repeated.add(document.uri)
        seen.add(content)
    values = {
        "tenant": tenant,
        "uris": [document.uri for document in documents],
        "contents": [content_keys[document.uri] for document in documents],
        "readers": [GROUP_SEPARATOR.join(document.allowed_groups) for document in documents],
    }
    rows = connection.execute(QUERIES["find_stored_elsewhere"], values).fetchall()
    return repeated | {row[0] for row in rows}


def transfer_before_store(
    connection: Connection, tenant: str, incoming: Sequence[IncomingDocument]
) -> None:
    """Lock the old and new contents, and transfer shared content whose owner changes.

    All contents are locked at once and in order, before any document is locked, so that two
    transactions never wait for each other.
    """
    _lock_and_transfer(connection, _build_columns(tenant, incoming))


def transfer_before_delete(connection: Connection, tenant: str, uris: Sequence[str]) -> None:
    """Do the same for documents that are about to be deleted."""
    nothing = [None] * len(uris)
    columns = {"tenant": tenant, "uris": list(uris), "contents": nothing, "reader_set_ids": nothing}
    _lock_and_transfer(connection, columns)


def resolve_duplicates(
    connection: Connection, tenant: str, incoming: Sequence[IncomingDocument]
) -> dict[str, uuid.UUID | None]:
    """Return the original of each document by uri; None for a document with content of its own.

    A document without chunks whose original is gone is left out. `transfer_before_store` must
    have been called before.
    """
    columns = _build_columns(tenant, incoming)
    rows = connection.execute(QUERIES["find_content_holders"], columns).fetchall()
    holders: dict[tuple[str, int], uuid.UUID] = {(row[0], row[1]): row[2] for row in rows}
    originals: dict[str, uuid.UUID | None] = {}
    for document in sorted(incoming, key=lambda document: not document.has_chunks):
        holder = document.document_id
        if document.content_key is not None:
            key = (document.content_key, document.reader_set_id)
            holder = holders.get(key, holder)
            if document.has_chunks:
                holders.setdefault(key, holder)
        if holder != document.document_id:
            originals[document.uri] = holder
        elif document.has_chunks:
            originals[document.uri] = None
    return originals


def _lock_and_transfer(connection: Connection, columns: Mapping[str, Any]) -> None:
    connection.execute(QUERIES["lock_contents"], columns)
    connection.execute(QUERIES["transfer_ownership"], columns)


def _build_columns(tenant: str, incoming: Sequence[IncomingDocument]) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "uris": [document.uri for document in incoming],
        "contents": [document.content_key for document in incoming],
        "reader_set_ids": [document.reader_set_id for document in incoming],
    }


# --- near-duplicates ------------------------------------------------------------------------------


def compute_bands(texts: Sequence[str]) -> list[list[int]]:
    """Return the bands of each text, signed 32-bit numbers; none under MIN_WORDS words."""
    bands: list[list[int]] = []
    for start in range(0, len(texts), CHUNKS_PER_STEP):
        step = texts[start : start + CHUNKS_PER_STEP]
        bands += _compute_step_bands([text.lower().encode().split() for text in step])
    return bands


def _compute_step_bands(texts: Sequence[Sequence[bytes]]) -> list[list[int]]:
    bands: list[list[int]] = [[] for _ in texts]
    long_texts = [index for index, words in enumerate(texts) if len(words) >= MIN_WORDS]
    if not long_texts:
        return bands
    word_counts = np.array([len(texts[index]) for index in long_texts])
    words = chain.from_iterable(texts[index] for index in long_texts)
    word_hashes = np.fromiter(map(zlib.crc32, words), np.uint64)
    folded = _fold_into_bands(_compute_min_hashes(word_hashes, word_counts))
    for index, numbers in zip(long_texts, folded, strict=True):
        bands[index] = numbers.tolist()
    return bands


def _compute_min_hashes(
    word_hashes: NDArray[np.uint64], word_counts: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """Return the least hash of each text's shingles for each function: (texts, functions)."""
    first, second, third = word_hashes[:-2], word_hashes[1:-1], word_hashes[2:]
    shingles = ((first * _GOLDEN_RATIO_64 + second) * _GOLDEN_RATIO_64 + third) * _GOLDEN_RATIO_64
    inside = np.ones(len(word_hashes), dtype=bool)
    for back in range(1, SHINGLE_WORDS):  # drop the shingles that reach into the next text
        inside[np.cumsum(word_counts) - back] = False
    numbers = (shingles[inside[: len(shingles)]] >> np.uint64(32)).astype(np.uint32)
    shingle_counts = word_counts - SHINGLE_WORDS + 1
    starts = np.cumsum(shingle_counts) - shingle_counts
    least = np.empty((_HASH_COUNT, len(word_counts)), dtype=np.uint32)
    for row, (multiplier, addend) in enumerate(zip(_HASH_MULTIPLIERS, _HASH_ADDENDS, strict=True)):
        np.minimum.reduceat(numbers * multiplier + addend, starts, out=least[row])
    return least.T


def _fold_into_bands(min_hashes: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Fold ROWS_PER_BAND hashes and the position of their band into a number: (texts, bands)."""
    rows = min_hashes.reshape(len(min_hashes), BAND_COUNT, ROWS_PER_BAND).astype(np.uint64)
    folded = (rows * _FOLD_MULTIPLIERS).sum(axis=2, dtype=np.uint64)
    folded += np.arange(BAND_COUNT, dtype=np.uint64)
    spread = (folded * _GOLDEN_RATIO_64) >> np.uint64(32)
    numbers: NDArray[np.int32] = spread.astype(np.uint32).view(np.int32)
    return numbers
