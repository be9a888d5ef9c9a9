"""Which characters a text file's bytes stand for."""

import codecs
from collections import Counter
from functools import lru_cache

from core.errors import UnreadableFile

_SAMPLE_BYTES = 65_536  # Detection reads this many bytes; enough to tell encodings apart, small enough to stay quick.
_ENCODING_BY_BOM = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\x08\x0b"))


def try_decode(data: bytes) -> str | None:
    """The text of a file in UTF-8, UTF-16, UTF-32 or a detected legacy encoding; None when it isn't text."""
    for mark, name in _ENCODING_BY_BOM:
        if data.startswith(mark):
            return _decode_as(data, name)
    if (wide := _detect_utf16_without_bom(data)) is not None:
        return _decode_as(data, wide)
    if _looks_binary(data):
        return None
    text = _decode_as(data, "utf-8")
    return text if text is not None else _decode_detected(data)


def decode_text(data: bytes) -> str:
    """Like `decode`, for parsers: raises Unreadable instead of returning None."""
    text = try_decode(data)
    if text is None:
        raise UnreadableFile(
            "corrupt", "The text's encoding can't be recognised; save the file as UTF-8."
        )
    return text


def _decode_as(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _detect_utf16_without_bom(data: bytes) -> str | None:
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
    sample = data[:_SAMPLE_BYTES]
    return len(sample.translate(None, _BINARY_BYTES)) < 0.999 * len(sample)


def _decode_detected(data: bytes) -> str | None:
    """charset-normalizer's best guess, unless the outcome is mostly not letters, spaces and punctuation."""
    encoding = _detect_encoding(data[:_SAMPLE_BYTES])
    text = data.decode(encoding, "replace") if encoding else None
    return text if text is not None and _is_readable(text[:_SAMPLE_BYTES]) else None


@lru_cache(maxsize=4)
def _detect_encoding(sample: bytes) -> str | None:
    """Kept for a moment, since a file is asked twice: what it is, and then what it says."""
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    return best.encoding if best else None


def _is_readable(text: str) -> bool:
    kinds = Counter("text" if c.isalnum() or c.isspace() else "other" for c in text)
    return kinds["text"] > 0.7 * len(text)
