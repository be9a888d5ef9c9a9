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

_MARKS = r"[\[【(]\s*(?:passages?|sources?|citations?)?\s*#?{}\s*[\]】)]"
_NUMBERS = r"\d+(?:\s*(?:,|;|and|&)\s*#?\d+)*"
MARKER = re.compile(rf"\s*{_MARKS.format(f'({_NUMBERS})')}", re.IGNORECASE)
# Where a sentence of prose is whole: behind its stop and markers, once something else follows; or at a line's end.
BOUNDARY = re.compile(
    rf"[.!?][\"'”’)\]]*(?:\s*{_MARKS.format(f'(?:{_NUMBERS})')})*(?=\s+[^\s\[【(])|(?<=\S)(?=\n)", re.IGNORECASE
)
ABBREVIATED = re.compile(r"(?:\b(?:[A-Z]|e\.g|i\.e|etc|approx|No|Dr|Mr|Mrs|Ms|St|vs|cf|Fig|max|min)\.|^\s*\d{1,2}\.)$")
BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
WHOLE = (".", "!", "]", "】", '"', "”", ")")  # how a sentence may end
OPENING = re.compile(r"\{\s*$")
OBJECT = re.compile(r"\{\s*\"")
LONGEST_OPENING = 40
FENCE = re.compile(r"```\w*")
TRAILING_COMMA = re.compile(r",(?=\s*[}\]])")
LONGEST = 64 * 1024  # characters of a reply that are looked at


@dataclass(frozen=True, slots=True)
class Named:
    """A passage that a model names, counted from 1, and its words there; no words where it gave none."""

    passage: int
    quote: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A sentence of a model's, and what it names for it."""

    text: str
    evidence: tuple[Named, ...]


class Reading:
    """A reply on its way. Feed it pieces; it hands out each sentence once it is whole."""

    def __init__(self) -> None:
        self._text, self._done = "", 0
        self._open: list[int] = []  # where the objects began that are not closed yet
        self._json = self._in_string = self._escaped = False

    def feed(self, piece: str) -> Iterator[Written]:
        """The sentences that are whole with this piece."""
        self._text += piece[: max(0, LONGEST - len(self._text))]
        if not self._json and (found := OBJECT.search(self._text, self._done)):
            self._json, self._done = True, found.start()
        if self._json:
            yield from self._objects()
        elif not _may_become_json(self._text):
            yield from self._sentences()

    def end(self) -> Iterator[Written]:
        """What is left when nothing more comes: a last sentence of prose, or one whose object was not closed."""
        if not self._json:
            yield from self._sentences()
            rest = self._text[self._done :].rstrip("` \n")
            if rest.endswith(WHOLE):
                yield from _prose(rest)
        elif self._open and not self._in_string:
            left = self._text[self._open[-1] :]
            yield from _of_object(_loaded(left + "}", left + "]}"))

    def _objects(self) -> Iterator[Written]:
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
                yield from _of_object(_loaded(self._text[self._open.pop() : place + 1]))

    def _sentences(self) -> Iterator[Written]:
        if OPENING.search(self._text, self._done):
            return  # perhaps of an object; the next piece tells
        for found in BOUNDARY.finditer(self._text, self._done):
            said = self._text[self._done : found.end()]
            if not ABBREVIATED.search(said):
                yield from _prose(said)
                self._done = found.end()


def _may_become_json(text: str) -> bool:
    """Whether what has come so far is at most a fence and an opening bracket."""
    return len(text) < LONGEST_OPENING and text.lstrip(" \n\t`jsonJSON")[:1] in ("", "{", "[")


def _prose(text: str) -> Iterator[Written]:
    """A sentence of prose without its markers and bullet."""
    named = tuple(Named(int(number)) for found in MARKER.finditer(text) for number in re.findall(r"\d+", found[1]))
    said = " ".join(BULLET.sub("", MARKER.sub("", FENCE.sub("", text))).split())
    if re.search(r"\w", said) and not said.endswith(":"):
        yield Written(said, tuple(dict.fromkeys(named)))


def _loaded(*candidates: str) -> Any:
    """The first of some texts that is JSON, small slips forgiven; None where none is."""
    for text in candidates:
        try:
            return json.loads(TRAILING_COMMA.sub("", text), strict=False)
        except (ValueError, RecursionError):
            continue
    return None


def _of_object(value: Any) -> Iterator[Written]:
    """The sentence of an object, under one of the names that models give it; none where it has no sentence."""
    if not isinstance(value, dict):
        return
    said = next(
        (value[name] for name in ("text", "sentence", "claim", "answer") if isinstance(value.get(name), str)), ""
    )
    if not re.search(r"\w", said):
        return
    named, reading = tuple(dict.fromkeys(_named(value))), Reading()  # it may have several sentences in one string
    for written in [*reading.feed(said), *reading.end()] or [Written(" ".join(said.split()), ())]:
        yield Written(written.text, named or written.evidence)


def _named(value: dict[str, Any]) -> Iterator[Named]:
    quote = value.get("quote") if isinstance(value.get("quote"), str) else ""
    for name in ("evidence", "citations", "citation", "passages", "passage", "sources", "source", "id", "ids"):
        some = value.get(name)
        for each in some if isinstance(some, list) else [some]:
            if isinstance(each, dict):
                yield from _named(each)
            elif (number := _number(each)) is not None:
                yield Named(number, quote or "")


def _number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    found = re.fullmatch(r"\D{0,12}(\d{1,4})\D?", str(value))
    return int(found[1]) if found else None
