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
from serving.gateway.models import ModelSpec
from serving.gateway.providers import Delta
from serving.gateway.resilience.faults import UpstreamFault
from serving.gateway.transport import SLICE, Watch
from serving.gateway.types import ModelRequest


class LlamaIndexModel:
    """A model behind LlamaIndex's interface."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._llm = _load(spec)

    def reply(self, request: ModelRequest, watch: Watch) -> Generator[Delta]:
        """The reply in pieces; tokens are counted by us, since its replies don't carry a count."""
        read: queue.Queue[Delta | None] = queue.Queue(maxsize=64)
        given_up = threading.Event()
        arguments = (request, read, given_up)
        threading.Thread(target=self._read, args=arguments, name=f"model {self._spec.name}", daemon=True).start()
        try:
            while True:
                delta = _next(read, watch)
                if delta is None:
                    raise UpstreamFault("broken")
                yield delta
                if delta.finished:
                    return
        finally:
            given_up.set()

    def _read(self, request: ModelRequest, read: "queue.Queue[Delta | None]", given_up: threading.Event) -> None:
        """Fills the queue: pieces, then one that says it is finished, or None where it failed."""
        turns = [ChatMessage(role=MessageRole(turn.role), content=turn.content) for turn in request.messages]
        try:
            if self._spec.streaming:
                for response in self._llm.stream_chat(turns, max_tokens=request.max_tokens):
                    _put(read, Delta(response.delta or ""), given_up)
                    if given_up.is_set():
                        return
            else:
                _put(read, Delta(self._llm.chat(turns, max_tokens=request.max_tokens).message.content or ""), given_up)
            _put(read, Delta(finished=True), given_up)
        except Exception:  # whatever that client raises; it knows neither our deadlines nor our kinds of fault
            _put(read, None, given_up)


def _next(read: "queue.Queue[Delta | None]", watch: Watch) -> Delta | None:
    while True:
        try:
            return read.get(timeout=min(watch.left(), SLICE))
        except queue.Empty:
            continue


def _put(read: "queue.Queue[Delta | None]", delta: Delta | None, given_up: threading.Event) -> None:
    while not given_up.is_set():
        try:
            read.put(delta, timeout=SLICE)
        except queue.Full:
            continue
        return


def _load(spec: ModelSpec) -> Any:
    module, _, name = spec.model.partition(":")
    try:
        return getattr(importlib.import_module(module), name)(**spec.options)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(
            f"The model {spec.name!r} needs {spec.model}, which can't be imported; install it."
        ) from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{spec.model} does not take the options of the model {spec.name!r}.") from error
