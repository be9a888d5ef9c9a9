"""Every endpoint that speaks OpenAI's chat completions: OpenAI, Azure, vLLM, TGI, Ollama, llama.cpp and many more.

Azure's address is https://NAME.openai.azure.com/openai/v1, and its `model` the name of the deployment.
"""

from collections.abc import Generator
from typing import Any

import openai
import openai.resources.chat.completions  # the client would import it with the first question, which would wait for it

from serving.gateway.models import ModelSpec
from serving.gateway.providers import Delta
from serving.gateway.resilience.faults import UpstreamFault, fault_of, of_status
from serving.gateway.transport import Pool, Watch
from serving.gateway.types import ModelRequest


class OpenAICompatible:
    """A model behind chat completions."""

    def __init__(self, spec: ModelSpec, pool: Pool) -> None:
        self._spec, self._pool = spec, pool
        self._key = spec.key() or "none"  # the client insists on one

    def reply(self, request: ModelRequest, watch: Watch) -> Generator[Delta]:
        """The reply in pieces, or in one where the endpoint can't stream."""
        try:
            with self._pool.client(watch) as http:
                client = openai.OpenAI(
                    api_key=self._key, base_url=self._spec.base_url, http_client=http, max_retries=0, timeout=None
                )  # fmt: skip
                yield from self._streamed(client, request) if self._spec.streaming else self._whole(client, request)
        except openai.APIStatusError as error:
            raise of_status(error.status_code, error.response.headers.get("retry-after")) from error
        except UpstreamFault:
            raise
        except Exception as error:  # the client does not check what it is sent, so anything may be missing in it
            raise fault_of(error) from error

    def _streamed(self, client: openai.OpenAI, request: ModelRequest) -> Generator[Delta]:
        asked = self._asked(request)
        if self._spec.usage:
            asked["stream_options"] = {"include_usage": True}
        response = client.chat.completions.with_raw_response.create(stream=True, **asked)
        _check_type(response.headers, "text/event-stream")
        with response.parse() as chunks:
            for chunk in chunks:
                yield from _deltas(chunk)

    def _whole(self, client: openai.OpenAI, request: ModelRequest) -> Generator[Delta]:
        response = client.chat.completions.with_raw_response.create(**self._asked(request))
        _check_type(response.headers, "application/json")
        completion = response.parse()
        choice = completion.choices[0]
        if not choice.finish_reason:
            raise UpstreamFault("cut")
        yield Delta(choice.message.content or "", *_counted(completion.usage), finished=True)

    def _asked(self, request: ModelRequest) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model": self._spec.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        }
        if self._spec.reasoning:  # such a model takes no temperature, and counts its thoughts
            asked["max_completion_tokens"] = request.max_tokens
        else:
            asked |= {"max_tokens": request.max_tokens, "temperature": request.temperature}
        if request.schema is not None and self._spec.json_schema:
            schema = {"name": "reply", "schema": dict(request.schema), "strict": True}
            asked["response_format"] = {"type": "json_schema", "json_schema": schema}
        return asked


def _deltas(chunk: Any) -> Generator[Delta]:
    """What a chunk says. The last one may have no choice in it, only what was counted."""
    choice = chunk.choices[0] if chunk.choices else None
    text = (choice.delta.content if choice else None) or ""
    thinking = bool(choice and getattr(choice.delta, "reasoning_content", None))
    finished = bool(choice and choice.finish_reason)
    if text or thinking or finished or chunk.usage:
        yield Delta(text, *_counted(chunk.usage), thinking, finished)


def _counted(usage: Any) -> tuple[int | None, int | None]:
    return (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)


def _check_type(headers: Any, wanted: str) -> None:
    if not headers.get("content-type", "").startswith(wanted):
        raise UpstreamFault("content_type")
