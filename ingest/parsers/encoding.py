"""Decoding of text files: UTF-8, UTF-16, UTF-32 or a detected legacy encoding."""

import codecs
from functools import lru_cache

from core.errors import UnreadableFile

# Detection reads this many bytes: enough to tell encodings apart, few enough to stay quick.
_SAMPLE_BYTES = 65_536
_ENCODING_BY_BOM = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\x08\x0b"))
_MAX_BINARY_SHARE = 0.001
_MIN_READABLE_SHARE = 0.7  # letters, digits and spaces; the rest is punctuation


def decode_text(data: bytes) -> str:
    """Decode the text of a file; raises UnreadableFile if it is not text."""
    text = try_decode(data)
    if text is None:
        why = "The text's encoding is not known. Save the file as UTF-8."
        raise UnreadableFile("corrupt", why)
    return text


def try_decode(data: bytes) -> str | None:
    """Decode the text of a file; None if it is not text."""
    for mark, encoding in _ENCODING_BY_BOM:
        if data.startswith(mark):
            return _decode_as(data, encoding)
    if (wide_encoding := _detect_utf16_without_bom(data)) is not None:
        return _decode_as(data, wide_encoding)
    if _looks_binary(data):
        return None
    text = _decode_as(data, "utf-8")
    return _decode_detected(data) if text is None else text


def _decode_as(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _detect_utf16_without_bom(data: bytes) -> str | None:
    """Return the codec of Western text in UTF-16: only there nearly every second byte is zero."""
    sample = data[:2000]
    if len(sample) < 4 or len(data) % 2 or b"\0" not in sample:
        return None
    min_zeros = 0.7 * (len(sample) // 2)
    even_zeros, odd_zeros = sample[0::2].count(0), sample[1::2].count(0)
    if odd_zeros > min_zeros and not even_zeros:
        return "utf-16-le"
    if even_zeros > min_zeros and not odd_zeros:
        return "utf-16-be"
    return None


def _looks_binary(data: bytes) -> bool:
    sample = data[:_SAMPLE_BYTES]
    text_bytes = len(sample.translate(None, _BINARY_BYTES))
    return text_bytes < (1 - _MAX_BINARY_SHARE) * len(sample)


def _decode_detected(data: bytes) -> str | None:
    encoding = _detect_encoding(data[:_SAMPLE_BYTES])
    text = data.decode(encoding, "replace") if encoding else ""
    return text if text and _is_readable(text[:_SAMPLE_BYTES]) else None


@lru_cache(maxsize=4)  # A file is decoded twice: to detect its type, and to parse it.
def _detect_encoding(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    return best.encoding if best else None


def _is_readable(text: str) -> bool:
    readable = sum(character.isalnum() or character.isspace() for character in text)
    return readable > _MIN_READABLE_SHARE * len(text)
