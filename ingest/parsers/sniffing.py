"""Detection of text formats by content, for a suffix that is missing, unknown or plainly wrong."""

import json
import re

_MAX_SNIFFED_CHARACTERS = 20_000
_MAIL_HEADER_LINE = re.compile(r"[A-Za-z][A-Za-z-]{1,60}:[ \t].*|[ \t]+\S.*")
_MAIL_HEADER_NAMES = frozenset(
    "from to subject date received return-path mime-version message-id".split()
)
_HTML_START = re.compile(
    r"<(?:!doctype html|html|head|body|div|p|h[1-6]|table|ul|article|section|main)\b[^<>]*>", re.I
)
_XML_START = re.compile(r"<(?:\?xml\s|!DOCTYPE\s|[A-Za-z_][\w.:-]*(?:\s[^<>]*)?>)")
_MARKDOWN_MARKUP = re.compile(r"^(?:#{1,6} \S|```|[-*] \S.*\n[-*] \S)|\]\(\S+\)", re.MULTILINE)
_RST_MARKUP = re.compile(r"^\S.{2,}\n(=|-|~){4,}$|^\.\. [\w-]+::", re.MULTILINE)


def detect_unambiguous_type(text: str) -> str | None:
    """Return the type of JSON, JSON Lines, a message, HTML or XML; None for other text."""
    start = text[:_MAX_SNIFFED_CHARACTERS].lstrip("\ufeff \t\r\n")
    if start[:1] in ("{", "[") and (json_type := _detect_json_type(text)):
        return json_type
    if _is_message(start):
        return "message/rfc822"
    if _HTML_START.match(start):
        return "text/html"
    return "application/xml" if _XML_START.match(start) else None


def guess_text_type(text: str) -> str:
    """Return the type of Markdown, reStructuredText or a table; "text/plain" for other text."""
    start = text[:_MAX_SNIFFED_CHARACTERS].replace("\r\n", "\n")
    if _RST_MARKUP.search(start):
        return "text/x-rst"
    if _MARKDOWN_MARKUP.search(start):
        return "text/markdown"
    return "text/csv" if _is_table(start) else "text/plain"


def _detect_json_type(text: str) -> str | None:
    lines = text.strip().split("\n", 3)[:3]
    if len(lines) > 1 and all(map(_is_json, filter(str.strip, lines))):
        return "application/jsonl"
    return "application/json" if _is_json(text) else None


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _is_message(start: str) -> bool:
    head = start.replace("\r\n", "\n").split("\n\n", 1)[0].split("\n")
    names = {line.split(":")[0].lower() for line in head if not line[:1].isspace()}
    has_header_names = len(names & _MAIL_HEADER_NAMES) >= 3
    return has_header_names and all(map(_MAIL_HEADER_LINE.fullmatch, head[:-1]))


def _is_table(start: str) -> bool:
    """Return True for five or more lines with the same number of cells, at least three."""
    lines = [line for line in start.split("\n")[:-1] if line.strip()][:20]
    if len(lines) < 5:
        return False
    for delimiter in "\t;,":
        counts = {line.count(delimiter) for line in lines}
        if len(counts) == 1 and min(counts) >= 2:
            return True
    return False
