"""Interface between the gateway and the providers."""

from collections.abc import Generator
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from core.http import CallLimits, HttpPool
from serving.gateway import providers
from serving.gateway.models_file import ModelSpec
from serving.gateway.types import ModelRequest


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """The newest part of a reply: text, and tokens as the provider counted them.

    `is_thinking` means that the model works on text that is not for the reader. `is_finished` means
    that the provider called the reply complete, also where it reached its maximum length.
    """

    text: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    is_thinking: bool = False
    is_finished: bool = False


class ModelProvider(Protocol):
    """One model at one provider. Its class is built with a `ModelSpec` and the `HttpPool`."""

    def stream_reply(self, request: ModelRequest, limits: CallLimits) -> Generator[ReplyDelta]:
        """Yield the reply in parts. Closing the generator ends the call.

        `limits` has the deadlines and the cancellation of the call: `limits.remaining_seconds()`
        before each wait, or a client of `HttpPool.open_client(limits)`, which does so itself.

        Raises:
            UpstreamFault, HttpError: the call failed, before its first part or after it.
        """


def open_provider(spec: ModelSpec, pool: HttpPool) -> ModelProvider:
    """Return the provider of a model of the models file.

    Raises:
        InvalidInput: its key is not set, or its package is not installed.
    """
    module, _, name = providers.PROVIDERS[spec.provider].import_path.partition(":")
    provider: ModelProvider = getattr(import_module(module), name)(spec, pool)
    return provider
