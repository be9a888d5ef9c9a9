"""What is there more than once: files with the same bytes, and passages that say almost the same.

**Exact duplicates** share one text, one set of chunks, one set of vectors. The document that was stored first has them;
every other is a further place of it (`same_as`). When the first changes or goes, what it has passes to another of them,
and nothing is embedded again. Only files with the same readers share, so that nobody's view depends on what they may
not see.

**Near-duplicates** are kept whole, and recognised when they are searched. A chunk's shingles are its runs of SHINGLE
words; MinHash (A. Broder, "On the resemblance and containment of documents", 1997) keeps the least of the shingles'
hashes under each of BANDS x ROWS hash functions, and two chunks agree in one of these with the probability s, their
Jaccard resemblance. Each ROWS of them are folded into one number, a band; two chunks share some band with the
probability 1 - (1 - s^ROWS)^BANDS (P. Indyk, R. Motwani, "Approximate nearest neighbors", 1998). With 6 x 10:

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

QUERIES = load_queries(Path(__file__).with_name("duplicates.sql"))

BAND_COUNT, ROWS_PER_BAND = 6, 10
SHINGLE_WORDS = 3  # words; single words would take any two texts on one matter for alike
MIN_WORDS = 8  # words; of less than that too much is alike by chance
CHUNKS_PER_STEP = (
    64  # chunks a step: their hashes, 60 for each shingle, stay in the processor's cache
)

_FIELD_SEPARATOR = "\x1f"  # between readers; no name can hold it

_RANDOM_GENERATOR = np.random.default_rng(
    20_071_997
)  # any seed will do, so long as it is never changed
_HASH_MULTIPLIERS = _RANDOM_GENERATOR.integers(
    0, 2**32, BAND_COUNT * ROWS_PER_BAND, dtype=np.uint32
) | np.uint32(1)  # odd: no two are taken for one
_HASH_ADDENDS = _RANDOM_GENERATOR.integers(0, 2**32, BAND_COUNT * ROWS_PER_BAND, dtype=np.uint32)
_FOLD_MULTIPLIERS = _RANDOM_GENERATOR.integers(
    0, 2**64, ROWS_PER_BAND, dtype=np.uint64
) | np.uint64(1)
_GOLDEN_RATIO_64 = np.uint64(
    0x9E3779B97F4A7C15
)  # 2^64 over the golden ratio: spreads what is close together


# --- exact ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IncomingDocument:
    """A document that is about to be stored: what it would share, with whom, and whether it has chunks of its own."""

    uri: str
    document_id: uuid.UUID
    content_key: str | None
    reader_set_id: int
    has_chunks: bool


def compute_content_key(content_hash: str, path: str, pipeline_hash: str) -> str:
    """What two files must share to be the same: bytes, suffix (hence the parser) and pipeline."""
    parts = (content_hash, PurePosixPath(path).suffix.lower(), pipeline_hash)
    return hashlib.sha256(_FIELD_SEPARATOR.join(parts).encode()).hexdigest()


def find_stored_elsewhere(
    connection: Connection, tenant: str, files: Mapping[str, tuple[str, Sequence[str]]]
) -> set[str]:
    """Which of some files (by uri: content key and readers) another document already holds; by the time they are
    stored it may be gone.
    """
    values = {
        "tenant": tenant,
        "uris": list(files),
        "contents": [content for content, _ in files.values()],
        "readers": [_FIELD_SEPARATOR.join(readers) for _, readers in files.values()],
    }
    return {row[0] for row in connection.execute(QUERIES["stored_elsewhere"], values).fetchall()}


def transfer_before_store(
    connection: Connection, tenant: str, incoming: Sequence[IncomingDocument]
) -> None:
    """Hold the contents that are about to come and go, and pass on what others share of those that go.

    Taken all at once and in order, before any document is locked, so that two transactions never wait for each other.
    """
    _lock_and_transfer(connection, _build_columns(tenant, incoming))


def transfer_before_delete(connection: Connection, tenant: str, uris: Sequence[str]) -> None:
    """The same for documents that are about to be deleted."""
    gone: dict[str, Any] = {"contents": [None] * len(uris), "reader_set_ids": [None] * len(uris)}
    _lock_and_transfer(connection, gone | {"tenant": tenant, "uris": list(uris)})


def resolve_duplicates(
    connection: Connection, tenant: str, incoming: Sequence[IncomingDocument]
) -> dict[str, uuid.UUID | None]:
    """For each document that can be stored, by uri: the one that it is the same as, None for its own.

    What is left out came without chunks, and what it was the same as is gone. `make_way` comes before it.
    """
    columns = _build_columns(tenant, incoming)
    rows = connection.execute(QUERIES["same_content"], columns).fetchall()
    holders: dict[tuple[str | None, int], uuid.UUID] = {(row[0], row[1]): row[2] for row in rows}
    settled: dict[str, uuid.UUID | None] = {}
    for arrival in sorted(incoming, key=lambda arrival: not arrival.has_chunks):
        key = (arrival.content_key, arrival.reader_set_id)
        holder = (
            arrival.document_id
            if arrival.content_key is None
            else holders.get(key, arrival.document_id)
        )
        if holder != arrival.document_id:
            settled[arrival.uri] = holder
        elif arrival.has_chunks:
            settled[arrival.uri] = None
            holders[key] = arrival.document_id
    return settled


def _lock_and_transfer(connection: Connection, columns: Mapping[str, Any]) -> None:
    connection.execute(QUERIES["hold_contents"], columns)
    connection.execute(QUERIES["pass_on"], columns)


def _build_columns(tenant: str, incoming: Sequence[IncomingDocument]) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "uris": [arrival.uri for arrival in incoming],
        "contents": [arrival.content_key for arrival in incoming],
        "reader_set_ids": [arrival.reader_set_id for arrival in incoming],
    }


# --- near -----------------------------------------------------------------------------------------------------------


def compute_bands(texts: Sequence[str]) -> list[list[int]]:
    """The bands of texts, as signed 32-bit numbers; none for a text of less than FEWEST words."""
    found: list[list[int]] = []
    for start in range(0, len(texts), CHUNKS_PER_STEP):
        found += _compute_step_bands(
            [text.lower().encode().split() for text in texts[start : start + CHUNKS_PER_STEP]]
        )
    return found


def _compute_step_bands(texts: Sequence[Sequence[bytes]]) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in texts]
    long = [place for place, words in enumerate(texts) if len(words) >= MIN_WORDS]
    if long:
        counts = np.array([len(texts[place]) for place in long])
        words = np.fromiter(
            map(zlib.crc32, chain.from_iterable(texts[place] for place in long)), np.uint64
        )
        for place, numbers in zip(
            long, _fold_into_bands(_compute_min_hashes(words, counts)), strict=True
        ):
            found[place] = numbers.tolist()
    return found


def _compute_min_hashes(
    word_hashes: NDArray[np.uint64], word_counts: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """The least hash of each text's shingles, for each hash function: shape (texts, BANDS * ROWS)."""
    shingles = (
        (word_hashes[:-2] * _GOLDEN_RATIO_64 + word_hashes[1:-1]) * _GOLDEN_RATIO_64
        + word_hashes[2:]
    ) * _GOLDEN_RATIO_64
    inside = np.ones(len(word_hashes), dtype=bool)
    for back in range(1, SHINGLE_WORDS):  # runs that would reach into the next text
        inside[np.cumsum(word_counts) - back] = False
    numbers = (shingles[inside[: len(shingles)]] >> np.uint64(32)).astype(np.uint32)
    starts = np.cumsum(word_counts - SHINGLE_WORDS + 1) - (word_counts - SHINGLE_WORDS + 1)
    least = np.empty((BAND_COUNT * ROWS_PER_BAND, len(word_counts)), dtype=np.uint32)
    for row, (multiplier, addend) in enumerate(zip(_HASH_MULTIPLIERS, _HASH_ADDENDS, strict=True)):
        np.minimum.reduceat(numbers * multiplier + addend, starts, out=least[row])
    return least.T


def _fold_into_bands(min_hashes: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Each ROWS numbers as one: shape (texts, BANDS). A band's place counts, lest bands be taken for one another."""
    rows = min_hashes.reshape(len(min_hashes), BAND_COUNT, ROWS_PER_BAND).astype(np.uint64)
    folded = (rows * _FOLD_MULTIPLIERS).sum(axis=2, dtype=np.uint64) + np.arange(
        BAND_COUNT, dtype=np.uint64
    )
    numbers: NDArray[np.int32] = (
        ((folded * _GOLDEN_RATIO_64) >> np.uint64(32)).astype(np.uint32).view(np.int32)
    )
    return numbers
