"""Metrics of retrieval and refusal, each with the source of its formula.

A ranking is a list of document ids, best first, none twice. Judgements map ids to grades; a grade
above 0 is relevant.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from core.errors import InvalidInput


def ndcg(ranking: Sequence[str], judgements: Mapping[str, int], cutoff: int = 10) -> float:
    """Return nDCG, 0 to 1: the sum of grade / log2(rank + 1), over the highest possible sum.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002), with linear
    gain as in trec_eval and BEIR. 0 if nothing is relevant.
    """
    ideal = sorted((grade for grade in judgements.values() if grade > 0), reverse=True)
    best = _discounted_gain(ideal[:cutoff])
    gains = [max(judgements.get(name, 0), 0) for name in ranking[:cutoff]]
    return _discounted_gain(gains) / best if best else 0.0


def recall(ranking: Sequence[str], judgements: Mapping[str, int], cutoff: int = 100) -> float:
    """Return the fraction of relevant documents among the first `cutoff`; 0 without any.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval" (2008), chapter 8.
    """
    relevant = _relevant_documents(judgements)
    return _safe_ratio(len(relevant.intersection(ranking[:cutoff])), len(relevant))


def reciprocal_rank(
    ranking: Sequence[str], judgements: Mapping[str, int], cutoff: int = 10
) -> float:
    """Return 1 / rank of the first relevant document up to `cutoff`, else 0. The mean is MRR.

    Voorhees, "The TREC-8 Question Answering Track Report" (1999).
    """
    relevant = _relevant_documents(judgements)
    for rank, name in enumerate(ranking[:cutoff], start=1):
        if name in relevant:
            return 1 / rank
    return 0.0


def success_at_k(ranking: Sequence[str], judgements: Mapping[str, int], cutoff: int = 1) -> float:
    """Return 1 if a relevant document is among the first `cutoff`, else 0."""
    return float(bool(_relevant_documents(judgements).intersection(ranking[:cutoff])))


def auroc(positive: Collection[float], negative: Collection[float]) -> float:
    """Return the probability that a positive scores above a negative; 0.5 without data.

    A tie counts half. It equals the area under the ROC curve: Hanley and McNeil (1982), by the rank
    sum of Mann and Whitney (1947).
    """
    if not positive or not negative:
        return 0.5
    rank_sum, below = 0.0, 0
    for positives, negatives in _count_by_score(positive, negative):
        mean_rank = below + (positives + negatives + 1) / 2  # of the tied scores
        rank_sum += positives * mean_rank
        below += positives + negatives
    return (rank_sum - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))


def precision(true_positives: int, false_positives: int) -> float:
    """Return the fraction of the predicted positives that are positive; 0 without any."""
    return _safe_ratio(true_positives, true_positives + false_positives)


def recall_of_class(true_positives: int, false_negatives: int) -> float:
    """Return the fraction of the positives that were predicted; 0 without any."""
    return _safe_ratio(true_positives, true_positives + false_negatives)


def balanced_accuracy(
    positive: Collection[float], negative: Collection[float], threshold: float
) -> float:
    """Return the mean fraction of positives at or above the threshold and negatives below.

    Brodersen and others, "The balanced accuracy and its posterior distribution" (2010).
    """
    sensitivity = _safe_ratio(sum(score >= threshold for score in positive), len(positive))
    specificity = _safe_ratio(sum(score < threshold for score in negative), len(negative))
    return (sensitivity + specificity) / 2


def best_balanced_accuracy(positive: Collection[float], negative: Collection[float]) -> float:
    """Return the highest balanced accuracy that any threshold gives on these scores."""
    if not positive or not negative:
        return 0.5
    above, below, best = len(positive), 0, 0.5
    for positives, negatives in _count_by_score(positive, negative):
        above -= positives
        below += negatives
        best = max(best, (above / len(positive) + below / len(negative)) / 2)
    return best


def percentile(values: Collection[float], percent: float) -> float:
    """Return the smallest value that `percent` of the values do not exceed; 0 for no values.

    Raises:
        InvalidInput: `percent` outside 0..100.
    """
    if not 0 <= percent <= 100:
        raise InvalidInput(f"The percentile {percent} is out of range. Use 0 to 100.")
    if not values:
        return 0.0
    rank = max(math.ceil(percent / 100 * len(values)), 1)
    return sorted(values)[rank - 1]


def mean(values: Collection[float]) -> float:
    """Return the arithmetic mean; 0 for no values."""
    return math.fsum(values) / len(values) if values else 0.0


def _count_by_score(
    positive: Collection[float], negative: Collection[float]
) -> Iterator[tuple[int, int]]:
    """Yield the numbers of positives and negatives with each score, the lowest score first."""
    positives, negatives = Counter(positive), Counter(negative)
    for score in sorted(positives | negatives):
        yield positives[score], negatives[score]


def _safe_ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _relevant_documents(judgements: Mapping[str, int]) -> set[str]:
    return {name for name, grade in judgements.items() if grade > 0}


def _discounted_gain(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
