"""Quality of answers, citations and refusals.

There are two kinds of questions: the golden file of the sample, in which each question names the
documents and strings that its answer needs, and questions with accepted answers about a corpus, as
in SQuAD.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.principal import Principal
from core.services import Services
from evaluation.datasets import CorpusQuestion, GoldenQuestion, QuestionKind
from evaluation.metrics import (
    auroc,
    balanced_accuracy,
    best_balanced_accuracy,
    mean,
    precision,
    recall_of_class,
)
from evaluation.retrieval import StepCallback
from serving.answering.answerability import load_threshold
from serving.answering.generator.registry import create_generator
from serving.answering.pipeline import answer_question
from serving.answering.types import Answer, Citation
from serving.gateway.types import Models

Report = dict[str, Any]
"""Figures by name, for `--json`."""


@dataclass(frozen=True, slots=True)
class GoldenOutcome:
    """The answer to a golden question; without `failures` it is correct."""

    question_id: str
    kind: QuestionKind
    question: str
    answer: str
    cited: tuple[str, ...]
    failures: tuple[str, ...]

    @property
    def is_correct(self) -> bool:
        """True without failures."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """The outcomes of a golden file."""

    outcomes: tuple[GoldenOutcome, ...]

    @property
    def correct_share(self) -> float:
        """The fraction of correct answers, 0 to 1."""
        return mean([outcome.is_correct for outcome in self.outcomes])

    def as_dict(self) -> Report:
        """Return the counts, in all and of each kind, and the failures."""
        by_kind: dict[str, list[GoldenOutcome]] = {}
        for outcome in self.outcomes:
            by_kind.setdefault(outcome.kind, []).append(outcome)
        failed = [asdict(outcome) for outcome in self.outcomes if not outcome.is_correct]
        return {
            **_count_correct(self.outcomes),
            "share": round(self.correct_share, 4),
            "kinds": {kind: _count_correct(outcomes) for kind, outcomes in by_kind.items()},
            "failed": failed,
        }


def _count_correct(outcomes: Sequence[GoldenOutcome]) -> dict[str, int]:
    return {"questions": len(outcomes), "correct": sum(outcome.is_correct for outcome in outcomes)}


def evaluate_golden(
    services: Services, questions: Sequence[GoldenQuestion], on_progress: StepCallback
) -> GoldenReport:
    """Ask each golden question as its principal; one step a question."""
    outcomes = []
    for golden in questions:
        answer = answer_question(services, Principal(golden.tenant, golden.groups), golden.question)
        outcome = GoldenOutcome(
            golden.question_id,
            golden.kind,
            golden.question,
            answer.text,
            tuple(dict.fromkeys(citation.path for citation in answer.citations)),
            tuple(find_failures(golden, answer, questions)),
        )
        outcomes.append(outcome)
        on_progress(1)
    return GoldenReport(tuple(outcomes))


def evaluate_questions(
    services: Services,
    tenant: str,
    questions: Sequence[CorpusQuestion],
    passage_ids: Collection[str],
    on_progress: StepCallback,
    models: Models | None = None,
) -> Report:
    """Ask each question of a tenant with the passages of a corpus; one step a question.

    `models` write the answers; without them the answers are quotes. Return figures for `--json`;
    fractions are 0 to 1, None means no question of that kind.

    A question whose passage is not in the corpus is `absent`. The other unanswerable questions are
    `adversarial`: the corpus has a similar passage without the answer. `gold_...` count a refusal
    as a miss; `right_passage` counts only answers to answerable questions. Refusal is the positive
    class of `refusal_...`. `balanced_accuracy` is at the threshold in use; `best_...` is at the
    best threshold for these questions. `generators` counts the writers of the answers, `entailment`
    names the entailment model, and `left_out` counts dropped sentences by fault: two runs show the
    effect of a language model or an entailment model.
    """
    principal = Principal(tenant)
    services.embedder().encode(["A first text, so that the figures leave out loading the model."])
    answers = []
    started_at = time.perf_counter()
    for question in questions:
        generator = create_generator(services.settings, models, principal)
        answers.append(answer_question(services, principal, question.question, generator=generator))
        on_progress(1)
    seconds = time.perf_counter() - started_at
    groups = _group_answers(questions, answers, passage_ids)
    figures = {
        "questions": len(answers),
        "answerable": len(groups.answerable),
        "adversarial": len(groups.adversarial),
        "absent": len(groups.absent),
        **_measure_answers(groups.answerable),
        **_measure_refusals(groups),
        **_measure_texts(answers),
        "answers_per_second": len(answers) / seconds if seconds else 0.0,
        "generators": dict(Counter(answer.generator for answer in answers if _is_answered(answer))),
        "entailment": services.settings.entailment or None,
        "left_out": dict(Counter(fault for answer in answers for fault in answer.removed)),
    }
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in figures.items()
    }


@dataclass(frozen=True, slots=True)
class _AnswerGroups:
    answerable: list[tuple[CorpusQuestion, Answer]]
    adversarial: list[Answer]
    absent: list[Answer]


def _group_answers(
    questions: Sequence[CorpusQuestion], answers: Sequence[Answer], passage_ids: Collection[str]
) -> _AnswerGroups:
    groups = _AnswerGroups([], [], [])
    for question, answer in zip(questions, answers, strict=True):
        if question.passage_id not in passage_ids:
            groups.absent.append(answer)
        elif question.answerable:
            groups.answerable.append((question, answer))
        else:
            groups.adversarial.append(answer)
    return groups


def _is_answered(answer: Answer) -> bool:
    return answer.status == "answered"


def _measure_answers(pairs: Sequence[tuple[CorpusQuestion, Answer]]) -> Report:
    answered, in_answer, in_quotes, in_first_quote, right_passage = [], [], [], [], []
    for question, answer in pairs:
        quotes = _quote_texts(answer.citations)
        answered.append(_is_answered(answer))
        in_answer.append(contains_any(question.answers, [answer.text]))
        in_quotes.append(contains_any(question.answers, quotes))
        in_first_quote.append(contains_any(question.answers, quotes[:1]))
        if _is_answered(answer):
            right_passage.append(question.passage_id in _cited_paths(answer))
    return {
        "answered_of_answerable": mean(answered),
        "gold_in_answer": mean(in_answer),
        "gold_in_quotes": mean(in_quotes),
        "gold_in_first_quote": mean(in_first_quote),
        "right_passage": mean(right_passage),
    }


def _measure_refusals(groups: _AnswerGroups) -> Report:
    answerable = [answer for _, answer in groups.answerable]
    unanswerable = [*groups.adversarial, *groups.absent]
    answered_wrongly = sum(map(_is_answered, unanswerable))
    refused_rightly = len(unanswerable) - answered_wrongly
    refused_wrongly = len(answerable) - sum(map(_is_answered, answerable))
    positive, negative = _list_confidences(answerable), _list_confidences(unanswerable)
    return {
        "refusal_precision": precision(refused_rightly, refused_wrongly),
        "refusal_recall": recall_of_class(refused_rightly, answered_wrongly),
        "auroc": auroc(positive, negative),
        "balanced_accuracy": balanced_accuracy(positive, negative, load_threshold()),
        "best_balanced_accuracy": best_balanced_accuracy(positive, negative),
        "answerable_refused": _refused_share(answerable),
        "adversarial_refused": _refused_share(groups.adversarial),
        "adversarial_auroc": _optional_auroc(positive, groups.adversarial),
        "absent_refused": _refused_share(groups.absent),
        "absent_auroc": _optional_auroc(positive, groups.absent),
    }


def _measure_texts(answers: Sequence[Answer]) -> Report:
    answered = [answer for answer in answers if _is_answered(answer)]
    return {
        "sentences_per_answer": mean([len(answer.sentences) for answer in answered]),
        "words_per_answer": mean([len(answer.text.split()) for answer in answered]),
    }


def _list_confidences(answers: Iterable[Answer]) -> list[float]:
    return [answer.confidence for answer in answers]


def _refused_share(answers: Sequence[Answer]) -> float | None:
    return mean([not _is_answered(answer) for answer in answers]) if answers else None


def _optional_auroc(positive: Sequence[float], negative: Sequence[Answer]) -> float | None:
    return auroc(positive, _list_confidences(negative)) if positive and negative else None


def find_failures(
    golden: GoldenQuestion, answer: Answer, all_questions: Sequence[GoldenQuestion]
) -> Iterable[str]:
    """Yield a sentence for each mistake in an answer."""
    if golden.kind == "answerable":
        yield from _check_answer(golden, answer)
        return
    if _is_answered(answer):
        yield "It should have been refused."
    if golden.kind == "forbidden":
        yield from _find_disclosures(golden, answer, all_questions)


def _check_answer(golden: GoldenQuestion, answer: Answer) -> Iterable[str]:
    if not _is_answered(answer):
        yield "It was refused."
        return
    if not _cited_paths(answer).intersection(golden.documents):
        yield f"It cites none of {', '.join(golden.documents)}."
    texts = [answer.text, *_quote_texts(answer.citations)]
    for string in golden.contains:
        if not contains_any([string], texts):
            yield f"It lacks {string!r}."


def _find_disclosures(
    golden: GoldenQuestion, answer: Answer, all_questions: Sequence[GoldenQuestion]
) -> Iterable[str]:
    """Yield a sentence for each withheld document and each secret string that an answer shows."""
    withheld, secrets = set(golden.withheld), set[str]()
    for other in all_questions:
        if other.question == golden.question and other.kind == "answerable":
            secrets.update(other.contains)
            if other.tenant == golden.tenant:
                withheld.update(other.documents)
    shown = [*answer.citations, *(answer.refusal.closest if answer.refusal else ())]
    for path in sorted(withheld.intersection(citation.path for citation in shown)):
        yield f"It shows {path}."
    texts = [answer.text, answer.refusal.reason if answer.refusal else "", *_quote_texts(shown)]
    for string in sorted(secrets):
        if contains_any([string], texts):
            yield f"It shows {string!r}."


def contains_any(strings: Iterable[str], texts: Iterable[str]) -> bool:
    """Return true if a text contains a string; case and the amount of white space don't matter."""
    folded = [_fold(text) for text in texts]
    return any(_fold(string) in text for string in strings for text in folded)


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _quote_texts(citations: Iterable[Citation]) -> list[str]:
    return [citation.quote for citation in citations]


def _cited_paths(answer: Answer) -> set[str]:
    return {citation.path for citation in answer.citations}
