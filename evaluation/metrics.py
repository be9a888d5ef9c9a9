"""The figures that say how good retrieval and refusal are; each is a few lines, and its formula has a source.

A ranking is a list of document ids, best first, none twice. Judgements map ids to grades; a grade above 0 is relevant.
"""

import math
from collections.abc import Collection, Mapping, Sequence

from core.errors import InvalidInput


def ndcg(ranking: Sequence[str], judgements: Mapping[str, int], cutoff: int = 10) -> float:
    """Normalised discounted cumulative gain, 0 to 1: the sum of grade / log2(rank + 1), over the best such sum.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002), with linear gain as trec_eval
    and BEIR have it. 0 where nothing is relevant.
    """
    best = _discounted_gain(
        sorted((grade for grade in judgements.values() if grade > 0), reverse=True)[:cutoff]
    )
    return (
        _discounted_gain([max(judgements.get(name, 0), 0) for name in ranking[:cutoff]]) / best
        if best
        else 0.0
    )


def recall(ranking: Sequence[str], judgements: Mapping[str, int], cutoff: int = 100) -> float:
    """The share of the relevant documents that stand among the first `cutoff`; 0 where nothing is relevant.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval" (2008), chapter 8.
    """
    wanted = _relevant_documents(judgements)
    return len(wanted.intersection(ranking[:cutoff])) / len(wanted) if wanted else 0.0


def reciprocal_rank(
    ranking: Sequence[str], judgements: Mapping[str, int], cutoff: int = 10
) -> float:
    """1 / rank of the first relevant document among the first `cutoff`, else 0. Its mean over questions is MRR.

    Voorhees, "The TREC-8 Question Answering Track Report" (1999).
    """
    wanted = _relevant_documents(judgements)
    return next(
        (1 / rank for rank, name in enumerate(ranking[:cutoff], start=1) if name in wanted), 0.0
    )


def success_at_k(ranking: Sequence[str], judgements: Mapping[str, int], cutoff: int = 1) -> float:
    """1 where a relevant document stands among the first `cutoff`, else 0; also called success at k."""
    return float(bool(_relevant_documents(judgements).intersection(ranking[:cutoff])))


def auroc(positive: Collection[float], negative: Collection[float]) -> float:
    """The chance that a positive scores above a negative, ties counted half; 0.5 is guessing, also for no data.

    It equals the area under the ROC curve: Hanley and McNeil (1982), by the rank sum of Mann and Whitney (1947).
    """
    if not positive or not negative:
        return 0.5
    ordered = sorted([(score, True) for score in positive] + [(score, False) for score in negative])
    ranks, at = 0.0, 0
    while at < len(ordered):
        end = at
        while end < len(ordered) and ordered[end][0] == ordered[at][0]:
            end += 1
        ranks += (
            sum(is_positive for _, is_positive in ordered[at:end]) * (at + 1 + end) / 2
        )  # tied: their mean rank
        at = end
    return (ranks - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))


def precision(true_positives: int, false_positives: int) -> float:
    """The share of what was called positive that is; 0 where nothing was."""
    return _safe_ratio(true_positives, true_positives + false_positives)


def recall_of_class(true_positives: int, false_negatives: int) -> float:
    """The share of the positives that were called so; 0 where there are none."""
    return _safe_ratio(true_positives, true_positives + false_negatives)


def balanced_accuracy(
    positive: Collection[float], negative: Collection[float], threshold: float
) -> float:
    """The mean of the shares of positives at or above the threshold and of negatives below it; 0.5 is guessing.

    Brodersen and others, "The balanced accuracy and its posterior distribution" (2010).
    """
    sensitivity = _safe_ratio(sum(score >= threshold for score in positive), len(positive))
    specificity = _safe_ratio(sum(score < threshold for score in negative), len(negative))
    return (sensitivity + specificity) / 2


def best_balanced_accuracy(positive: Collection[float], negative: Collection[float]) -> float:
    """The highest balanced accuracy that any threshold gives on these very scores: what is in them at the most."""
    ordered = sorted([(score, True) for score in positive] + [(score, False) for score in negative])
    if not positive or not negative:
        return 0.5
    above, below, best = len(positive), 0, 0.5
    for place, (score, is_positive) in enumerate(ordered):
        above, below = above - is_positive, below + (not is_positive)
        if place + 1 == len(ordered) or ordered[place + 1][0] != score:
            best = max(best, (above / len(positive) + below / len(negative)) / 2)
    return best


def percentile(values: Collection[float], percent: float) -> float:
    """The smallest value that at least `percent` of them do not exceed (nearest rank); 0 for no values.

    Raises:
        InvalidInput: `percent` outside 0..100.
    """
    if not 0 <= percent <= 100:
        raise InvalidInput(f"A percentile is between 0 and 100; {percent} is not.")
    ordered = sorted(values)
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1] if ordered else 0.0


def mean(values: Collection[float]) -> float:
    """The arithmetic mean; 0 for no values."""
    return math.fsum(values) / len(values) if values else 0.0


def _safe_ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _relevant_documents(judgements: Mapping[str, int]) -> set[str]:
    return {name for name, grade in judgements.items() if grade > 0}


def _discounted_gain(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
