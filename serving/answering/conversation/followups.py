"""Rules that make a follow-up question understandable alone.

    How deep may I lower the Heron 200?         What about the Heron 210?  replace a name
    How often is it calibrated in waste water?  And in drinking water?     replace a circumstance
    What does ERR-4711 mean?                    How do I clear it?         replace a pronoun
    How much leave do I have?                   And for part-timers?       add a circumstance
    May I work from abroad?                     Who approves that?         replace it by an action

Every word of the result is in the question, in the question before, or in the title of a document
that its answer cited. The words and patterns are in core/text/english/follow_ups.yaml.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from core.text.lexicon import load_lexicon
from core.text.terms import extract_terms
from serving.answering.conversation.history import Turn

_LEXICON = load_lexicon("follow_ups")
_LINK = _LEXICON.pattern("link")
_STARTING_PREPOSITION = _LEXICON.pattern("starting_preposition")
_PREPOSITION_PHRASE = _LEXICON.expand(_LEXICON["preposition_phrase"])
_PRONOUN = _LEXICON.pattern("pronoun")
_POSSESSIVE_PRONOUNS = _LEXICON.words("possessive_pronouns")
_ACTION_PRONOUNS = _LEXICON.words("action_pronouns")
_IMPERSONAL = _LEXICON.pattern("impersonal")
_CLAUSE_BOUNDARY = _LEXICON.pattern("clause_boundary")
_BARE_QUESTION = _LEXICON.pattern("bare_question")
_QUESTION_WORDS = _LEXICON.words("question_words")
_WEAK_TERMS = frozenset(extract_terms(_LEXICON["weak_words"]))
_NAME = _LEXICON.pattern("name", flags=re.NOFLAG)
_ACTION_QUESTION = _LEXICON.pattern("action_question")
_THING = _LEXICON.pattern("thing")
_OWNED = _LEXICON.pattern("owned")
_PRONOUN_NOUN = _LEXICON.pattern("pronoun_noun")
_SUBORDINATE_CLAUSE = _LEXICON.pattern("subordinate_clause")
_MAX_CITED_TITLES = 3  # titles of the previous turn that may lend a word
_QUESTION_ENDINGS = "?!. "


@dataclass(frozen=True, slots=True)
class StandaloneQuestion:
    """A question that needs no other; `leans_on` is the document whose title it uses."""

    text: str
    leans_on: UUID | None = None


def is_follow_up(question: str) -> bool:
    """Return true if a question shows a sign that it needs the one before."""
    text = question.strip()
    if _BARE_QUESTION.match(text):
        return True
    if _STARTING_PREPOSITION.match(text) and not _is_full_question(text):
        return True
    link = _LINK.match(text)
    if link and link["rest"]:
        return True
    if link and (not _is_full_question(link["more"]) or _find_open_pronoun(link["more"])):
        return True
    return _find_open_pronoun(text) is not None


def make_standalone(question: str, turns: Sequence[Turn]) -> StandaloneQuestion:
    """Return a follow-up question completed from the last turn, and any other question as it is."""
    text = question.strip()
    if not turns or not is_follow_up(text):
        return StandaloneQuestion(question)
    previous = turns[-1]
    if _BARE_QUESTION.match(text):
        return StandaloneQuestion(_append_earlier_question(text, previous))
    link = _LINK.match(text)
    rest = (link["rest"] or link["more"]) if link else text
    pronoun = _find_open_pronoun(rest)
    if pronoun:
        return _replace_pronoun(rest, pronoun, previous)
    earlier = previous.asked_as.strip().rstrip(_QUESTION_ENDINGS)
    adapted = _adapt_earlier_question(rest.rstrip(_QUESTION_ENDINGS), earlier)
    return StandaloneQuestion(_capitalize_question(f"{adapted}?"))


def _is_full_question(text: str) -> bool:
    """Return true for a text that begins like a question and names a subject."""
    words = text.lower().split()
    asks = any(word.strip(",") in _QUESTION_WORDS for word in words[:6])
    return asks and len(extract_terms(text)) >= 2


def _find_open_pronoun(text: str) -> re.Match[str] | None:
    """Return the first pronoun that points to nothing in the question.

    A pronoun can point to an earlier clause, a possessive to anything before it.
    """
    for pronoun in _PRONOUN.finditer(text):
        before, after = text[: pronoun.start()], text[pronoun.end() :]
        if pronoun[0].lower() not in _POSSESSIVE_PRONOUNS:
            boundaries = [boundary.start() for boundary in _CLAUSE_BOUNDARY.finditer(before)]
            before = before[: boundaries[-1]] if boundaries else ""
        if any(term not in _WEAK_TERMS for term in extract_terms(before)):
            return None
        if pronoun[0].lower() == "it" and _IMPERSONAL.match(after):
            continue
        return pronoun
    return None


def _replace_pronoun(text: str, pronoun: re.Match[str], previous: Turn) -> StandaloneQuestion:
    """Return the question with the subject of the previous turn instead of the pronoun."""
    word = pronoun[0].lower()
    subject, leans_on = _find_subject(previous, prefers_action=word in _ACTION_PRONOUNS)
    if subject is None:
        return StandaloneQuestion(_append_earlier_question(text, previous))
    before, after = text[: pronoun.start()], text[pronoun.end() :]
    owned = _OWNED.match(after) if word in _POSSESSIVE_PRONOUNS else None
    if owned:
        replaced = f"{before}the {owned['owned']} of {subject}{after[owned.end() :]}"
    else:
        noun = _PRONOUN_NOUN.match(after)
        replaced = f"{before}{subject}{after[noun.end() if noun else 0 :]}"
    return StandaloneQuestion(_capitalize_question(replaced), leans_on)


def _find_subject(previous: Turn, *, prefers_action: bool) -> tuple[str | None, UUID | None]:
    """Return the subject of the previous turn: an action, a name, a thing or a cited title."""
    question = previous.asked_as.strip().rstrip(_QUESTION_ENDINGS)
    action = _ACTION_QUESTION.match(question)
    if prefers_action and action:
        return action["action"], None
    things = [match["thing"] for match in _THING.finditer(question)]
    names = _find_names(question)
    if names:
        return _with_article(names[-1], things), None
    if things:
        return f"the {max(things, key=len)}", None
    if action:
        return action["action"], None
    for document, title in list(zip(previous.documents, previous.titles, strict=False))[
        :_MAX_CITED_TITLES
    ]:
        if set(extract_terms(title)) & set(extract_terms(question)):
            return title, document
    return None, None


def _with_article(name: str, things: Sequence[str]) -> str:
    """Return a name the way the question has it: "the Heron 200", or the name alone."""
    for thing in things:
        for part in thing.split(" of "):
            bare = part.removeprefix("the ").removeprefix("a ")
            if name in bare:
                return f"the {bare}"
    return name


def _find_names(text: str) -> list[str]:
    """Return names and designations; a first word counts only if it has a digit."""
    return [
        match[0]
        for match in _NAME.finditer(text)
        if (match.start() or re.search(r"\d", match[0])) and match[0].lower() not in _QUESTION_WORDS
    ]


def _adapt_earlier_question(change: str, earlier: str) -> str:
    """Return the earlier question with its name or circumstance replaced, or with one more."""
    names, earlier_names = _find_names(f" {change}"), _find_names(earlier)
    if names and earlier_names:
        kind = names[-1].split()[0]
        same_kind = [name for name in earlier_names if name.split()[0] == kind]
        return earlier.replace((same_kind or earlier_names)[-1], names[-1], 1)
    starting = _STARTING_PREPOSITION.match(change)
    if starting:
        pattern = rf"\b{starting['preposition']}{_PREPOSITION_PHRASE}"
        phrase = re.search(pattern, earlier, re.IGNORECASE)
        if phrase:
            return f"{earlier[: phrase.start()]}{change} {earlier[phrase.end() :]}".strip()
        return f"{earlier} {change}"
    if _is_full_question(change):
        return change
    if _SUBORDINATE_CLAUSE.match(change):
        return f"{earlier} {change}"
    return f"{earlier} for {change}"


def _append_earlier_question(text: str, previous: Turn) -> str:
    earlier = previous.asked_as.strip().rstrip(_QUESTION_ENDINGS)
    return _capitalize_question(f"{text.rstrip(_QUESTION_ENDINGS)}: {earlier}?")


def _capitalize_question(text: str) -> str:
    text = " ".join(text.split()).replace(" ?", "?")
    return text[:1].upper() + text[1:]
