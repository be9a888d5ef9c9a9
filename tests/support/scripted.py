"""Models that follow a script: what they are asked is kept, what they reply is given beforehand."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from serving.gateway.types import ModelFailed, ModelRequest, Models, NoModelAvailable, Usage

PIECE_CHARACTERS = 7  # characters, of a reply that comes in pieces


class ScriptedReply:
    """A reply in pieces, which may break off; it knows whether it was closed and how much of it was read."""

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
    """Gives its replies in order, or what a function makes of the request; None in place of one is a failure."""

    def __init__(
        self, *replies: str | Callable[[ModelRequest], str] | None, broken: bool = False
    ) -> None:
        self._remaining, self._breaks_off = list(replies), broken
        self.requests: list[ModelRequest] = []
        self.replies: list[ScriptedReply] = []

    def stream(self, request: ModelRequest) -> ScriptedReply:
        self.requests.append(request)
        following = (
            self._remaining.pop(0)
            if len(self._remaining) > 1
            else self._remaining[0]
            if self._remaining
            else None
        )
        if following is None:
            raise NoModelAvailable("No language model answered.")
        self.replies.append(
            ScriptedReply(
                following(request) if callable(following) else following, self._breaks_off
            )
        )
        return self.replies[-1]

    @property
    def last_prompt(self) -> str:
        """Everything that the last request says."""
        return "\n".join(message.content for message in self.requests[-1].messages)


def reply_with(*some: tuple[str, Sequence[tuple[int, str]]]) -> dict[str, object]:
    """A reply of the form that the prompts ask for, from texts with their passages and quotes."""
    return {
        "sentences": [
            {
                "evidence": [{"passage": passage, "quote": quote} for passage, quote in evidence],
                "text": text,
            }
            for text, evidence in some
        ]
    }
