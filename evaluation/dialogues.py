"""Are follow-up questions understood? Golden dialogues through the real search, with rewriting and without."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from retrieval.retriever import retrieve
from serving.answering.conversation.conversation import resolve_question
from serving.answering.conversation.history import Turn
from serving.gateway.types import Models

MAX_RETRIEVED_PASSAGES = 5  # passages in which the answer must stand


@dataclass(frozen=True, slots=True)
class GoldenTurn:
    """A question of a dialogue, what the passages found must hold, and whether it needs the turn before."""

    dialogue: str
    question: str
    contains: tuple[str, ...]
    is_follow_up: bool


@dataclass(frozen=True, slots=True)
class DialogueOutcome:
    """How one turn went: as what it was asked, and whether it was found as put and as asked."""

    turn: GoldenTurn
    asked_as: str
    found_without_rewriting: bool
    found_with_rewriting: bool

    @property
    def was_rewritten(self) -> bool:
        """Whether the question was rewritten."""
        return self.asked_as != self.turn.question


def read_dialogues(path: Path) -> list[list[GoldenTurn]]:
    """The dialogues of a file in the form of sample/dialogues.yaml.

    Raises:
        InvalidInput: it is not there, or not of that form.
    """
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))
        return [
            [
                GoldenTurn(d["id"], t["question"], tuple(t["contains"]), t["follows"])
                for t in d["turns"]
            ]
            for d in listed
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path} holds no dialogues; sample/dialogues.yaml shows their form."
        ) from error


def evaluate_dialogues(
    services: Services,
    principal: Principal,
    dialogues: list[list[GoldenTurn]],
    on_progress: Callable[[int], None] = lambda _: None,
    models: Models | None = None,
) -> list[DialogueOutcome]:
    """Each turn asked as it is put and as it is understood after the turns before it."""
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
        asked = resolve_question(golden.question, turns, principal, models).text
        found, titles = _search_for_answer(services, principal, golden, asked)
        as_put = (
            found
            if asked == golden.question
            else _search_for_answer(services, principal, golden, golden.question)[0]
        )
        turns.append(Turn(golden.question, asked, True, titles, [], datetime.now(UTC)))
        yield DialogueOutcome(golden, asked, as_put, found)


def _search_for_answer(
    services: Services, principal: Principal, golden: GoldenTurn, question: str
) -> tuple[bool, list[str]]:
    hits = retrieve(services, principal, question, limit=MAX_RETRIEVED_PASSAGES).hits
    held = [
        hit for hit in hits if all(piece.lower() in hit.text.lower() for piece in golden.contains)
    ]
    return bool(held), list(dict.fromkeys(hit.title for hit in hits[:1]))


def summarise_outcomes(outcomes: list[DialogueOutcome]) -> Mapping[str, Any]:
    """Shares of follow-ups found as put and as asked, and of standing questions left alone."""
    following = [outcome for outcome in outcomes if outcome.turn.is_follow_up]
    standing = [outcome for outcome in outcomes if not outcome.turn.is_follow_up]
    return {
        "turns": len(outcomes),
        "follow_ups": len(following),
        "found_as_put": _share_true([outcome.found_without_rewriting for outcome in following]),
        "found_rewritten": _share_true([outcome.found_with_rewriting for outcome in following]),
        "standing": len(standing),
        "left_alone": _share_true([not outcome.was_rewritten for outcome in standing]),
        "found_standing": _share_true([outcome.found_with_rewriting for outcome in standing]),
    }


def _share_true(values: list[bool]) -> float:
    return sum(values) / len(values) if values else 1.0
