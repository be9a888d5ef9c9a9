"""A follow-up question made to stand alone by a language model, which is held to the words of the conversation."""

from collections.abc import Sequence
from pathlib import Path

from core.errors import OverBudget
from core.principal import Principal
from core.text.terms import STOP_WORDS, terms
from serving.answering.conversation.history import Turn
from serving.gateway.types import Message, ModelFailed, ModelRequest, Models, NoModelAvailable

PROMPT = Path(__file__).with_name("rewriting.md")
LONGEST = 400  # characters
SECONDS = 5.0  # of a question's deadline; after that the rules do


def rewritten(models: Models, principal: Principal, question: str, turns: Sequence[Turn]) -> str | None:
    """A model's wording, or None where none answers in time or it says what nobody said."""
    said = [f"Q: {turn.asked_as}\n(answered from: {'; '.join(turn.titles[:3]) or 'nothing'})" for turn in turns]
    request = ModelRequest(
        messages=(
            Message("system", PROMPT.read_text(encoding="utf-8")),
            Message("user", "\n".join((*said, f"Follow-up: {question}"))),
        ),
        principal=principal, purpose="rewrite", tier="fast", max_tokens=120, seconds=SECONDS,
    )  # fmt: skip
    try:
        reply = models.stream(request)
        try:
            text = "".join(reply).strip()
        finally:
            reply.close()
    except (NoModelAvailable, ModelFailed, OverBudget):
        return None
    return text if _kept_to(text, question, turns) else None


def _kept_to(text: str, question: str, turns: Sequence[Turn]) -> bool:
    """One line, and no word that stands neither in the question nor in the conversation."""
    if not text or "\n" in text or len(text) > LONGEST:
        return False
    spoken = [question, *(part for turn in turns for part in (turn.question, turn.asked_as, *turn.titles))]
    return set(terms(text)) - STOP_WORDS <= {term for part in spoken for term in terms(part)}
