"""Quality of follow-up questions: golden dialogues with and without rewriting."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from evaluation.retrieval import StepCallback
from retrieval.retriever import retrieve
from serving.answering.conversation.conversation import resolve_question
from serving.answering.conversation.history import Turn
from serving.gateway.types import Models

MAX_RETRIEVED_PASSAGES = 5  # passages that may contain the answer


@dataclass(frozen=True, slots=True)
class GoldenTurn:
    """A question of a dialogue, and strings of its answer; a follow-up needs the turn before."""

    dialogue: str
    question: str
    contains: tuple[str, ...]
    is_follow_up: bool


@dataclass(frozen=True, slots=True)
class DialogueOutcome:
    """Results of the search for one turn, without and with rewriting."""

    turn: GoldenTurn
    asked_as: str
    found_without_rewriting: bool
    found_with_rewriting: bool

    @property
    def was_rewritten(self) -> bool:
        """True if the question was rewritten."""
        return self.asked_as != self.turn.question


def read_dialogues(path: Path) -> list[list[GoldenTurn]]:
    """Return the dialogues of a file like sample/dialogues.yaml.

    Raises:
        InvalidInput: there is no such file, or it has another form.
    """
    dialogues = []
    try:
        for dialogue in yaml.safe_load(path.read_text(encoding="utf-8")):
            turns = [
                GoldenTurn(
                    dialogue["id"], turn["question"], tuple(turn["contains"]), turn["follows"]
                )
                for turn in dialogue["turns"]
            ]
            dialogues.append(turns)
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path} does not hold dialogues. Use the form of sample/dialogues.yaml."
        ) from error
    return dialogues


def evaluate_dialogues(
    services: Services,
    principal: Principal,
    dialogues: list[list[GoldenTurn]],
    on_progress: StepCallback = lambda _: None,
    models: Models | None = None,
) -> list[DialogueOutcome]:
    """Search for each turn with the question as it is, and as rewritten from earlier turns."""
    outcomes: list[DialogueOutcome] = []
    for dialogue in dialogues:
        for outcome in _evaluate_dialogue(services, principal, dialogue, models):
            outcomes.append(outcome)
            on_progress(1)
    return outcomes


def _evaluate_dialogue(
    services: Services, principal: Principal, dialogue: list[GoldenTurn], models: Models | None
) -> Iterator[DialogueOutcome]:
    turns: list[Turn] = []
    for golden in dialogue:
        asked_as = resolve_question(golden.question, turns, principal, models).text
        found, titles = _search_for_answer(services, principal, golden, asked_as)
        found_as_is = found
        if asked_as != golden.question:
            found_as_is, _ = _search_for_answer(services, principal, golden, golden.question)
        turns.append(Turn(golden.question, asked_as, True, titles, [], datetime.now(UTC)))
        yield DialogueOutcome(golden, asked_as, found_as_is, found)


def _search_for_answer(
    services: Services, principal: Principal, golden: GoldenTurn, question: str
) -> tuple[bool, list[str]]:
    """Return true if a passage contains the answer, and the title of the best passage."""
    hits = retrieve(services, principal, question, limit=MAX_RETRIEVED_PASSAGES).hits
    texts = [hit.text.lower() for hit in hits]
    strings = [string.lower() for string in golden.contains]
    found = any(all(string in text for string in strings) for text in texts)
    return found, [hit.title for hit in hits[:1]]


def summarise_outcomes(outcomes: list[DialogueOutcome]) -> Mapping[str, Any]:
    """Return the fractions of follow-ups found, and of other questions left unchanged."""
    follow_ups = [outcome for outcome in outcomes if outcome.turn.is_follow_up]
    others = [outcome for outcome in outcomes if not outcome.turn.is_follow_up]
    return {
        "turns": len(outcomes),
        "follow_ups": len(follow_ups),
        "found_as_put": _share_true([outcome.found_without_rewriting for outcome in follow_ups]),
        "found_rewritten": _share_true([outcome.found_with_rewriting for outcome in follow_ups]),
        "standing": len(others),
        "left_alone": _share_true([not outcome.was_rewritten for outcome in others]),
        "found_standing": _share_true([outcome.found_with_rewriting for outcome in others]),
    }


def _share_true(values: list[bool]) -> float:
    return sum(values) / len(values) if values else 1.0
