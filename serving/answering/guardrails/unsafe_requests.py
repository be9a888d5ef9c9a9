"""Refusal of requests that are harmful or that are not a question to the documents.

The rules are in core/text/english/unsafe_requests.yaml, each with its name and the reason that the
user reads. tests/unit/serving/test_requests.py lists requests that are refused, and similar ones
that are not.
"""

import re
import unicodedata
from dataclasses import dataclass

from core.text.invisible import decode_tag_characters, remove_invisible
from core.text.lexicon import load_lexicon
from serving.answering.types import Refusal, RefusalCode


@dataclass(frozen=True, slots=True)
class RequestRule:
    """A kind of request that is refused, and the refusal."""

    name: str
    code: RefusalCode
    reason: str
    pattern: re.Pattern[str]


def _load_rules() -> tuple[RequestRule, ...]:
    lexicon = load_lexicon("unsafe_requests")
    return tuple(
        RequestRule(
            entry["name"], entry["code"], entry["reason"], lexicon.compile(entry["pattern"])
        )
        for entry in lexicon["rules"]
    )


REQUEST_RULES = _load_rules()


def refuse_request(question: str) -> Refusal | None:
    """Return the refusal of a question that breaks a rule."""
    rule = find_broken_rule(question)
    return Refusal(rule.code, rule.reason, ()) if rule else None


def find_broken_rule(question: str) -> RequestRule | None:
    """Return the first rule that a question breaks, also in its invisible characters."""
    text = f"{remove_invisible(question)} {decode_tag_characters(question)}"
    text = " ".join(unicodedata.normalize("NFKC", text).replace("’", "'").split())
    return next((rule for rule in REQUEST_RULES if rule.pattern.search(text)), None)
