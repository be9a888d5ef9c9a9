"""Streaming parser of a model's reply: sentences, each with the passages and quotes that it cites.

JSON of the requested form is parsed object by object, even inside a code fence or after an
introduction, and even if the reply breaks off. Prose is parsed sentence by sentence, with markers
such as [1] or [2, 3]. Incomplete sentences are never returned.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MARKER_TEMPLATE = r"[\[【(]\s*(?:passages?|sources?|citations?)?\s*#?{}\s*[\]】)]"
_NUMBERS = r"\d+(?:\s*(?:,|;|and|&)\s*#?\d+)*"
CITATION_MARKER = re.compile(rf"\s*{_MARKER_TEMPLATE.format(f'({_NUMBERS})')}", re.IGNORECASE)
# A sentence of prose ends after its stop and markers, once other text follows, or at the end of a
# line.
SENTENCE_END = re.compile(
    rf"[.!?][\"'”’)\]]*(?:\s*{_MARKER_TEMPLATE.format(f'(?:{_NUMBERS})')})*(?=\s+[^\s\[【(])"
    r"|(?<=\S)(?=\n)",
    re.IGNORECASE,
)
ABBREVIATION_END = re.compile(
    r"(?:\b(?:[A-Z]|e\.g|i\.e|etc|approx|No|Dr|Mr|Mrs|Ms|St|vs|cf|Fig|max|min)\.|^\s*\d{1,2}\.)$"
)
LEADING_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
SENTENCE_ENDINGS = (".", "!", "]", "】", '"', "”", ")")
TRAILING_BRACE = re.compile(r"\{\s*$")
OBJECT_START = re.compile(r"\{\s*\"")
MAX_PREAMBLE_CHARACTERS = 40
CODE_FENCE = re.compile(r"```\w*")
TRAILING_COMMA = re.compile(r",(?=\s*[}\]])")
MAX_REPLY_CHARACTERS = 64 * 1024  # the rest of a longer reply is ignored
# Keys that models use for a sentence, and for the passages that it cites.
TEXT_KEYS = ("text", "sentence", "claim", "answer")
REFERENCE_KEYS = tuple("evidence citations citation passages passage sources source id ids".split())


@dataclass(frozen=True, slots=True)
class PassageRef:
    """A cited passage, counted from 1, and the quoted words; empty if the model quoted nothing."""

    passage: int
    quote: str = ""


@dataclass(frozen=True, slots=True)
class ReplySentence:
    """A sentence of a reply and the passages that it cites."""

    text: str
    passage_refs: tuple[PassageRef, ...]


class ReplyParser:
    """Parser of one reply. Feed it pieces of text; it yields each sentence once it is complete."""

    def __init__(self) -> None:
        self._text, self._parsed_until = "", 0
        self._open_braces: list[int] = []  # start offsets of the objects that are not closed yet
        self._is_json = self._in_string = self._escaped = False

    def feed(self, piece: str) -> Iterator[ReplySentence]:
        """Yield the sentences that this piece completes."""
        self._text += piece[: max(0, MAX_REPLY_CHARACTERS - len(self._text))]
        if not self._is_json and (start := OBJECT_START.search(self._text, self._parsed_until)):
            self._is_json, self._parsed_until = True, start.start()
        if self._is_json:
            yield from self._parse_objects()
        elif not _may_become_json(self._text):
            yield from self._parse_prose()

    def end(self) -> Iterator[ReplySentence]:
        """Yield the last sentence of prose, or one whose object was not closed."""
        if not self._is_json:
            yield from self._parse_prose()
            rest = self._text[self._parsed_until :].rstrip("` \n")
            if rest.endswith(SENTENCE_ENDINGS):
                yield from _parse_prose_sentence(rest)
        elif self._open_braces and not self._in_string:
            rest = self._text[self._open_braces[-1] :]
            yield from _parse_object(_load_first_json(rest + "}", rest + "]}"))

    def _parse_objects(self) -> Iterator[ReplySentence]:
        """Yield the sentence of each object whose brace closes."""
        for offset in range(self._parsed_until, len(self._text)):
            character = self._text[offset]
            self._parsed_until = offset + 1
            if self._in_string:
                self._in_string = self._escaped or character != '"'
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._in_string = True
            elif character == "{":
                self._open_braces.append(offset)
            elif character == "}" and self._open_braces:
                text = self._text[self._open_braces.pop() : offset + 1]
                yield from _parse_object(_load_first_json(text))

    def _parse_prose(self) -> Iterator[ReplySentence]:
        if TRAILING_BRACE.search(self._text, self._parsed_until):
            return  # an object may begin; the next piece decides
        for end in SENTENCE_END.finditer(self._text, self._parsed_until):
            sentence = self._text[self._parsed_until : end.end()]
            if not ABBREVIATION_END.search(sentence):
                yield from _parse_prose_sentence(sentence)
                self._parsed_until = end.end()


def _may_become_json(text: str) -> bool:
    """Return true while the text is at most a code fence and an opening bracket."""
    start = text.lstrip(" \n\t`jsonJSON")[:1]
    return len(text) < MAX_PREAMBLE_CHARACTERS and start in ("", "{", "[")


def _parse_prose_sentence(text: str) -> Iterator[ReplySentence]:
    """Yield a sentence without markers and bullet, unless it only introduces a list."""
    numbers: list[str] = []
    for marker in CITATION_MARKER.finditer(text):
        numbers += re.findall(r"\d+", marker[1])
    text = CITATION_MARKER.sub("", CODE_FENCE.sub("", text))
    sentence = " ".join(LEADING_BULLET.sub("", text).split())
    if re.search(r"\w", sentence) and not sentence.endswith(":"):
        passage_refs = dict.fromkeys(PassageRef(int(number)) for number in numbers)
        yield ReplySentence(sentence, tuple(passage_refs))


def _load_first_json(*candidates: str) -> Any:
    """Return the value of the first text that is JSON, or None."""
    for text in candidates:
        try:
            return json.loads(TRAILING_COMMA.sub("", text), strict=False)
        except (ValueError, RecursionError):
            continue
    return None


def _parse_object(value: Any) -> Iterator[ReplySentence]:
    """Yield the sentences of an object, if it has any."""
    if not isinstance(value, dict):
        return
    texts = [value[key] for key in TEXT_KEYS if isinstance(value.get(key), str)]
    if not texts or not re.search(r"\w", texts[0]):
        return
    passage_refs = tuple(dict.fromkeys(_extract_passage_refs(value)))
    parser = ReplyParser()  # one string may hold several sentences
    sentences = [*parser.feed(texts[0]), *parser.end()]
    for sentence in sentences or [ReplySentence(" ".join(texts[0].split()), ())]:
        yield ReplySentence(sentence.text, passage_refs or sentence.passage_refs)


def _extract_passage_refs(value: dict[str, Any]) -> Iterator[PassageRef]:
    quote = value.get("quote") if isinstance(value.get("quote"), str) else ""
    for key in REFERENCE_KEYS:
        references = value.get(key)
        for reference in references if isinstance(references, list) else [references]:
            if isinstance(reference, dict):
                yield from _extract_passage_refs(reference)
            elif (number := _parse_passage_number(reference)) is not None:
                yield PassageRef(number, quote or "")


def _parse_passage_number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    match = re.fullmatch(r"\D{0,12}(\d{1,4})\D?", str(value))
    return int(match[1]) if match else None
