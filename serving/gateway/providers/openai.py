"""Every endpoint that speaks OpenAI's chat completions: OpenAI, Azure, vLLM, TGI, Ollama, llama.cpp and many more.

Azure's address is https://NAME.openai.azure.com/openai/v1, and its `model` the name of the deployment.
"""

from collections.abc import Generator
from typing import Any

import openai
import openai.resources.chat.completions  # the client would import it with the first question, which would wait for it

from core.http import CallLimits, HttpPool
from serving.gateway.models_file import ModelSpec
from serving.gateway.providers import ReplyDelta
from serving.gateway.resilience.upstream_faults import (
    UpstreamFault,
    fault_from_error,
    fault_from_status,
)
from serving.gateway.types import ModelRequest


class OpenAICompatibleProvider:
    """A model behind chat completions."""

    def __init__(self, spec: ModelSpec, pool: HttpPool) -> None:
        self._spec, self._pool = spec, pool
        self._key = spec.read_api_key() or "none"  # the client insists on one

    def stream_reply(self, request: ModelRequest, limits: CallLimits) -> Generator[ReplyDelta]:
        """The reply in pieces, or in one where the endpoint can't stream."""
        try:
            with self._pool.open_client(limits) as http:
                client = openai.OpenAI(
                    api_key=self._key,
                    base_url=self._spec.base_url,
                    http_client=http,
                    max_retries=0,
                    timeout=None,
                )
                yield from (
                    self._stream_deltas(client, request)
                    if self._spec.streaming
                    else self._fetch_completion(client, request)
                )
        except openai.APIStatusError as error:
            raise fault_from_status(
                error.status_code, error.response.headers.get("retry-after")
            ) from error
        except UpstreamFault:
            raise
        except (
            Exception
        ) as error:  # the client does not check what it is sent, so anything may be missing in it
            raise fault_from_error(error) from error

    def _stream_deltas(self, client: openai.OpenAI, request: ModelRequest) -> Generator[ReplyDelta]:
        asked = self._build_request(request)
        if self._spec.usage:
            asked["stream_options"] = {"include_usage": True}
        response = client.chat.completions.with_raw_response.create(stream=True, **asked)
        _check_content_type(response.headers, "text/event-stream")
        with response.parse() as chunks:
            for chunk in chunks:
                yield from _parse_chunk(chunk)

    def _fetch_completion(
        self, client: openai.OpenAI, request: ModelRequest
    ) -> Generator[ReplyDelta]:
        response = client.chat.completions.with_raw_response.create(**self._build_request(request))
        _check_content_type(response.headers, "application/json")
        completion = response.parse()
        choice = completion.choices[0]
        if not choice.finish_reason:
            raise UpstreamFault("cut")
        yield ReplyDelta(
            choice.message.content or "", *_token_counts(completion.usage), is_finished=True
        )

    def _build_request(self, request: ModelRequest) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model": self._spec.model,
            "messages": [
                {"role": message.role, "content": message.content} for message in request.messages
            ],
        }
        if self._spec.reasoning:  # such a model takes no temperature, and counts its thoughts
            asked["max_completion_tokens"] = request.max_tokens
        else:
            asked |= {"max_tokens": request.max_tokens, "temperature": request.temperature}
        if request.schema is not None and self._spec.json_schema:
            schema = {"name": "reply", "schema": dict(request.schema), "strict": True}
            asked["response_format"] = {"type": "json_schema", "json_schema": schema}
        return asked


def _parse_chunk(chunk: Any) -> Generator[ReplyDelta]:
    """What a chunk says. The last one may have no choice in it, only what was counted."""
    choice = chunk.choices[0] if chunk.choices else None
    text = (choice.delta.content if choice else None) or ""
    thinking = bool(choice and getattr(choice.delta, "reasoning_content", None))
    finished = bool(choice and choice.finish_reason)
    if text or thinking or finished or chunk.usage:
        yield ReplyDelta(text, *_token_counts(chunk.usage), thinking, finished)


def _token_counts(usage: Any) -> tuple[int | None, int | None]:
    return (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)


def _check_content_type(headers: Any, expected: str) -> None:
    if not headers.get("content-type", "").startswith(expected):
        raise UpstreamFault("content_type")
