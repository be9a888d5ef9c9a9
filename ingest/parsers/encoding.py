"""Which characters a text file's bytes stand for."""

import codecs
from collections import Counter
from functools import lru_cache

from core.errors import Unreadable

_SAMPLE = 65_536  # Detection reads this many bytes; enough to tell encodings apart, small enough to stay quick.
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\x08\x0b"))


def decode(data: bytes) -> str | None:
    """The text of a file in UTF-8, UTF-16, UTF-32 or a detected legacy encoding; None when it isn't text."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _try(data, name)
    if (wide := _utf16_without_mark(data)) is not None:
        return _try(data, wide)
    if _looks_binary(data):
        return None
    text = _try(data, "utf-8")
    return text if text is not None else _detected(data)


def read(data: bytes) -> str:
    """Like `decode`, for parsers: raises Unreadable instead of returning None."""
    text = decode(data)
    if text is None:
        raise Unreadable("corrupt", "The text's encoding can't be recognised; save the file as UTF-8.")
    return text


def _try(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _utf16_without_mark(data: bytes) -> str | None:
    """Western text in UTF-16 has a zero in nearly every second byte; nothing else that is text does."""
    sample = data[:2000]
    if len(sample) < 4 or len(data) % 2 or b"\0" not in sample:
        return None
    half = len(sample) // 2
    if sample[1::2].count(0) > 0.7 * half and not sample[0::2].count(0):
        return "utf-16-le"
    if sample[0::2].count(0) > 0.7 * half and not sample[1::2].count(0):
        return "utf-16-be"
    return None


def _looks_binary(data: bytes) -> bool:
    sample = data[:_SAMPLE]
    return len(sample.translate(None, _BINARY)) < 0.999 * len(sample)


def _detected(data: bytes) -> str | None:
    """charset-normalizer's best guess, unless the outcome is mostly not letters, spaces and punctuation."""
    encoding = _encoding_of(data[:_SAMPLE])
    text = data.decode(encoding, "replace") if encoding else None
    return text if text is not None and _readable(text[:_SAMPLE]) else None


@lru_cache(maxsize=4)
def _encoding_of(sample: bytes) -> str | None:
    """Kept for a moment, since a file is asked twice: what it is, and then what it says."""
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    return best.encoding if best else None


def _readable(text: str) -> bool:
    kinds = Counter("text" if c.isalnum() or c.isspace() else "other" for c in text)
    return kinds["text"] > 0.7 * len(text)
