"""Standalone questions by a language model, which may only use known words."""

from collections.abc import Sequence
from pathlib import Path

from core.errors import OverBudget
from core.principal import Principal
from core.text.terms import STOP_WORDS, extract_terms
from serving.answering.conversation.history import Turn
from serving.gateway.types import Message, ModelFailed, ModelRequest, Models, NoModelAvailable

PROMPT_FILE = Path(__file__).with_name("rewriting.md")
MAX_REWRITE_CHARACTERS = 400
REWRITE_TIMEOUT_SECONDS = 5.0  # then the rules take over


def rewrite_question(
    models: Models, principal: Principal, question: str, turns: Sequence[Turn]
) -> str | None:
    """Return a model's wording; None if it is late or adds a word of its own."""
    conversation = [
        f"Q: {turn.asked_as}\n(answered from: {'; '.join(turn.titles[:3]) or 'nothing'})"
        for turn in turns
    ]
    request = ModelRequest(
        messages=(
            Message("system", PROMPT_FILE.read_text(encoding="utf-8")),
            Message("user", "\n".join((*conversation, f"Follow-up: {question}"))),
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
    """Return true for one line that only has words of the question and of the conversation."""
    if not text or "\n" in text or len(text) > MAX_REWRITE_CHARACTERS:
        return False
    known_texts = [question]
    for turn in turns:
        known_texts += [turn.question, turn.asked_as, *turn.titles]
    known_terms = set[str]()
    for known_text in known_texts:
        known_terms.update(extract_terms(known_text))
    return set(extract_terms(text)) - STOP_WORDS <= known_terms
