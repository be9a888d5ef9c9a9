"""Anthropic's Messages API, over plain HTTP. `base_url` is https://api.anthropic.com.

A JSON schema becomes the input of a tool that the model has to use; the tool's input is the reply.
"""

import json
from collections.abc import Generator
from typing import Any

import httpx

from core.http import CallLimits, HttpPool
from serving.gateway.models_file import ModelSpec
from serving.gateway.providers.base import ReplyDelta
from serving.gateway.resilience.upstream_faults import (
    UpstreamFault,
    fault_from_error,
    fault_from_status,
)
from serving.gateway.types import ModelRequest

API_VERSION = "2023-06-01"  # the only one
REPLY_TOOL = "reply"
OVERLOAD_ERROR_TYPES = ("overloaded_error", "rate_limit_error")  # types of an `error` event


class AnthropicProvider:
    """A model behind the Messages API."""

    def __init__(self, spec: ModelSpec, pool: HttpPool) -> None:
        self._spec, self._pool = spec, pool
        self._headers = {"anthropic-version": API_VERSION, "x-api-key": spec.read_api_key() or ""}

    def stream_reply(self, request: ModelRequest, limits: CallLimits) -> Generator[ReplyDelta]:
        """Yield the reply in parts, or whole if `streaming` is off."""
        address, streaming = f"{self._spec.base_url}/v1/messages", self._spec.streaming
        content_type = "text/event-stream" if streaming else "application/json"
        try:
            with (
                self._pool.open_client(limits) as http,
                http.stream(
                    "POST", address, headers=self._headers, json=self._build_request(request)
                ) as response,
            ):
                if response.status_code != 200:
                    raise fault_from_status(
                        response.status_code, response.headers.get("retry-after")
                    )
                if not response.headers.get("content-type", "").startswith(content_type):
                    raise UpstreamFault("content_type")
                yield from _stream_deltas(response) if streaming else _parse_message(response)
        except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise fault_from_error(error) from error

    def _build_request(self, request: ModelRequest) -> dict[str, Any]:
        system = "\n\n".join(
            message.content for message in request.messages if message.role == "system"
        )
        turns = [message for message in request.messages if message.role != "system"]
        body: dict[str, Any] = {
            "model": self._spec.model,
            "max_tokens": request.max_tokens,
            "messages": [{"role": message.role, "content": message.content} for message in turns],
            "stream": self._spec.streaming,
        }
        if system:
            body["system"] = system
        if not self._spec.reasoning:
            body["temperature"] = request.temperature
        if request.schema is not None and self._spec.json_schema:
            body["tools"] = [
                {
                    "name": REPLY_TOOL,
                    "description": "The reply.",
                    "input_schema": dict(request.schema),
                }
            ]
            body["tool_choice"] = {"type": "tool", "name": REPLY_TOOL}
        return body


def _stream_deltas(response: httpx.Response) -> Generator[ReplyDelta]:
    for line in response.iter_lines():
        if line.startswith("data:"):  # the data repeats the name of the event
            yield from _parse_event(json.loads(line.removeprefix("data:")))


def _parse_event(event: dict[str, Any]) -> Generator[ReplyDelta]:
    kind = event["type"]
    if kind == "error":
        raise UpstreamFault(
            "rate_limited" if event["error"]["type"] in OVERLOAD_ERROR_TYPES else "server"
        )
    if kind == "message_start":
        yield ReplyDelta(input_tokens=_count_input_tokens(event["message"]["usage"]))
    elif kind == "content_block_delta":
        delta = event["delta"]
        yield ReplyDelta(
            delta.get("text") or delta.get("partial_json") or "", is_thinking="thinking" in delta
        )
    elif kind == "message_delta":
        stopped = event["delta"].get("stop_reason") is not None
        yield ReplyDelta(output_tokens=event["usage"]["output_tokens"], is_finished=stopped)


def _parse_message(response: httpx.Response) -> Generator[ReplyDelta]:
    message = json.loads(response.read())
    parts = [
        json.dumps(block["input"]) if block["type"] == "tool_use" else block.get("text", "")
        for block in message["content"]
    ]
    if message.get("stop_reason") is None:
        raise UpstreamFault("cut")
    yield ReplyDelta(
        "".join(parts),
        _count_input_tokens(message["usage"]),
        message["usage"]["output_tokens"],
        is_finished=True,
    )


def _count_input_tokens(usage: dict[str, Any]) -> int:
    """Return the tokens read, with those of a cached prompt."""
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(usage.get(name) or 0 for name in names)
