"""Language models with scripted replies, which keep their requests."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from serving.gateway.types import ModelFailed, ModelRequest, Models, NoModelAvailable, Usage

PIECE_CHARACTERS = 7  # of a piece of a streamed reply


class ScriptedReply:
    """Reply in pieces, which may break off; records the characters read and the close."""

    def __init__(self, text: str, broken: bool = False) -> None:
        self._text, self._breaks_off = text, broken
        self.read, self.closed = 0, False
        self.model = "scripted-model"

    @property
    def usage(self) -> Usage:
        return Usage(self.model, 0, self.read, Decimal(0))

    def __iter__(self) -> Iterator[str]:
        while self.read < len(self._text) and not self.closed:
            piece = self._text[self.read : self.read + PIECE_CHARACTERS]
            self.read += len(piece)
            yield piece
        if self._breaks_off:
            raise ModelFailed("The model 'scripted-model' broke off. Ask again.")

    def close(self) -> None:
        self.closed = True


class ScriptedModels(Models):
    """Returns its replies in order, or the result of a function; None is a failure."""

    def __init__(
        self, *replies: str | Callable[[ModelRequest], str] | None, broken: bool = False
    ) -> None:
        self._remaining, self._breaks_off = list(replies), broken
        self.requests: list[ModelRequest] = []
        self.replies: list[ScriptedReply] = []

    def stream(self, request: ModelRequest) -> ScriptedReply:
        self.requests.append(request)
        reply_source = (
            self._remaining.pop(0)
            if len(self._remaining) > 1
            else self._remaining[0]
            if self._remaining
            else None
        )
        if reply_source is None:
            raise NoModelAvailable("No language model answered.")
        self.replies.append(
            ScriptedReply(
                reply_source(request) if callable(reply_source) else reply_source, self._breaks_off
            )
        )
        return self.replies[-1]

    @property
    def last_prompt(self) -> str:
        """Return all messages of the last request."""
        return "\n".join(message.content for message in self.requests[-1].messages)


def reply_with(*sentences: tuple[str, Sequence[tuple[int, str]]]) -> dict[str, object]:
    """Return a reply in the form that the prompts demand, from texts with passages and quotes."""
    return {
        "sentences": [
            {
                "evidence": [{"passage": passage, "quote": quote} for passage, quote in evidence],
                "text": text,
            }
            for text, evidence in sentences
        ]
    }
