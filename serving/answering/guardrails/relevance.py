"""An answer speaks of what was asked: a sentence whose evidence has nothing to do with the question is left out.

That stops a model that was led to another subject, by what it found in a document or by itself, even where it quotes.
"""

from retrieval.types import SearchResult
from serving.answering.question import collect_terms
from serving.answering.types import DraftSentence

MIN_QUESTION_COSINE = 0.2  # cosine to the question; of sentences that answer, in SQuAD, half a percent lie below (0.19)


def is_relevant(sentence: DraftSentence, evidence: SearchResult) -> bool:
    """Whether a sentence states something, and what it cites is near the question or has a word of it; a sentence that
    cites nothing is for the verification to judge.
    """
    if sentence.text.rstrip("\"'”’) ").endswith("?"):
        return False
    asked, cited = collect_terms(evidence.question), False
    for support in sentence.support:
        if not 0 <= support.hit_index < len(evidence.hits):
            continue
        hit = evidence.hits[support.hit_index]
        for each in hit.sentences:
            if each.span.overlaps(support.span):
                cited = True
                if (
                    each.cosine is None
                    or each.cosine >= MIN_QUESTION_COSINE
                    or asked & collect_terms(hit.quote(each.span))
                ):
                    return True
    return not cited
