"""Are the answers right, are they cited right, and is refused what can't be answered?

Two kinds of questions: the golden file of the sample, where each question says what its answer must rest on, and
questions with gold strings over a corpus, as SQuAD has them.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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


@dataclass(frozen=True, slots=True)
class GoldenOutcome:
    """One golden question: right when `failures` is empty, else each says what is wrong."""

    question_id: str
    kind: QuestionKind
    question: str
    answer: str
    cited: tuple[str, ...]
    failures: tuple[str, ...]

    @property
    def is_correct(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """All golden questions."""

    outcomes: tuple[GoldenOutcome, ...]

    @property
    def correct_count(self) -> int:
        """How many are right."""
        return sum(outcome.is_correct for outcome in self.outcomes)

    @property
    def correct_share(self) -> float:
        """The share that is right."""
        return mean([outcome.is_correct for outcome in self.outcomes])

    def as_dict(self) -> dict[str, Any]:
        """Plain values: the counts, each kind's, and what is wrong with the rest."""
        kinds = list(dict.fromkeys(outcome.kind for outcome in self.outcomes))
        return {
            "questions": len(self.outcomes),
            "correct": self.correct_count,
            "share": round(self.correct_share, 4),
            "kinds": {
                kind: _count_correct([o for o in self.outcomes if o.kind == kind]) for kind in kinds
            },
            "failed": [asdict(outcome) for outcome in self.outcomes if not outcome.is_correct],
        }


@dataclass(frozen=True, slots=True)
class QuestionsReport:
    """Questions with gold strings. Shares are 0 to 1.

    Those of `gold_...` are over all answerable questions, so that a refused one counts as missed; `right_passage` is
    over the answers given to answerable questions. Refusing is the positive class of `refusal_...`. The balanced
    accuracy is at the threshold that is served; `best_...` at the one that would suit these very questions best.

    A question whose passage is not in the corpus is `absent`, and not answerable, whatever its file says. Of the others
    the unanswerable ones are `adversarial`: something near is there, and it isn't the answer. None where there are none
    of a kind.

    `generators` counts who wrote the answers, `entailment` names the model that had to agree, if any, and `left_out`
    counts the sentences that the verification kept back, by what was wrong with them: so two runs show what a language
    model or an entailment model adds.
    """

    questions: int
    answerable: int
    adversarial: int
    absent: int
    answered_of_answerable: float
    gold_in_answer: float
    gold_in_quotes: float
    gold_in_first_quote: float
    right_passage: float
    refusal_precision: float
    refusal_recall: float
    auroc: float
    balanced_accuracy: float
    best_balanced_accuracy: float
    answerable_refused: float | None
    adversarial_refused: float | None
    adversarial_auroc: float | None
    absent_refused: float | None
    absent_auroc: float | None
    sentences_per_answer: float
    words_per_answer: float
    answers_per_second: float
    generators: Mapping[str, int]
    entailment: str | None
    left_out: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded to what can be told apart."""
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


def evaluate_golden(
    services: Services, questions: Sequence[GoldenQuestion], on_progress: StepCallback
) -> GoldenReport:
    """Ask every golden question as its asker; a step a question."""
    outcomes = []
    for golden in questions:
        given = answer_question(services, Principal(golden.tenant, golden.groups), golden.question)
        outcomes.append(
            GoldenOutcome(
                golden.question_id,
                golden.kind,
                golden.question,
                given.text,
                tuple(dict.fromkeys(citation.path for citation in given.citations)),
                tuple(find_failures(golden, given, questions)),
            )
        )
        on_progress(1)
    return GoldenReport(tuple(outcomes))


def evaluate_questions(
    services: Services,
    tenant: str,
    questions: Sequence[CorpusQuestion],
    passage_ids: Collection[str],
    on_progress: StepCallback,
    models: Models | None = None,
) -> QuestionsReport:
    """Ask every question in a tenant whose documents are the passages of a corpus; a step a question.

    `passages` are the ids of those passages; `models` write the answers, where there are any.
    """
    asker = Principal(tenant)
    services.embedder().encode(["A first text, so that loading the model is not measured."])
    given, began = [], time.perf_counter()
    for question in questions:
        given.append(
            answer_question(
                services,
                asker,
                question.question,
                generator=create_generator(services.settings, models, asker),
            )
        )
        on_progress(1)
    seconds = time.perf_counter() - began
    asked = [_mark_absent_unanswerable(question, passage_ids) for question in questions]
    return build_questions_report(
        asked, given, passage_ids, seconds, services.settings.entailment or None
    )


def _mark_absent_unanswerable(
    question: CorpusQuestion, passage_ids: Collection[str]
) -> CorpusQuestion:
    """The question, not answerable where its passage is not among those that it was asked of."""
    return question if question.passage_id in passage_ids else replace(question, answerable=False)


def build_questions_report(
    questions: Sequence[CorpusQuestion],
    replies: Sequence[Answer],
    passage_ids: Collection[str],
    seconds: float,
    entailment: str | None = None,
) -> QuestionsReport:
    """The report on answers that took `seconds` in all, and had an entailment model to agree with them if one is named;
    `given[i]` answers `questions[i]`.
    """
    pairs = list(zip(questions, replies, strict=True))
    answerable = [(question, reply) for question, reply in pairs if question.answerable]
    others = [(question, reply) for question, reply in pairs if not question.answerable]
    adversarial = [reply for question, reply in others if question.passage_id in passage_ids]
    absent = [reply for question, reply in others if question.passage_id not in passage_ids]
    answered = [(question, reply) for question, reply in answerable if reply.status == "answered"]
    written = [reply for _, reply in pairs if reply.status == "answered"]
    refused_rightly = sum(reply.status == "refused" for _, reply in others)
    positive, negative = (
        _list_confidences(reply for _, reply in answerable),
        _list_confidences(reply for _, reply in others),
    )
    return QuestionsReport(
        questions=len(pairs),
        answerable=len(answerable),
        adversarial=len(adversarial),
        absent=len(absent),
        answered_of_answerable=len(answered) / len(answerable) if answerable else 0.0,
        gold_in_answer=mean([contains_any(q.answers, [r.text]) for q, r in answerable]),
        gold_in_quotes=mean(
            [contains_any(q.answers, _quote_texts(r.citations)) for q, r in answerable]
        ),
        gold_in_first_quote=mean(
            [contains_any(q.answers, _quote_texts(r.citations[:1])) for q, r in answerable]
        ),
        right_passage=mean(
            [q.passage_id in {citation.path for citation in r.citations} for q, r in answered]
        ),
        refusal_precision=precision(refused_rightly, len(answerable) - len(answered)),
        refusal_recall=recall_of_class(refused_rightly, len(others) - refused_rightly),
        auroc=auroc(positive, negative),
        balanced_accuracy=balanced_accuracy(positive, negative, load_threshold()),
        best_balanced_accuracy=best_balanced_accuracy(positive, negative),
        answerable_refused=_refused_share([reply for _, reply in answerable]),
        adversarial_refused=_refused_share(adversarial),
        adversarial_auroc=_optional_auroc(positive, adversarial),
        absent_refused=_refused_share(absent),
        absent_auroc=_optional_auroc(positive, absent),
        sentences_per_answer=mean([len(reply.sentences) for reply in written]),
        words_per_answer=mean([len(reply.text.split()) for reply in written]),
        answers_per_second=len(pairs) / seconds if seconds else 0.0,
        generators=dict(Counter(reply.generator for reply in written)),
        entailment=entailment,
        left_out=dict(Counter(fault for reply in replies for fault in reply.removed)),
    )


def _list_confidences(replies: Iterable[Answer]) -> list[float]:
    return [reply.confidence for reply in replies]


def _refused_share(replies: Sequence[Answer]) -> float | None:
    return mean([reply.status == "refused" for reply in replies]) if replies else None


def _optional_auroc(positive: Sequence[float], negative: Sequence[Answer]) -> float | None:
    return auroc(positive, _list_confidences(negative)) if positive and negative else None


def find_failures(
    golden: GoldenQuestion, reply: Answer, all_questions: Sequence[GoldenQuestion]
) -> Iterable[str]:
    """What is wrong with an answer, a sentence each."""
    if golden.kind == "answerable":
        yield from _check_answer(golden, reply)
        return
    if reply.status == "answered":
        yield "It should have been refused."
    if golden.kind == "forbidden":
        yield from _find_disclosures(golden, reply, all_questions)


def contains_any(strings: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether one of the strings stands in one of the texts; case and the width of blanks don't matter."""
    folded = [_normalise_text(text) for text in texts]
    return any(_normalise_text(string) in text for string in strings for text in folded)


def _check_answer(golden: GoldenQuestion, reply: Answer) -> Iterable[str]:
    if reply.status == "refused":
        yield "It was refused."
        return
    if not {citation.path for citation in reply.citations}.intersection(golden.documents):
        yield f"It cites none of {', '.join(golden.documents)}."
    shown = [reply.text, *_quote_texts(reply.citations)]
    yield from (
        f"It lacks {string!r}." for string in golden.contains if not contains_any([string], shown)
    )


def _find_disclosures(
    golden: GoldenQuestion, reply: Answer, all_questions: Sequence[GoldenQuestion]
) -> Iterable[str]:
    """What a forbidden question may not show: the withheld documents, and what their readers are told instead."""
    shown = [*reply.citations, *(reply.refusal.closest if reply.refusal else ())]
    twins = [
        other
        for other in all_questions
        if other.question == golden.question and other.kind == "answerable"
    ]
    withheld = {
        *golden.withheld,
        *(path for twin in twins if twin.tenant == golden.tenant for path in twin.documents),
    }
    yield from (
        f"It shows {path}."
        for path in sorted(withheld.intersection(citation.path for citation in shown))
    )
    secrets = sorted({string for twin in twins for string in twin.contains})
    texts = [reply.text, reply.refusal.reason if reply.refusal else "", *_quote_texts(shown)]
    yield from (f"It shows {string!r}." for string in secrets if contains_any([string], texts))


def _quote_texts(citations: Iterable[Citation]) -> list[str]:
    return [citation.quote for citation in citations]


def _normalise_text(text: str) -> str:
    return " ".join(text.casefold().split())


def _count_correct(outcomes: Sequence[GoldenOutcome]) -> dict[str, int]:
    return {"questions": len(outcomes), "correct": sum(outcome.is_correct for outcome in outcomes)}
