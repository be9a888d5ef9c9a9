"""A follow-up question made to stand alone by a language model, which is held to the words of the conversation."""

from collections.abc import Sequence
from pathlib import Path

from core.errors import OverBudget
from core.principal import Principal
from core.text.terms import STOP_WORDS, extract_terms
from serving.answering.conversation.history import Turn
from serving.gateway.types import Message, ModelFailed, ModelRequest, Models, NoModelAvailable

PROMPT_FILE = Path(__file__).with_name("rewriting.md")
MAX_REWRITE_CHARACTERS = 400  # characters
REWRITE_TIMEOUT_SECONDS = 5.0  # of a question's deadline; after that the rules do


def rewrite_question(
    models: Models, principal: Principal, question: str, turns: Sequence[Turn]
) -> str | None:
    """A model's wording, or None where none answers in time or it says what nobody said."""
    said = [
        f"Q: {turn.asked_as}\n(answered from: {'; '.join(turn.titles[:3]) or 'nothing'})"
        for turn in turns
    ]
    request = ModelRequest(
        messages=(
            Message("system", PROMPT_FILE.read_text(encoding="utf-8")),
            Message("user", "\n".join((*said, f"Follow-up: {question}"))),
        ),
        principal=principal,
        purpose="rewrite",
        tier="fast",
        max_tokens=120,
        timeout_seconds=REWRITE_TIMEOUT_SECONDS,
    )
    try:
        reply = models.stream(request)
        try:
            text = "".join(reply).strip()
        finally:
            reply.close()
    except (NoModelAvailable, ModelFailed, OverBudget):
        return None
    return text if _uses_known_words(text, question, turns) else None


def _uses_known_words(text: str, question: str, turns: Sequence[Turn]) -> bool:
    """One line, and no word that stands neither in the question nor in the conversation."""
    if not text or "\n" in text or len(text) > MAX_REWRITE_CHARACTERS:
        return False
    spoken = [
        question,
        *(part for turn in turns for part in (turn.question, turn.asked_as, *turn.titles)),
    ]
    return set(extract_terms(text)) - STOP_WORDS <= {
        term for part in spoken for term in extract_terms(part)
    }
