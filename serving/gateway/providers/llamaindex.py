"""Any LLM of LlamaIndex, by the path of its class: `model: llama_index.llms.bedrock_converse:BedrockConverse`.

Its package is the operator's to install. It brings its own client, so a call can be given up but not ended: a thread
reads, and nobody waits for it longer than the deadlines allow.
"""

import importlib
import queue
import threading
from collections.abc import Generator
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole

from core.errors import InvalidInput
from core.http import POLL_SECONDS, CallLimits
from serving.gateway.models_file import ModelSpec
from serving.gateway.providers import ReplyDelta
from serving.gateway.resilience.upstream_faults import UpstreamFault
from serving.gateway.types import ModelRequest


class LlamaIndexProvider:
    """A model behind LlamaIndex's interface."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._llm = _load_llm(spec)

    def stream_reply(self, request: ModelRequest, limits: CallLimits) -> Generator[ReplyDelta]:
        """The reply in pieces; tokens are counted by us, since its replies don't carry a count."""
        read: queue.Queue[ReplyDelta | None] = queue.Queue(maxsize=64)
        given_up = threading.Event()
        arguments = (request, read, given_up)
        threading.Thread(
            target=self._read_reply, args=arguments, name=f"model {self._spec.name}", daemon=True
        ).start()
        try:
            while True:
                delta = _next_delta(read, limits)
                if delta is None:
                    raise UpstreamFault("broken")
                yield delta
                if delta.is_finished:
                    return
        finally:
            given_up.set()

    def _read_reply(
        self,
        request: ModelRequest,
        deltas: "queue.Queue[ReplyDelta | None]",
        abandoned: threading.Event,
    ) -> None:
        """Fills the queue: pieces, then one that says it is finished, or None where it failed."""
        turns = [
            ChatMessage(role=MessageRole(turn.role), content=turn.content)
            for turn in request.messages
        ]
        try:
            if self._spec.streaming:
                for response in self._llm.stream_chat(turns, max_tokens=request.max_tokens):
                    _put_delta(deltas, ReplyDelta(response.delta or ""), abandoned)
                    if abandoned.is_set():
                        return
            else:
                _put_delta(
                    deltas,
                    ReplyDelta(
                        self._llm.chat(turns, max_tokens=request.max_tokens).message.content or ""
                    ),
                    abandoned,
                )
            _put_delta(deltas, ReplyDelta(is_finished=True), abandoned)
        except (
            Exception
        ):  # whatever that client raises; it knows neither our deadlines nor our kinds of fault
            _put_delta(deltas, None, abandoned)


def _next_delta(deltas: "queue.Queue[ReplyDelta | None]", limits: CallLimits) -> ReplyDelta | None:
    while True:
        try:
            return deltas.get(timeout=min(limits.remaining_seconds(), POLL_SECONDS))
        except queue.Empty:
            continue


def _put_delta(
    deltas: "queue.Queue[ReplyDelta | None]", delta: ReplyDelta | None, abandoned: threading.Event
) -> None:
    while not abandoned.is_set():
        try:
            deltas.put(delta, timeout=POLL_SECONDS)
        except queue.Full:
            continue
        return


def _load_llm(spec: ModelSpec) -> Any:
    module, _, name = spec.model.partition(":")
    try:
        return getattr(importlib.import_module(module), name)(**spec.options)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(
            f"The model {spec.name!r} needs {spec.model}, which can't be imported; install it."
        ) from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{spec.model} does not take the options of the model {spec.name!r}."
        ) from error
