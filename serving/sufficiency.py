"""Is the answer in the evidence? A small model that a person can read decides; if not, the answer is a refusal."""

from retrieval.types import Evidence
from serving.extractive import coverage
from serving.types import Refusal

LEAST_COSINE = 0.35
LEAST_COVERAGE = 0.45


def threshold() -> float:
    """The confidence below which is refused."""
    return LEAST_COVERAGE


def confidence(evidence: Evidence) -> float:
    """How likely the evidence holds the answer, 0 to 1."""
    return max((coverage(evidence.idf, f"{hit.context} {hit.text}") for hit in evidence.hits[:5]), default=0.0)


def assess(evidence: Evidence) -> Refusal | None:
    """None when the evidence may hold the answer, else why not."""
    if not evidence.hits:
        return Refusal("no_evidence", "Nothing that you may read matches the question.", ())
    cosine = max((s.cosine or 0.0) for hit in evidence.hits[:5] for s in hit.sentences)
    covered = max(coverage(evidence.idf, f"{hit.context} {hit.text}") for hit in evidence.hits[:5])
    if cosine < LEAST_COSINE or covered < LEAST_COVERAGE:
        return Refusal("no_evidence", "The documents that you may read do not seem to hold the answer.", ())
    return None
