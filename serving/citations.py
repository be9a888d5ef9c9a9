"""The citation contract, kept by the server for every generator: no sentence without evidence that stands there."""

from collections.abc import Iterable

from retrieval.types import Evidence, Hit
from serving.sufficiency import confidence
from serving.types import Answer, AnswerSentence, Citation, Draft, DraftSentence, Refusal, Support

CLOSEST = 3  # passages shown with a refusal


def verify(draft: Draft, evidence: Evidence) -> Draft:
    """The draft without what does not hold: a support must lie inside the passage it names, a sentence needs one."""
    kept = []
    for sentence in draft.sentences:
        support = tuple(support for support in sentence.support if _stands(support, evidence))
        if support and sentence.text.strip():
            kept.append(DraftSentence(sentence.text, support))
    return Draft(tuple(kept))


def cite(
    evidence: Evidence, draft: Draft, refusal: Refusal | None, generator: str, milliseconds: dict[str, float]
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
        confidence=confidence(evidence), milliseconds=milliseconds,
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
    whole = evidence.hits[support.hit].span
    return whole.start <= support.span.start < support.span.end <= whole.end


def _citation(number: int, hit: Hit, support: Support) -> Citation:
    return Citation(
        number=number, document_id=hit.document_id, title=hit.title, path=hit.path, version=hit.version,
        location=hit.location, quote=hit.quote(support.span), span=support.span,
    )  # fmt: skip
