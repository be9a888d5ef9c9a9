"""A follow-up question made to stand alone, by rules: it takes over what the one before spoke of, and invents nothing.

    How deep may I lower the Heron 200?           What about the Heron 210?    one name for another of its kind
    How often is it calibrated in waste water?    And in drinking water?       one circumstance for another
    What does ERR-4711 mean?                      How do I clear it?           a pronoun becomes what it stands for
    How much leave do I have?                     And for part-timers?         a circumstance more
    May I work from abroad?                       Who approves that?           a deed becomes what is spoken of

Every word of the result stands in the question, in the question before, or in the title of a document that its answer
cited. A question without a sign that it follows on something is left as it is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from core.text.terms import extract_terms
from serving.answering.conversation.history import Turn

_FOLLOW_UP_LINK = re.compile(
    r"^(?:and|but|also|or|then|so|ok(?:ay)?|well)?[, ]*(?:(?:what|how) about|what of|what if it(?: i|')s|same for"
    r"|is it the same (?:for|in|with))\s+(?P<rest>.+)$|^(?:and|but|or|also)\b,?\s+(?P<more>.+)$",
    re.IGNORECASE,
)
_PREPOSITION = r"(?:for|in|on|at|with|without|after|before|during|to|from|by|of|under|over|within|outside|inside|between|per|as)"
_STARTS_WITH_PREPOSITION = re.compile(rf"^(?P<preposition>{_PREPOSITION})\b\s+\S", re.IGNORECASE)
_PRONOUN_PATTERN = re.compile(
    r"\b(?:it|they|them|he|she|him|its|their|his|her)\b"
    # "who approves that?", "does this apply"; not "this week", nor "a parcel that has"
    r"|\b(?:this|that|these|those)\b(?=\s*[?!.,]|\s*$)|(?:(?<=\bis )|(?<=\bdo )|(?<=\bdoes ))(?:this|that)\b(?! \w+'s)",
    re.IGNORECASE,
)
_CLAUSE_BOUNDARY = re.compile(
    r"[,.;:!?]|\b(?:before|after|when|if|once|until|while|because|that|who|which|and|but|(?:by|without|for) \w+ing)\b",
    re.IGNORECASE,
)
_POSSESSIVE_PRONOUNS = frozenset(("its", "their", "his", "her"))
_BARE_QUESTION = re.compile(  # a question word that leaves out all else
    r"^(?:why|who|where|when|how|how (?:much|many|long|often|soon)|since when|until when|by whom|which(?: ones?)?"
    r"|what (?:else|then)|really)(?: not| exactly| so| then)?[?!. ]*$",
    re.IGNORECASE,
)
_QUESTION_WORDS = frozenset(
    "what which who whom whose when where why how is are was were am do does did can could may might must should shall"
    " will would have has had".split()
)
# Names and designations: Kestrel T5, ERR-4711, Heron 210.
_NAME_PATTERN = re.compile(
    r"\b(?:[A-Z][\w-]*[a-z0-9][\w-]*|[A-Z]{2,}[\w-]*)(?:[ -](?:[A-Z][\w-]*|\d[\w.]*))*"
)
_PERSON = r"(?:i|we|you|one|they|he|she|someone|anyone|everyone|employees?|people|customers?|contractors?|staff)"
_ACTION_QUESTION = re.compile(
    r"^(?:can|could|may|must|should|shall|do|does|am|is|are|will|would|have|has)"
    rf"\s+{_PERSON}\s+(?:(?:have|need|allowed) to\s+)?(?P<deed>.+)$",
    re.IGNORECASE,
)
_NOUN_PHRASE_END = (
    rf"(?:{_PREPOSITION}|is|are|was|be|been|have|has|had|that|who|which|and|or|last|get|gets|take|takes|mean|need|must"
    r"|can|may|do|does|come|keep|run|go|going|valid|still|once|count|counts|\w+ed)\b"
)
_NOUN_PHRASE = rf"[^\W\d_][\w-]*(?:\s+(?!{_NOUN_PHRASE_END})[^\W_][\w-]*){{0,3}}"
_NOUN_WITH_DETERMINER = re.compile(
    rf"\b(?:the|a|an|my|our|your|any|each|every|no|how many|how much|which)\s+(?P<thing>{_NOUN_PHRASE}(?:\s+of\s+{_NOUN_PHRASE})?)",
    re.IGNORECASE,
)
_MAX_CITED_TITLES = 3  # titles of the turn before that may lend a word


@dataclass(frozen=True, slots=True)
class StandaloneQuestion:
    """A question that needs nothing beside it; `leans_on` is the document whose title it borrowed from, if it did."""

    text: str
    leans_on: UUID | None = None


def is_follow_up(question: str) -> bool:
    """Whether a question shows a sign that it can't be understood alone."""
    text = question.strip()
    if _BARE_QUESTION.match(text) or (
        _STARTS_WITH_PREPOSITION.match(text) and not _is_full_question(text)
    ):
        return True
    link = _FOLLOW_UP_LINK.match(text)
    if link and (
        link["rest"] or not _is_full_question(link["more"]) or _find_open_pronoun(link["more"])
    ):
        return True
    return _find_open_pronoun(text) is not None


def make_standalone(question: str, turns: Sequence[Turn]) -> StandaloneQuestion:
    """The question with what it takes over from the turn before; as it is where it takes over nothing."""
    text = question.strip()
    if not turns or not is_follow_up(text):
        return StandaloneQuestion(question)
    before = turns[-1]
    earlier = before.asked_as.strip().rstrip("?!. ")
    if _BARE_QUESTION.match(text):
        return StandaloneQuestion(_capitalize_question(f"{text.rstrip('?!. ')}: {earlier}?"))
    link = _FOLLOW_UP_LINK.match(text)
    rest = (link["rest"] or link["more"]) if link else text
    pronoun = _find_open_pronoun(rest)
    if pronoun:
        return _replace_pronoun(rest, pronoun, before)
    return StandaloneQuestion(
        _capitalize_question(_adapt_earlier_question(rest.rstrip("?!. "), earlier) + "?")
    )


def _is_full_question(text: str) -> bool:
    """Whether a text is a question by itself: it begins like one and speaks of something."""
    words = text.lower().split()
    asks = any(word.strip(",") in _QUESTION_WORDS for word in words[:6])
    return asks and len(extract_terms(text)) >= 2


def _find_open_pronoun(text: str) -> re.Match[str] | None:
    """The first pronoun that stands for nothing in the question: that would be in a clause before, or, where it is a
    possessive, anywhere before.
    """
    for match in _PRONOUN_PATTERN.finditer(text):
        ahead, after = text[: match.start()], text[match.end() :]
        bounds = [bound.start() for bound in _CLAUSE_BOUNDARY.finditer(ahead)]
        possible = (
            ahead
            if match[0].lower() in _POSSESSIVE_PRONOUNS
            else ahead[: bounds[-1]]
            if bounds
            else ""
        )
        if _content_terms(possible):
            return None
        if match[0].lower() == "it" and _IMPERSONAL_PHRASE.match(after):
            continue
        return match
    return None


_IMPERSONAL_PHRASE = re.compile(
    r"\s+(?:possible|allowed|true|necessary)\b.*\b(?:to|that)\b", re.IGNORECASE
)  # is it allowed to


def _content_terms(text: str) -> list[str]:
    """The terms of a text that name something, without the verbs that questions begin with."""
    return [term for term in extract_terms(text) if term not in _WEAK_TERMS]


_WEAK_TERMS = frozenset(
    extract_terms(
        "long much many often soon far old big get take last apply work happen need know tell explain mean about"
        " approve pay sign ask use"
    )
)


def _replace_pronoun(text: str, pronoun: re.Match[str], previous: Turn) -> StandaloneQuestion:
    """With what the pronoun stands for in its place."""
    stands_for, leans_on = _find_subject(
        previous, prefers_action=pronoun[0].lower() in {"this", "that"}
    )
    if stands_for is None:
        return StandaloneQuestion(
            _capitalize_question(f"{text.rstrip('?!. ')}: {previous.asked_as.rstrip('?!. ')}?")
        )
    ahead, after = text[: pronoun.start()], text[pronoun.end() :]
    if pronoun[0].lower() in _POSSESSIVE_PRONOUNS:
        owned = re.match(
            r"\s+(?P<owned>[\w-]+(?:\s+(?:time|life|period|number|price|interval|limit))?)", after
        )
        if owned:
            return StandaloneQuestion(
                _capitalize_question(
                    f"{ahead}the {owned['owned']} of {stands_for}{after[owned.end() :]}"
                ),
                leans_on,
            )
    noun = re.match(
        r"\s+(?:policy|rule|limit|device|product|sensor|document|case|error|process|period|amount)\b",
        after,
    )
    return StandaloneQuestion(
        _capitalize_question(f"{ahead}{stands_for}{after[noun.end() if noun else 0 :]}"), leans_on
    )


def _find_subject(previous: Turn, *, prefers_action: bool) -> tuple[str | None, UUID | None]:
    """What the turn before was about: a deed where one is meant, else a name, a thing, a title that it cited."""
    asked = previous.asked_as.strip().rstrip("?!. ")
    done = _ACTION_QUESTION.match(asked)
    if prefers_action and done:
        return done["deed"], None
    things, names = (
        [match["thing"] for match in _NOUN_WITH_DETERMINER.finditer(asked)],
        _find_names(asked),
    )
    if names:
        pieces = [
            piece.removeprefix("the ").removeprefix("a ")
            for thing in things
            for piece in thing.split(" of ")
        ]
        return next((f"the {piece}" for piece in pieces if names[-1] in piece), names[-1]), None
    if things:
        return f"the {max(things, key=len)}", None
    if done:
        return done["deed"], None
    for document, title in list(zip(previous.documents, previous.titles, strict=False))[
        :_MAX_CITED_TITLES
    ]:
        if set(extract_terms(title)) & set(extract_terms(asked)):
            return title, document
    return None, None


def _find_names(text: str) -> list[str]:
    """Names and designations in a question, its first word left aside unless it holds a digit."""
    return [
        match[0]
        for match in _NAME_PATTERN.finditer(text)
        if match.start() or re.search(r"\d", match[0])
        if match[0].lower() not in _QUESTION_WORDS
    ]


def _adapt_earlier_question(change: str, earlier: str) -> str:
    """The question before, with something else in the place of its own kind, or with a circumstance more."""
    names, others = _find_names(f" {change}"), _find_names(earlier)
    if names and others:
        like = [other for other in others if other.split()[0] == names[-1].split()[0]] or others
        return earlier.replace(like[-1], names[-1], 1)
    preposition = _STARTS_WITH_PREPOSITION.match(change)
    if preposition:
        same = re.search(
            rf"\b{preposition['preposition']}\s+(?:(?!{_PREPOSITION}\b)\S+\s*)+",
            earlier,
            re.IGNORECASE,
        )
        if same:
            return f"{earlier[: same.start()]}{change} {earlier[same.end() :]}".strip()
        return f"{earlier} {change}"
    if _is_full_question(change):
        return change
    return (
        f"{earlier} for {change}"
        if not re.match(r"(?:if|when|where|whether)\b", change, re.IGNORECASE)
        else f"{earlier} {change}"
    )


def _capitalize_question(text: str) -> str:
    text = " ".join(text.split()).replace(" ?", "?")
    return text[:1].upper() + text[1:]
