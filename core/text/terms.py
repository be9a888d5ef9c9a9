"""Terms of a text, by which chunks are indexed and questions are searched.

Words are lowercased, stripped of accents and stemmed (Snowball). A compound identifier such as
ERR-4711, snake_case or v1.2.3 is indexed whole and by its parts, so that either finds it.
"""

import re
import threading
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

import Stemmer

from core.text.lexicon import load_lexicon

# Words, and runs of words joined by the characters that hold identifiers together.
WORD_PATTERN = re.compile(r"[^\W_]+(?:'[^\W_]+)?(?:[-_.:/+#][^\W_]+)*[+#]*")
WORD_PART_PATTERN = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
IDENTIFIER_PATTERN = re.compile(r"\d|_|[a-z][A-Z]")
MAX_TERM_CHARACTERS = 64  # a longer word is a hash or encoded data, which nobody types

_LEXICON = load_lexicon("terms")
STOP_WORDS = _LEXICON.words("stop_words")
_NEGATIVE_CONTRACTIONS: dict[str, str] = _LEXICON["negative_contractions"]
_CONTRACTION_PATTERN = _LEXICON.pattern("contraction", flags=0)

_thread_local = threading.local()  # a stemmer must not be shared between threads


def extract_terms(text: str) -> list[str]:
    """Return the terms of a text in order, with repeats. Postings are keyed by term."""
    return [
        term for word in WORD_PATTERN.findall(_fold_accents(text)) for term in _word_terms(word)
    ]


def extract_word_terms(words: Iterable[str]) -> frozenset[str]:
    """Return the distinct terms of a word list."""
    return frozenset(extract_terms(" ".join(words)))


def hash_terms(terms: Iterable[str]) -> list[int]:
    """Return a signed 32-bit number per term, small enough to store for every sentence.

    A 10-term question and a 20-term sentence collide about once in 20 million.
    """
    checksums = (zlib.crc32(term.encode()) for term in terms)
    return [checksum - (checksum >> 31 << 32) for checksum in checksums]


def count_query_terms(question: str) -> dict[str, int]:
    """Return the terms of a question with the number of times each occurs."""
    return dict(Counter(extract_terms(question)))


def _word_terms(word: str) -> Iterator[str]:
    parts = WORD_PART_PATTERN.findall(word)
    if len(parts) > 1 and IDENTIFIER_PATTERN.search(word) and len(word) <= MAX_TERM_CHARACTERS:
        yield word.lower()
    for part in parts:
        yield from _part_terms(part.lower()[:MAX_TERM_CHARACTERS])


@lru_cache(maxsize=65_536)  # texts repeat their words
def _part_terms(part: str) -> tuple[str, ...]:
    return tuple(stem_word(word) for word in _expand_contraction(part) if word not in STOP_WORDS)


def _expand_contraction(word: str) -> Iterator[str]:
    """Yield the words of a contraction: what's is what, don't is do and not.

    A contraction kept whole would be a rare term that no document has. The stemmer removes the 's
    of a possessive.
    """
    if word.endswith("n't") or word in _NEGATIVE_CONTRACTIONS:
        yield from filter(None, (_NEGATIVE_CONTRACTIONS.get(word, word[:-3]), "not"))
    elif (match := _CONTRACTION_PATTERN.fullmatch(word)) and match[1] in STOP_WORDS:
        yield match[1]
    else:
        yield word


def stem_word(word: str) -> str:
    """Return the stem of a lowercase word."""
    if not hasattr(_thread_local, "stemmer"):
        _thread_local.stemmer = Stemmer.Stemmer(_LEXICON["stemmer"])
    stem: str = _thread_local.stemmer.stemWord(word)
    return stem


def _fold_accents(text: str) -> str:
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text.replace("’", "'"))
    return "".join(character for character in decomposed if not unicodedata.combining(character))
