"""Relevance of a sentence to the question, so that a model cannot be led to another subject."""

from retrieval.types import SearchResult
from serving.answering.question import collect_terms
from serving.answering.types import DraftSentence

# Cosine of an evidence sentence to the question. In SQuAD, half a percent of the sentences that
# answer lie below (0.19).
MIN_QUESTION_COSINE = 0.2


def is_relevant(sentence: DraftSentence, evidence: SearchResult) -> bool:
    """Return true if a sentence cites text close to the question or with one of its words.

    A question is not relevant. A sentence without citations is: verification decides about it.
    """
    if sentence.text.rstrip("\"'”’) ").endswith("?"):
        return False
    question_terms = collect_terms(evidence.question)
    has_citation = False
    for support in sentence.support:
        if not 0 <= support.hit_index < len(evidence.hits):
            continue
        hit = evidence.hits[support.hit_index]
        for cited in hit.sentences:
            if not cited.span.overlaps(support.span):
                continue
            has_citation = True
            if cited.cosine is None or cited.cosine >= MIN_QUESTION_COSINE:
                return True
            if question_terms & collect_terms(hit.quote(cited.span)):
                return True
    return not has_citation
