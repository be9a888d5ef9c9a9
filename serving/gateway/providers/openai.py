"""Every endpoint with OpenAI's chat completions, such as Azure, vLLM, TGI, Ollama and llama.cpp.

Azure's `base_url` is https://NAME.openai.azure.com/openai/v1, and its `model` is the name of the
deployment.
"""

from collections.abc import Generator
from typing import Any

import openai
import openai.resources.chat.completions  # else the first question would wait for this import

from core.http import CallLimits, HttpPool
from serving.gateway.models_file import ModelSpec
from serving.gateway.providers.base import ReplyDelta
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
        self._key = spec.read_api_key() or "none"  # the client requires one

    def stream_reply(self, request: ModelRequest, limits: CallLimits) -> Generator[ReplyDelta]:
        """Yield the reply in parts, or whole if `streaming` is off."""
        try:
            with self._pool.open_client(limits) as http:
                client = openai.OpenAI(
                    api_key=self._key,
                    base_url=self._spec.base_url,
                    http_client=http,
                    max_retries=0,
                    timeout=None,
                )
                if self._spec.streaming:
                    yield from self._stream_deltas(client, request)
                else:
                    yield self._fetch_completion(client, request)
        except openai.APIStatusError as error:
            raise fault_from_status(
                error.status_code, error.response.headers.get("retry-after")
            ) from error
        except Exception as error:  # the client checks no reply, so any part may be missing
            raise fault_from_error(error) from error

    def _stream_deltas(self, client: openai.OpenAI, request: ModelRequest) -> Generator[ReplyDelta]:
        body = self._build_request(request)
        if self._spec.usage:
            body["stream_options"] = {"include_usage": True}
        response = client.chat.completions.with_raw_response.create(stream=True, **body)
        _check_content_type(response.headers, "text/event-stream")
        with response.parse() as chunks:
            for chunk in chunks:
                yield from _parse_chunk(chunk)

    def _fetch_completion(self, client: openai.OpenAI, request: ModelRequest) -> ReplyDelta:
        response = client.chat.completions.with_raw_response.create(**self._build_request(request))
        _check_content_type(response.headers, "application/json")
        completion = response.parse()
        choice = completion.choices[0]
        if not choice.finish_reason:
            raise UpstreamFault("cut")
        counts = _token_counts(completion.usage)
        return ReplyDelta(choice.message.content or "", *counts, is_finished=True)

    def _build_request(self, request: ModelRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._spec.model,
            "messages": [
                {"role": message.role, "content": message.content} for message in request.messages
            ],
        }
        if self._spec.reasoning:  # no temperature, and its thinking counts as output
            body["max_completion_tokens"] = request.max_tokens
        else:
            body |= {"max_tokens": request.max_tokens, "temperature": request.temperature}
        if request.schema is not None and self._spec.json_schema:
            schema = {"name": "reply", "schema": dict(request.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body


def _parse_chunk(chunk: Any) -> Generator[ReplyDelta]:
    """Yield the content of a chunk, if any. The last one may hold only token counts."""
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
