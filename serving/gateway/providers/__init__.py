"""Those who run models, a file for each way of talking to them."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

from serving.gateway.models import ModelSpec
from serving.gateway.transport import Pool, Watch
from serving.gateway.types import ModelRequest


@dataclass(frozen=True, slots=True)
class Delta:
    """What a provider said last: text, if any, and tokens where it counted them.

    `thinking` says that the model is at work, though nothing of that is for the reader; `finished` that the provider
    called the reply whole (also where it ends because it is as long as allowed).
    """

    text: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    thinking: bool = False
    finished: bool = False


class Provider(Protocol):
    """One model, wherever it runs."""

    def reply(self, request: ModelRequest, watch: Watch) -> Generator[Delta]:
        """The reply in pieces. Closing it ends the call.

        Raises:
            UpstreamFault: whatever went wrong, before the first piece or after it.
        """


def open_provider(spec: ModelSpec, pool: Pool) -> Provider:
    """The provider of a model of the file.

    Raises:
        InvalidInput: its key is not set, or its package not installed.
    """
    return _KINDS[spec.provider](spec, pool)


def _openai(spec: ModelSpec, pool: Pool) -> Provider:
    from serving.gateway.providers.openai import (
        OpenAICompatible,
    )  # seconds to import; who has no such model never waits

    return OpenAICompatible(spec, pool)


def _anthropic(spec: ModelSpec, pool: Pool) -> Provider:
    from serving.gateway.providers.anthropic import Anthropic

    return Anthropic(spec, pool)


def _llamaindex(spec: ModelSpec, _: Pool) -> Provider:
    from serving.gateway.providers.llamaindex import LlamaIndexModel

    return LlamaIndexModel(spec)


_KINDS: dict[str, Callable[[ModelSpec, Pool], Provider]] = {
    "openai": _openai, "anthropic": _anthropic, "llamaindex": _llamaindex
}  # fmt: skip
