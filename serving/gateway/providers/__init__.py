"""Those who run models, a file for each way of talking to them."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

from core.http import CallLimits, HttpPool
from serving.gateway.models_file import ModelSpec
from serving.gateway.types import ModelRequest


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """What a provider said last: text, if any, and tokens where it counted them.

    `thinking` says that the model is at work, though nothing of that is for the reader; `finished` that the provider
    called the reply whole (also where it ends because it is as long as allowed).
    """

    text: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    is_thinking: bool = False
    is_finished: bool = False


class ModelProvider(Protocol):
    """One model, wherever it runs."""

    def stream_reply(self, request: ModelRequest, limits: CallLimits) -> Generator[ReplyDelta]:
        """The reply in pieces. Closing it ends the call.

        Raises:
            UpstreamFault: whatever went wrong, before the first piece or after it.
        """


def open_provider(spec: ModelSpec, pool: HttpPool) -> ModelProvider:
    """The provider of a model of the file.

    Raises:
        InvalidInput: its key is not set, or its package not installed.
    """
    return _PROVIDER_FACTORIES[spec.provider](spec, pool)


def _open_openai(spec: ModelSpec, pool: HttpPool) -> ModelProvider:
    from serving.gateway.providers.openai import (
        OpenAICompatibleProvider,
    )  # seconds to import; who has no such model never waits

    return OpenAICompatibleProvider(spec, pool)


def _open_anthropic(spec: ModelSpec, pool: HttpPool) -> ModelProvider:
    from serving.gateway.providers.anthropic import AnthropicProvider

    return AnthropicProvider(spec, pool)


def _open_llamaindex(spec: ModelSpec, _: HttpPool) -> ModelProvider:
    from serving.gateway.providers.llamaindex import LlamaIndexProvider

    return LlamaIndexProvider(spec)


_PROVIDER_FACTORIES: dict[str, Callable[[ModelSpec, HttpPool], ModelProvider]] = {
    "openai": _open_openai,
    "anthropic": _open_anthropic,
    "llamaindex": _open_llamaindex,
}
