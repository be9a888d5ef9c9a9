"""Which sentences of a passage speak to a machine rather than to a reader, and by which signs that is told.

Each sign has a weight; where the signs of a sentence add up to 1 or more it is taken for planted: it is never quoted,
carries no answer, and no model gets to see it. The signs are what instructions to an assistant have in common in any
text: they override what it was told, call it by name, speak in its roles, want something hidden, or say how to write
"your response". Whoever plants a plain falsehood is not found here: docs/reference/guardrails.md says what is left.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from core.text.invisible import decode_tag_characters, remove_invisible
from core.types import Span
from retrieval.types import Hit

MIN_INJECTION_SCORE = 1.0  # weights together from which a sentence is planted
PARAGRAPH_PATTERN = re.compile(r"(?:[^\n]|\n(?!\n))+")

_REPLY_WORDS = r"(?:answers?|repl(?:y|ies)|responses?|outputs?|completions?|summar(?:y|ies))"
_ASSISTANT_WORDS = (
    r"(?:(?:automated|ai|digital|virtual|artificial|llm|language[ -]model|chat) ?-?"
    r"(?:assistants?|agents?|systems?|models?|bots?|readers?|tools?)|chat ?bots?|llms?|language models?|chatgpt"
    r"|gpt-?\d?)"
)
_INSTRUCTION_WORDS = r"(?:instructions?|polic(?:y|ies)|rules?|prompts?|guidelines?|directives?|restrictions?|guardrails?|commands?)"


@dataclass(frozen=True, slots=True)
class InjectionSign:
    """One mark of a planted instruction. A grave one makes the rest of its paragraph as suspicious as its sentence."""

    name: str
    weight: float
    pattern: re.Pattern[str]
    taints_paragraph: bool = False


def _compile_sign(
    name: str, weight: float, pattern: str, *, taints_paragraph: bool = False
) -> InjectionSign:
    return InjectionSign(
        name, weight, re.compile(pattern, re.IGNORECASE | re.MULTILINE), taints_paragraph
    )


INJECTION_SIGNS = (
    _compile_sign(
        "overrides what a model was told",
        1.0,
        rf"\b(?:ignore|disregard|forget)\b[^.]{{0,30}}\b(?:all|any|other|original)\b[^.]{{0,30}}\b{_INSTRUCTION_WORDS}\b"
        rf"|\b(?:ignore|disregard|forget|override|bypass|overwrite|discard)\b[^.]{{0,30}}"
        rf"\b(?:previous|prior|earlier|above|preceding|former|your|system)\b[^.]{{0,30}}\b{_INSTRUCTION_WORDS}\b"
        rf"|\b(?:ignore|disregard|forget)\b[^.]{{0,20}}\b{_INSTRUCTION_WORDS}\b[^.]{{0,12}}\b(?:above|before)\b"
        rf"|\b(?:ignore|disregard|forget)\b[^.]{{0,20}}\b(?:everything|all|anything)\b[^.]{{0,20}}"
        rf"\b(?:above|before|told|said so far)\b"
        rf"|\bnew (?:system )?{_INSTRUCTION_WORDS}\s*:|\byour new (?:task|role|{_INSTRUCTION_WORDS})\b",
        taints_paragraph=True,
    ),
    _compile_sign(
        "calls an assistant by name",
        1.0,
        rf"\b(?:to|for|dear|hey|hello|attention|note to|notice to|all) (?:all |any |the |other )?{_ASSISTANT_WORDS}\b"
        rf"(?=[^.]{{0,60}}(?::|\b(?:must|should|you|please|processing|reading|summari[sz]ing)\b))"
        rf"|\b{_ASSISTANT_WORDS} (?:processing|reading|summari[sz]ing|answering|parsing)\b"
        rf"|\b(?:if|as|since|because) you(?: are|'re)? (?:an? |the )?{_ASSISTANT_WORDS}\b"
        rf"|\byou are (?:now )?(?:an? |the ){_ASSISTANT_WORDS}\b",
        taints_paragraph=True,
    ),
    _compile_sign(
        "speaks in a role of the conversation",
        1.0,
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)\b[^>]*>|\[/?INST\]|<</?SYS>>"
        r"|</?(?:system|assistant|instructions?)>"
        r"|^\W*(?:system (?:note|message|prompt|instruction|override)s?|new instructions?)\s*:"
        r"|^#{2,} ?(?:system|instructions?|assistant)\s*:"
        r"|\bend of (?:the )?(?:document|passage|context|system prompt)s?\]",
        taints_paragraph=True,
    ),
    _compile_sign(
        "begins as the assistant or the system", 0.6, r"^\W*(?:assistant|ai|system|user)\s*:"
    ),
    _compile_sign(
        "speaks of the prompt",
        1.0,
        r"\b(?:your|the) system (?:prompt|message)\b"
        r"|\byour (?:hidden|secret|initial|original) (?:prompt|instructions?)\b"
        r"|\bdo anything now\b|\bfrom now on,? you (?:are|will|must|only)\b",
        taints_paragraph=True,
    ),
    _compile_sign(
        "wants to stay hidden",
        1.0,
        r"\b(?:do not|don't|never|without)\b[^.]{0,20}\b(?:mention|mentioning|reveal|revealing|disclos\w+|tell\w*"
        r"|show\w*|repeat\w*)\b[^.]{0,25}"
        r"\b(?:this|these|those) (?:note|text|message|instruction|prompt|request|command)s?\b"
        r"|\bwithout (?:telling|informing|alerting) the (?:user|reader)\b",
        taints_paragraph=True,
    ),
    _compile_sign(
        "tells an assistant to send something away",
        0.6,
        r"\b(?:send|forward|post|e-?mail|upload|exfiltrate|append|submit|leak)\b[^.]{0,60}"
        r"\b(?:contents?|conversation|chat|history|documents?|data|secrets?|passwords?|credentials|details|keys?)\b"
        r"[^.]{0,60}(?:https?:|www\.|\S@\S|\b[\w-]+\.(?:com|net|org|io|xyz|example|info|biz|ru|cn)\b)",
    ),
    _compile_sign(
        "says what to write in the reply",
        0.7,
        rf"\byour (?:\w+ )?{_REPLY_WORDS}\b"
        rf"|\b(?:in|to|of|into) (?:the|each|every|any) {_REPLY_WORDS}\b[^.]{{0,30}}\b(?:users?|readers?)\b",
    ),
    _compile_sign(
        "says how to write the message",
        0.5,
        r"\byour (?:\w+ )?(?:messages?|texts?|words?|sentences?|writing)\b",
    ),
    _compile_sign(
        "orders a piece of writing",
        1.0,
        r"^\W*(?:please |now |then |also |instead,? |finally,? )*(?:write|compose|craft|draft|create|generate|produce)"
        r" (?:me |us )?(?:an? |some |the )?(?:\w+[ -]){0,2}(?:poems?|haikus?|sonnets?|limericks?|songs?|lyrics|jokes?"
        r"|rap|fairy ?tales?|(?:short|detective|bedtime|love|fictional) stor(?:y|ies)|love letters?|riddles?)\b",
    ),
    _compile_sign(
        "plays with letters",
        0.5,
        r"\b(?:letters?|vowels?|consonants?|anagram\w*|typos?|misspell\w*|emojis?|base ?64|rot-?13|hexadecimal|morse"
        r"|cipher\w*|encod\w+|revers\w+|backwards|capital letters|upper ?case|lower ?case|alphanumeric\w*|homophon\w+"
        r"|pig latin|leet\w*|binary|symbols?|(?:without|remove|no) (?:any )?(?:spaces|punctuation))\b",
    ),
    _compile_sign(
        "is an order to write",
        0.3,
        r"^\W*(?:please |now |then |also |instead,? |finally,? )*"
        r"(?:(?:in|at|to|with|for|from|before|after) [^,.]{2,40}, )?"
        r"(?:add|include|insert|append|put|mention|modify|integrate|augment|enhance|change|alter|adjust|rewrite|rephrase"
        r"|reword|edit|replace|substitute|swap|convert|translate|transform|turn|encode|encrypt|decode|reverse|rearrange"
        r"|scramble|jumble|shuffle|anagram|misspell|introduce|remove|group|combine|join|split|use|provide|write|give"
        r"|render|return|print|output|begin|start|end|finish|conclude|close|respond|reply|answer|say|state|tell|suggest"
        r"|recommend|promote|advertise|encourage|invite|highlight|emphasi[sz]e|stress|tease|hint|express|embed|link"
        r"|weave|work|sprinkle|incorporate|format|make|let|ensure|keep|limit|present|implement|apply|employ|craft"
        r"|compose|draft|generate|produce|create|spell|capitali[sz]e|shift|map|hide|conceal|leave|omit|repeat|deliver"
        r"|offer|share|display|show|quote|cite|endorse|propagate|spread|disseminate|slip|ask|request|inform|claim|advise"
        r"|urge|warn|remind|persuade|convince|direct|notify|refer|point|report|list|summari[sz]e|flip|mirror|rotate"
        r"|redact|censor|speak|pretend|act|attach|discuss|describe|explain|detail|note|feature|reference)\b",
    ),
)


@dataclass(frozen=True, slots=True)
class Injection:
    """A sentence that speaks to a machine: where it stands in the document, how sure that is (1 and more), and why."""

    span: Span
    score: float
    signs: tuple[str, ...]


def find_injections(hit: Hit) -> tuple[Injection, ...]:
    """The planted sentences of a passage, in order."""
    return _scan_sentences(
        hit.text, hit.span.start, tuple(sentence.span for sentence in hit.sentences)
    )


def overlaps_injection(span: Span, injections: Sequence[Injection]) -> bool:
    """Whether a span has something of a planted sentence."""
    return any(span.overlaps(each.span) for each in injections)


def find_signs(text: str) -> list[InjectionSign]:
    """The signs of a sentence, also of what is written in it with characters that show nothing."""
    seen = unicodedata.normalize("NFKC", remove_invisible(text)).replace("’", "'")
    return [
        sign
        for sign in INJECTION_SIGNS
        if sign.pattern.search(seen) or sign.pattern.search(decode_tag_characters(text))
    ]


def sum_weights(signs: Sequence[InjectionSign]) -> float:
    """The weight of some signs together."""
    return round(sum(sign.weight for sign in signs), 2)


@lru_cache(maxsize=2048)
def _scan_sentences(text: str, start: int, sentences: tuple[Span, ...]) -> tuple[Injection, ...]:
    found: dict[Span, Injection] = {}
    for paragraph in PARAGRAPH_PATTERN.finditer(text):
        grave: Injection | None = None
        for span in sentences:
            if not start + paragraph.start() <= span.start < start + paragraph.end():
                continue
            some = find_signs(text[span.start - start : span.end - start])
            here = Injection(span, sum_weights(some), tuple(sign.name for sign in some))
            if here.score >= MIN_INJECTION_SCORE:
                found[span] = here
                grave = here if any(sign.taints_paragraph for sign in some) else grave
            elif grave:
                found[span] = Injection(span, grave.score, grave.signs)
    return tuple(found.values())


def is_injection(text: str) -> bool:
    """Whether a line of its own, such as a title or a heading, is planted."""
    return sum_weights(find_signs(text)) >= MIN_INJECTION_SCORE
