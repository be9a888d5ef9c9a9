"""What a language model wrote, taken apart while it comes: sentences, each with the passages and quotes it names.

JSON of the form that the prompts ask for is read object by object, whatever stands around it (a fence, a word of
introduction) and wherever it breaks off. Prose is read sentence by sentence, with markers such as [1] or [2, 3].
Half a sentence is never handed out.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MARKER_TEMPLATE = r"[\[【(]\s*(?:passages?|sources?|citations?)?\s*#?{}\s*[\]】)]"
_NUMBERS = r"\d+(?:\s*(?:,|;|and|&)\s*#?\d+)*"
CITATION_MARKER = re.compile(rf"\s*{_MARKER_TEMPLATE.format(f'({_NUMBERS})')}", re.IGNORECASE)
# Where a sentence of prose is whole: behind its stop and markers, once something else follows; or at a line's end.
SENTENCE_END = re.compile(
    rf"[.!?][\"'”’)\]]*(?:\s*{_MARKER_TEMPLATE.format(f'(?:{_NUMBERS})')})*(?=\s+[^\s\[【(])|(?<=\S)(?=\n)",
    re.IGNORECASE,
)
ABBREVIATION_END = re.compile(
    r"(?:\b(?:[A-Z]|e\.g|i\.e|etc|approx|No|Dr|Mr|Mrs|Ms|St|vs|cf|Fig|max|min)\.|^\s*\d{1,2}\.)$"
)
LEADING_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
SENTENCE_ENDINGS = (".", "!", "]", "】", '"', "”", ")")  # how a sentence may end
TRAILING_BRACE = re.compile(r"\{\s*$")
OBJECT_START = re.compile(r"\{\s*\"")
MAX_PREAMBLE_CHARACTERS = 40
CODE_FENCE = re.compile(r"```\w*")
TRAILING_COMMA = re.compile(r",(?=\s*[}\]])")
MAX_REPLY_CHARACTERS = 64 * 1024  # characters of a reply that are looked at


@dataclass(frozen=True, slots=True)
class PassageRef:
    """A passage that a model names, counted from 1, and its words there; no words where it gave none."""

    passage: int
    quote: str = ""


@dataclass(frozen=True, slots=True)
class ReplySentence:
    """A sentence of a model's, and what it names for it."""

    text: str
    passage_refs: tuple[PassageRef, ...]


class ReplyParser:
    """A reply on its way. Feed it pieces; it hands out each sentence once it is whole."""

    def __init__(self) -> None:
        self._text, self._done = "", 0
        self._open: list[int] = []  # where the objects began that are not closed yet
        self._json = self._in_string = self._escaped = False

    def feed(self, piece: str) -> Iterator[ReplySentence]:
        """The sentences that are whole with this piece."""
        self._text += piece[: max(0, MAX_REPLY_CHARACTERS - len(self._text))]
        if not self._json and (found := OBJECT_START.search(self._text, self._done)):
            self._json, self._done = True, found.start()
        if self._json:
            yield from self._parse_objects()
        elif not _may_become_json(self._text):
            yield from self._parse_prose()

    def end(self) -> Iterator[ReplySentence]:
        """What is left when nothing more comes: a last sentence of prose, or one whose object was not closed."""
        if not self._json:
            yield from self._parse_prose()
            rest = self._text[self._done :].rstrip("` \n")
            if rest.endswith(SENTENCE_ENDINGS):
                yield from _parse_prose_sentence(rest)
        elif self._open and not self._in_string:
            left = self._text[self._open[-1] :]
            yield from _parse_object(_load_first_json(left + "}", left + "]}"))

    def _parse_objects(self) -> Iterator[ReplySentence]:
        """Each object with a sentence in it, when its brace closes."""
        for place in range(self._done, len(self._text)):
            character = self._text[place]
            self._done = place + 1
            if self._in_string:
                self._in_string = self._escaped or character != '"'
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._in_string = True
            elif character == "{":
                self._open.append(place)
            elif character == "}" and self._open:
                yield from _parse_object(_load_first_json(self._text[self._open.pop() : place + 1]))

    def _parse_prose(self) -> Iterator[ReplySentence]:
        if TRAILING_BRACE.search(self._text, self._done):
            return  # perhaps of an object; the next piece tells
        for found in SENTENCE_END.finditer(self._text, self._done):
            said = self._text[self._done : found.end()]
            if not ABBREVIATION_END.search(said):
                yield from _parse_prose_sentence(said)
                self._done = found.end()


def _may_become_json(text: str) -> bool:
    """Whether what has come so far is at most a fence and an opening bracket."""
    return len(text) < MAX_PREAMBLE_CHARACTERS and text.lstrip(" \n\t`jsonJSON")[:1] in (
        "",
        "{",
        "[",
    )


def _parse_prose_sentence(text: str) -> Iterator[ReplySentence]:
    """A sentence of prose without its markers and bullet."""
    named = tuple(
        PassageRef(int(number))
        for found in CITATION_MARKER.finditer(text)
        for number in re.findall(r"\d+", found[1])
    )
    said = " ".join(
        LEADING_BULLET.sub("", CITATION_MARKER.sub("", CODE_FENCE.sub("", text))).split()
    )
    if re.search(r"\w", said) and not said.endswith(":"):
        yield ReplySentence(said, tuple(dict.fromkeys(named)))


def _load_first_json(*candidates: str) -> Any:
    """The first of some texts that is JSON, small slips forgiven; None where none is."""
    for text in candidates:
        try:
            return json.loads(TRAILING_COMMA.sub("", text), strict=False)
        except (ValueError, RecursionError):
            continue
    return None


def _parse_object(value: Any) -> Iterator[ReplySentence]:
    """The sentence of an object, under one of the names that models give it; none where it has no sentence."""
    if not isinstance(value, dict):
        return
    said = next(
        (
            value[name]
            for name in ("text", "sentence", "claim", "answer")
            if isinstance(value.get(name), str)
        ),
        "",
    )
    if not re.search(r"\w", said):
        return
    named, reading = (
        tuple(dict.fromkeys(_extract_passage_refs(value))),
        ReplyParser(),
    )  # it may have several sentences in one string
    for written in [*reading.feed(said), *reading.end()] or [
        ReplySentence(" ".join(said.split()), ())
    ]:
        yield ReplySentence(written.text, named or written.passage_refs)


def _extract_passage_refs(value: dict[str, Any]) -> Iterator[PassageRef]:
    quote = value.get("quote") if isinstance(value.get("quote"), str) else ""
    for name in (
        "evidence",
        "citations",
        "citation",
        "passages",
        "passage",
        "sources",
        "source",
        "id",
        "ids",
    ):
        some = value.get(name)
        for each in some if isinstance(some, list) else [some]:
            if isinstance(each, dict):
                yield from _extract_passage_refs(each)
            elif (number := _parse_passage_number(each)) is not None:
                yield PassageRef(number, quote or "")


def _parse_passage_number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    found = re.fullmatch(r"\D{0,12}(\d{1,4})\D?", str(value))
    return int(found[1]) if found else None
