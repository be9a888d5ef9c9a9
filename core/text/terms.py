"""From text to terms, the same way when a chunk is indexed and when a question is asked.

Words are lowercased, stripped of accents and stemmed (Snowball). A compound identifier such as ERR-4711, snake_case or
v1.2.3 is indexed whole and by its parts, so that either finds it.
"""

import re
import threading
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

import Stemmer

# Words, and runs of words joined by the characters that hold identifiers together.
WORD_PATTERN = re.compile(r"[^\W_]+(?:'[^\W_]+)?(?:[-_.:/+#][^\W_]+)*[+#]*")
WORD_PART_PATTERN = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
IDENTIFIER_PATTERN = re.compile(r"\d|_|[a-z][A-Z]")
MAX_TERM_CHARACTERS = (
    64  # characters; beyond that it is a hash or an encoded blob that nobody types
)

# The function words of English that carry no topic. Kept short: "not", "no" and "without" change what is asked.
STOP_WORDS = frozenset(
    "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it"
    " its may me my of on or our she should so than that the their them then there these they this those to was we"
    " were what when where which who whom whose why will with would you your".split()
)
NEGATIVE_CONTRACTIONS = {
    "won't": "",
    "can't": "",
    "cannot": "",
    "shan't": "shall",
    "ain't": "",
}  # what is left of these beside "not"
CONTRACTION_PATTERN = re.compile(r"(.+)'(?:s|re|ll|ve|d|m)")

_thread_local = threading.local()  # a stemmer is not safe to share between threads


def extract_terms(text: str) -> list[str]:
    """The terms of a text in order, repeats included; a term is what a posting is keyed by."""
    return [
        term for word in WORD_PATTERN.findall(_fold_accents(text)) for term in _word_terms(word)
    ]


def hash_terms(terms: Iterable[str]) -> list[int]:
    """A number of 32 bits, with sign, for each term: small enough to keep for every sentence, quick to compare. Two of
    a question's ten terms and a sentence's twenty share one by chance once in twenty million times.
    """
    return [
        number - (number >> 31 << 32) for number in (zlib.crc32(term.encode()) for term in terms)
    ]


def count_query_terms(question: str) -> dict[str, int]:
    """The terms of a question and how often each is asked for."""
    counts: dict[str, int] = {}
    for term in extract_terms(question):
        counts[term] = counts.get(term, 0) + 1
    return counts


def _word_terms(word: str) -> Iterator[str]:
    parts = WORD_PART_PATTERN.findall(word)
    if len(parts) > 1 and IDENTIFIER_PATTERN.search(word) and len(word) <= MAX_TERM_CHARACTERS:
        yield word.lower()
    for part in parts:
        yield from _part_terms(part.lower()[:MAX_TERM_CHARACTERS])


@lru_cache(maxsize=65_536)
def _part_terms(part: str) -> tuple[str, ...]:
    """The terms of a lowercase word of at most LONGEST_TERM characters. Kept, since a text repeats its words."""
    return tuple(stem_word(word) for word in _expand_contraction(part) if word not in STOP_WORDS)


def _expand_contraction(word: str) -> Iterator[str]:
    """A contraction's words: what's is what, don't is do and not. As a word of its own it would be a rare one, which no
    document has. Whose it is, the owner's, is left to the stemmer.
    """
    if word.endswith("n't") or word in NEGATIVE_CONTRACTIONS:
        yield from filter(None, (NEGATIVE_CONTRACTIONS.get(word, word[:-3]), "not"))
    elif (found := CONTRACTION_PATTERN.fullmatch(word)) and found[1] in STOP_WORDS:
        yield found[1]
    else:
        yield word


def stem_word(word: str) -> str:
    """A lowercase word's stem."""
    if not hasattr(_thread_local, "stemmer"):
        _thread_local.stemmer = Stemmer.Stemmer("english")
    stemmed: str = _thread_local.stemmer.stemWord(word)
    return stemmed


def _fold_accents(text: str) -> str:
    """The text without accents: é becomes e, in whichever form it was written."""
    if text.isascii():
        return text
    text = text.replace("’", "'")
    return "".join(
        character
        for character in unicodedata.normalize("NFKD", text)
        if not unicodedata.combining(character)
    )
