"""Detection of prompt injections: sentences that speak to a language model rather than to a reader.

Each sign of core/text/english/prompt_injection.yaml has a weight. A sentence whose signs add up to
1 or more is an injection: it is never quoted, supports no answer, and no model reads it. The signs
are what instructions to an assistant have in common: they override earlier instructions, call the
assistant by name, speak in its roles, ask for secrecy, or say how to write "your response". Plain
falsehoods are not found; docs/reference/guardrails.md lists the limits.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from core.text.invisible import decode_tag_characters, remove_invisible
from core.text.lexicon import load_lexicon
from core.types import Span
from retrieval.types import Hit

MIN_INJECTION_SCORE = 1.0  # sum of weights that makes a sentence an injection
_PARAGRAPH_PATTERN = re.compile(r"(?:[^\n]|\n(?!\n))+")


@dataclass(frozen=True, slots=True)
class InjectionSign:
    """A sign of an injection, with its weight.

    If `taints_paragraph`, the rest of the paragraph is as suspicious as the sentence.
    """

    name: str
    weight: float
    pattern: re.Pattern[str]
    taints_paragraph: bool = False


@dataclass(frozen=True, slots=True)
class Injection:
    """A sentence of a document that is an injection; the score is 1 or more."""

    span: Span
    score: float
    signs: tuple[str, ...]


def _load_signs() -> tuple[InjectionSign, ...]:
    lexicon = load_lexicon("prompt_injection")
    return tuple(
        InjectionSign(
            entry["name"],
            entry["weight"],
            lexicon.compile(entry["pattern"], re.IGNORECASE | re.MULTILINE),
            entry.get("taints_paragraph", False),
        )
        for entry in lexicon["signs"]
    )


INJECTION_SIGNS = _load_signs()


def find_injections(hit: Hit) -> tuple[Injection, ...]:
    """Return the injected sentences of a passage in order."""
    sentence_spans = tuple(sentence.span for sentence in hit.sentences)
    return _scan_sentences(hit.text, hit.span.start, sentence_spans)


@lru_cache(maxsize=2048)  # one question reads the same passages several times
def _scan_sentences(text: str, start: int, spans: tuple[Span, ...]) -> tuple[Injection, ...]:
    injections: dict[Span, Injection] = {}
    for paragraph in _PARAGRAPH_PATTERN.finditer(text):
        taint: Injection | None = None  # the injection that taints the rest of the paragraph
        for span in spans:
            if not start + paragraph.start() <= span.start < start + paragraph.end():
                continue
            signs = find_signs(text[span.start - start : span.end - start])
            injection = Injection(span, sum_weights(signs), tuple(sign.name for sign in signs))
            if injection.score >= MIN_INJECTION_SCORE:
                injections[span] = injection
                if any(sign.taints_paragraph for sign in signs):
                    taint = injection
            elif taint:
                injections[span] = Injection(span, taint.score, taint.signs)
    return tuple(injections.values())


def find_signs(text: str) -> list[InjectionSign]:
    """Return the signs in a sentence, also in its invisible characters."""
    visible = unicodedata.normalize("NFKC", remove_invisible(text)).replace("’", "'")
    hidden = decode_tag_characters(text)
    return [
        sign
        for sign in INJECTION_SIGNS
        if sign.pattern.search(visible) or sign.pattern.search(hidden)
    ]


def sum_weights(signs: Sequence[InjectionSign]) -> float:
    """Return the sum of the weights of some signs."""
    return round(sum(sign.weight for sign in signs), 2)


def is_injection(text: str) -> bool:
    """Return true if a line of its own, such as a title or a heading, is an injection."""
    return sum_weights(find_signs(text)) >= MIN_INJECTION_SCORE


def overlaps_injection(span: Span, injections: Sequence[Injection]) -> bool:
    """Return true if a span includes a part of an injection."""
    return any(span.overlaps(injection.span) for injection in injections)
