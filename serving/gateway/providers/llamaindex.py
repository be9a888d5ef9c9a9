"""Any LLM class of LlamaIndex: `model: llama_index.llms.bedrock_converse:BedrockConverse`.

The operator installs its package. It brings its own HTTP client, so a call can be abandoned but not
ended: a thread reads the reply, and the gateway waits for it only as long as the deadlines allow.
"""

import importlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole

from core.errors import InvalidInput
from core.http import POLL_SECONDS, CallLimits, HttpPool
from serving.gateway.models_file import ModelSpec
from serving.gateway.providers.base import ReplyDelta
from serving.gateway.resilience.upstream_faults import UpstreamFault
from serving.gateway.types import ModelRequest


class LlamaIndexProvider:
    """A model behind LlamaIndex's interface."""

    def __init__(self, spec: ModelSpec, _pool: HttpPool) -> None:
        self._spec = spec
        self._llm = _load_llm(spec)

    def stream_reply(self, request: ModelRequest, limits: CallLimits) -> Generator[ReplyDelta]:
        """Yield the reply without token counts: LlamaIndex has none."""
        deltas: queue.Queue[ReplyDelta | None] = queue.Queue(maxsize=64)
        abandoned = threading.Event()
        threading.Thread(
            target=self._read_reply,
            args=(request, deltas, abandoned),
            name=f"model {self._spec.name}",
            daemon=True,
        ).start()
        try:
            while True:
                delta = _next_delta(deltas, limits)
                if delta is None:
                    raise UpstreamFault("broken")
                yield delta
                if delta.is_finished:
                    return
        finally:
            abandoned.set()

    def _read_reply(
        self,
        request: ModelRequest,
        deltas: "queue.Queue[ReplyDelta | None]",
        abandoned: threading.Event,
    ) -> None:
        """Fill the queue: deltas, then one that is finished; None if the call failed."""
        try:
            for text in self._generate(request):
                _put_delta(deltas, ReplyDelta(text), abandoned)
                if abandoned.is_set():
                    return
            _put_delta(deltas, ReplyDelta(is_finished=True), abandoned)
        except Exception:  # each client of LlamaIndex raises errors of its own
            _put_delta(deltas, None, abandoned)

    def _generate(self, request: ModelRequest) -> Iterator[str]:
        messages = [
            ChatMessage(role=MessageRole(message.role), content=message.content)
            for message in request.messages
        ]
        if self._spec.streaming:
            for response in self._llm.stream_chat(messages, max_tokens=request.max_tokens):
                yield response.delta or ""
        else:
            yield self._llm.chat(messages, max_tokens=request.max_tokens).message.content or ""


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
            f"The model {spec.name!r} needs {spec.model}, which can't be imported. Install it."
        ) from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{spec.model} does not take the options of the model {spec.name!r}."
        ) from error
