"""The citation contract, kept by the server for every generator: no sentence without evidence that stands there, and
none that says what its evidence doesn't.
"""

import re
from collections.abc import Iterable, Sequence

from knowledge.analysis import terms
from retrieval.evidence import table_rows
from retrieval.types import Evidence, Hit
from serving.types import Answer, AnswerSentence, Citation, Draft, DraftSentence, Refusal, Support

CLOSEST = 3  # passages shown with a refusal
OVERLAP = 0.5  # share of a sentence's terms that its quotes must hold; the rest may be the writer's own

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NAME = re.compile(r"(?<=[\w,;:)] )[A-Z][\w'’-]+")  # a capital inside a sentence
NEGATION = re.compile(r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot)\b|n't\b", re.IGNORECASE)


def verify(draft: Draft, evidence: Evidence) -> Draft:
    """The draft without what does not hold: a support must stand in the passage it names, a sentence needs one, and
    its numbers, names and negations must be those of its quotes.
    """
    kept = []
    for sentence in draft.sentences:
        support = tuple(support for support in sentence.support if _stands(support, evidence))
        if support and sentence.text.strip() and supported(sentence.text, support, evidence.hits):
            kept.append(DraftSentence(sentence.text, support))
    return Draft(tuple(kept))


def supported(text: str, support: Sequence[Support], hits: Sequence[Hit]) -> bool:
    """Whether a sentence says no more than its quotes, as far as that can be told literally. Headings and the names of
    a table's columns count as said; negations must be in the quotes themselves.
    """
    quotes = [hits[each.hit].quote(each.span) for each in support]
    said = " ".join([*quotes, *(_frame(hits[each.hit]) for each in support)])
    if not set(NUMBER.findall(text)) <= set(NUMBER.findall(said)):
        return False
    known, own = set(terms(said)), set(terms(text))
    if not {term for name in NAME.findall(text) for term in terms(name)} <= known:
        return False
    denied = [bool(NEGATION.search(quote)) for quote in quotes]
    if any(denied) != bool(NEGATION.search(text)) and (all(denied) or not any(denied)):
        return False
    return len(own & known) >= OVERLAP * len(own)


def _frame(hit: Hit) -> str:
    """What stands around every sentence of a hit: title, headings, the names of its tables' columns."""
    return " ".join([hit.title, hit.context, *{header for _, header in table_rows(hit)}])


def cite(
    evidence: Evidence,
    draft: Draft,
    refusal: Refusal | None,
    generator: str,
    milliseconds: dict[str, float],
    confidence: float,
) -> Answer:
    """The answer with numbered citations, one for each distinct quote, in the order of reading."""
    numbers: dict[Support, int] = {}
    sentences = []
    for sentence in draft.sentences:
        cited = tuple(numbers.setdefault(support, len(numbers) + 1) for support in sentence.support)
        sentences.append(AnswerSentence(sentence.text, cited))
    if refusal:
        refusal = Refusal(refusal.code, refusal.reason, tuple(closest(evidence.hits)))
    return Answer(
        question=evidence.question, status="refused" if refusal else "answered", sentences=tuple(sentences),
        citations=tuple(_citation(number, evidence.hits[support.hit], support) for support, number in numbers.items()),
        refusal=refusal, generator=generator, documents=evidence.documents, passages=evidence.chunks,
        confidence=confidence, milliseconds=milliseconds,
    )  # fmt: skip


def closest(hits: Iterable[Hit]) -> list[Citation]:
    """The passages that came closest, one a document, each shown by its best sentence."""
    chosen: dict[object, Citation] = {}
    for place, hit in enumerate(hits):
        if hit.document_id not in chosen and len(chosen) < CLOSEST and hit.sentences:
            best = max(hit.sentences, key=lambda sentence: sentence.cosine or 0.0)
            chosen[hit.document_id] = _citation(len(chosen) + 1, hit, Support(place, best.span))
    return list(chosen.values())


def _stands(support: Support, evidence: Evidence) -> bool:
    if not 0 <= support.hit < len(evidence.hits):
        return False
    hit = evidence.hits[support.hit]
    inside = hit.span.start <= support.span.start < support.span.end <= hit.span.end
    return inside and bool(hit.quote(support.span).strip())


def _citation(number: int, hit: Hit, support: Support) -> Citation:
    return Citation(
        number=number, document_id=hit.document_id, title=hit.title, path=hit.path, version=hit.version,
        location=hit.location, quote=hit.quote(support.span), span=support.span,
        also=tuple(other for other in hit.also if other.exact),
    )  # fmt: skip
