"""A question and turns for tests of conversations."""

import uuid

from serving.answering.conversation.history import Turn

DEPTH = "How deep can I lower a Heron 200?"


def turn(question: str, *titles: str) -> Turn:
    """Return a turn whose answer cited documents with these titles."""
    return Turn(question, question, True, list(titles), [uuid.uuid4() for _ in titles], None)  # type: ignore[arg-type]
