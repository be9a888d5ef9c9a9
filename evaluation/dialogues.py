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
from serving.answering.conversation import understood
from serving.answering.conversation.history import Turn
from serving.gateway.types import Models

LOOKED_AT = 5  # passages in which the answer must stand


@dataclass(frozen=True, slots=True)
class GoldenTurn:
    """A question of a dialogue, what the passages found must hold, and whether it needs the turn before."""

    dialogue: str
    question: str
    contains: tuple[str, ...]
    follows: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one turn went: as what it was asked, and whether it was found as put and as asked."""

    turn: GoldenTurn
    asked_as: str
    found_as_put: bool
    found: bool

    @property
    def changed(self) -> bool:
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
            [GoldenTurn(d["id"], t["question"], tuple(t["contains"]), t["follows"]) for t in d["turns"]] for d in listed
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} holds no dialogues; sample/dialogues.yaml shows their form.") from error


def evaluate_dialogues(
    services: Services, principal: Principal, dialogues: list[list[GoldenTurn]],
    advanced: Callable[[int], None] = lambda _: None, models: Models | None = None,
) -> list[Outcome]:  # fmt: skip
    """Each turn asked as it is put and as it is understood after the turns before it."""
    outcomes: list[Outcome] = []
    for dialogue in dialogues:
        for outcome in _followed(services, principal, dialogue, models):
            outcomes.append(outcome)
            advanced(1)
    return outcomes


def _followed(
    services: Services, principal: Principal, dialogue: list[GoldenTurn], models: Models | None
) -> Iterator[Outcome]:
    turns: list[Turn] = []
    for golden in dialogue:
        asked = understood(golden.question, turns, principal, models).text
        found, titles = _searched(services, principal, golden, asked)
        as_put = found if asked == golden.question else _searched(services, principal, golden, golden.question)[0]
        turns.append(Turn(golden.question, asked, True, titles, [], datetime.now(UTC)))
        yield Outcome(golden, asked, as_put, found)


def _searched(services: Services, principal: Principal, golden: GoldenTurn, question: str) -> tuple[bool, list[str]]:
    hits = retrieve(services, principal, question, limit=LOOKED_AT).hits
    held = [hit for hit in hits if all(piece.lower() in hit.text.lower() for piece in golden.contains)]
    return bool(held), list(dict.fromkeys(hit.title for hit in hits[:1]))


def summary(outcomes: list[Outcome]) -> Mapping[str, Any]:
    """Shares of follow-ups found as put and as asked, and of standing questions left alone."""
    following = [outcome for outcome in outcomes if outcome.turn.follows]
    standing = [outcome for outcome in outcomes if not outcome.turn.follows]
    return {
        "turns": len(outcomes),
        "follow_ups": len(following),
        "found_as_put": _share([outcome.found_as_put for outcome in following]),
        "found_rewritten": _share([outcome.found for outcome in following]),
        "standing": len(standing),
        "left_alone": _share([not outcome.changed for outcome in standing]),
        "found_standing": _share([outcome.found for outcome in standing]),
    }


def _share(held: list[bool]) -> float:
    return sum(held) / len(held) if held else 1.0
