"""Calls of the gateway to providers on loopback, healthy and faulty. No HTTP is mocked."""

import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import anyio
import pytest
import yaml

import cli.main
from bench import gateway_faults
from bench.fake_models import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REPLY_WORDS,
    answer_well,
    drip_bytes,
    fail_with_500,
    hang_silently,
    model_entry,
)
from core.errors import InvalidInput, OverBudget
from core.principal import Principal
from core.settings import Settings
from integrations.llamaindex.llm import GatewayLLM
from serving.answering.types import SearchCompleted
from serving.api.problems import problem_response
from serving.api.streaming import stream_response
from serving.gateway.gateway import open_gateway
from serving.gateway.models_file import Timeouts
from serving.gateway.types import (
    Message,
    ModelFailed,
    ModelRequest,
    NoModelAvailable,
    Overloaded,
    Usage,
)
from tests.support.gateway import LENIENT, LONG, WAIT_SECONDS, FakeMeter, count_closed_connections

ALDER = Principal("alder")
IMPATIENT = Timeouts(connect=0.5, first=0.5, between=0.5, total=1)
WAITING = Timeouts(connect=5, first=3, between=3, total=12)  # for faults that say nothing at all
EVERYTHING = "".join(f"alpha{number} " for number in range(1, REPLY_WORDS + 1))


def request(**fields):
    return ModelRequest(
        [Message("system", "You count."), Message("user", "Count.")], ALDER, "test", **fields
    )


def test_the_command_shows_a_file_and_calls_each_model(
    tmp_path, start_provider, capsys, monkeypatch
):
    file = tmp_path / "models.yaml"
    dead = model_entry("beta", "http://127.0.0.1:9/v1", input_price="0.5")
    file.write_text(
        yaml.safe_dump(
            {
                "models": [start_provider().models_file_entry(), dead],
                "patience": LENIENT.model_dump(),
            }
        )
    )
    assert command(monkeypatch, "models", str(file), "--ask", "--json") == 1
    alpha, beta = json.loads(capsys.readouterr().out)["models"]
    assert alpha["answers"] is True
    assert "'beta' can't be reached" in beta["answers"]
    assert command(monkeypatch, "models", str(file)) == 0
    assert "beta: balanced, beta, 8192 tokens, 0.5 and 0 EUR per million" in capsys.readouterr().out
    assert command(monkeypatch, "models") == 1
    assert "set GROUNDWORK_MODELS" in capsys.readouterr().err


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["groundwork", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main.main()
    return ended.value.code


def test_a_reply_is_streamed_and_its_usage_recorded_as_the_provider_counts(
    open_models, start_provider
):
    meter = FakeMeter()
    gateway = open_models(
        start_provider().models_file_entry(input_price=1, output_price=3), meter=meter
    )
    reply = gateway.stream(request())
    assert reply.usage is None
    pieces = list(reply)
    assert len(pieces) == REPLY_WORDS
    assert "".join(pieces) == EVERYTHING
    cost = Decimal(INPUT_TOKENS + 3 * OUTPUT_TOKENS) / 1_000_000
    assert reply.usage == Usage(
        "alpha", INPUT_TOKENS, OUTPUT_TOKENS, cost, counted_by_provider=True, outcome="done"
    )
    assert meter.usages == [reply.usage]
    (_, tokens, most) = next(iter(meter.reserved.values()))
    assert tokens > 512
    assert most > cost
    assert gateway.endpoints["alpha"].limiter.in_flight == 0


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_connection_is_reused(open_models, start_provider, provider, streaming):
    endpoint = start_provider()
    fields = {"streaming": streaming}
    gateway = open_models(
        endpoint.models_file_entry(**fields) if provider == "openai" else claude(endpoint, **fields)
    )
    for _ in range(3):
        assert "".join(gateway.stream(request())) == EVERYTHING
    assert (endpoint.calls, endpoint.connections) == (3, 1)


def test_a_reply_without_streaming_is_one_piece(open_models, start_provider):
    assert list(
        open_models(start_provider().models_file_entry(streaming=False)).stream(request())
    ) == [EVERYTHING]


def test_fourteen_faults_raise_typed_errors_and_a_healthy_model_takes_over():
    """Short form of `python -m bench.gateway_faults`."""
    cells = [
        (kind, streaming) for kind in gateway_faults.FAULT_KINDS for streaming in (True, False)
    ]

    def tried(cell):
        kind, streaming = cell
        patience = WAITING if kind in ("hanging", "slow drip") else LENIENT
        with gateway_faults.open_faulty_models(
            [kind], streaming=streaming, timeouts=IMPATIENT
        ) as alone:
            first = gateway_faults.ask_gateway(alone.open_gateway())
        with gateway_faults.open_faulty_models(
            [kind, "none"], streaming=streaming, timeouts=patience
        ) as beside:
            second = gateway_faults.ask_gateway(beside.open_gateway())
            assert alone.is_idle, kind
            assert beside.is_idle, kind
        return cell, first, second

    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(tried, cells))
    assert len(seen) == 28
    for (kind, streaming), alone, beside in seen:
        assert alone.is_typed, (kind, streaming, alone)
        assert beside.is_typed, (kind, streaming, beside)
        assert not alone.is_mixed, (kind, alone)
        assert not beside.is_mixed, (kind, beside)
        if kind != "flapping":  # every second call to it succeeds, so a retry may help
            assert alone.ending != "whole", (kind, streaming, alone)
        assert alone.seconds < WAIT_SECONDS
        breaks_off = streaming and kind in gateway_faults.FAULTS_AFTER_FIRST_WORD
        ends = {"whole", "ModelFailed"} if breaks_off else {"whole"}
        assert beside.ending in ends, (kind, streaming, beside)


def test_two_dead_models_get_fewer_calls_than_requests():
    with gateway_faults.open_faulty_models(
        ["500", "refused"], streaming=True, timeouts=LENIENT
    ) as outage:
        gateway = outage.open_gateway()
        outcomes = gateway_faults.ask_each([gateway] * 200)
    assert {outcome.ending for outcome in outcomes} == {"NoModelAvailable"}
    assert outage.calls < 200


def test_a_broken_reply_is_not_continued_by_another_model(open_models, start_provider):
    """Its usage is estimated, because the provider did not report it."""
    meter = FakeMeter()

    def two_words(exchange):
        exchange.send_head()
        exchange.send_words(1, 2)
        exchange.end_chunks()

    healthy = start_provider("beta")
    gateway = open_models(
        start_provider("alpha", two_words).models_file_entry(output_price=1),
        healthy.models_file_entry(),
        meter=meter,
    )
    reply = gateway.stream(request())
    assert [next(reply), next(reply)] == ["alpha1 ", "alpha2 "]
    with pytest.raises(ModelFailed, match="'alpha' broke off"):
        next(reply)
    assert healthy.calls == 0
    (usage,) = meter.usages
    assert (usage.counted_by_provider, usage.outcome, usage.output_tokens) == (
        False,
        "failed",
        len("alpha1 alpha2 "),
    )
    assert usage.input_tokens > 0


def test_a_failed_call_without_a_reply_costs_nothing(open_models, start_provider):
    meter = FakeMeter()
    gateway = open_models(
        start_provider("alpha", fail_with_500).models_file_entry(input_price=9),
        start_provider("beta").models_file_entry(),
        meter=meter,
    )
    assert "beta12" in "".join(gateway.stream(request()))
    failed, done = meter.usages
    assert (failed.model, failed.input_tokens, failed.cost, failed.outcome) == (
        "alpha",
        0,
        0,
        "failed",
    )
    assert (done.model, done.outcome) == ("beta", "done")


def test_an_exhausted_budget_selects_a_cheaper_model_or_refuses(open_models, start_provider):
    """The policy decides."""
    expensive, cheap = start_provider("expensive"), start_provider("cheap")
    entries = (
        expensive.models_file_entry(output_price=5, tier="strong"),
        cheap.models_file_entry(output_price=1, tier="fast"),
    )
    asked = request(tier="strong")
    assert open_models(*entries, meter=FakeMeter(["expensive"])).stream(asked).model == "cheap"
    assert expensive.calls == 0
    refusing = open_models(
        *entries, meter=FakeMeter(["expensive"]), tenants={"alder": {"over_budget": "refuse"}}
    )
    with pytest.raises(OverBudget, match="resets at midnight"):
        refusing.stream(asked)
    with pytest.raises(OverBudget):
        open_models(*entries, meter=FakeMeter(["expensive", "cheap"])).stream(asked)
    assert refusing.endpoints["expensive"].limiter.in_flight == 0


def test_retry_after_is_waited_for_within_the_deadline(open_models, start_provider):
    def once(exchange):
        if exchange.number:
            return answer_well(exchange)
        exchange.send_head("429 Too Many Requests", "application/json", "Retry-After: 1\r\n")
        return exchange.end_chunks()

    patient = Timeouts(total=10.0)
    began = time.monotonic()
    assert (
        "".join(
            open_models(start_provider("alpha", once).models_file_entry(), patience=patient).stream(
                request()
            )
        )
        == EVERYTHING
    )
    assert time.monotonic() - began >= 1.0
    hasty = open_models(
        start_provider("alpha", once).models_file_entry(), patience=Timeouts(total=1.5, first=1.0)
    )
    with pytest.raises(NoModelAvailable) as caught:
        hasty.stream(request())
    assert caught.value.retry_after == 1


def test_a_request_to_busy_models_is_refused_with_a_retry_time(open_models, start_provider):
    gateway = open_models(start_provider().models_file_entry(concurrency=1, waiting=0))
    reply = gateway.stream(request())
    with pytest.raises(Overloaded) as caught:
        gateway.stream(request())
    assert caught.value.retry_after >= 1
    assert int(problem_response(caught.value).headers["retry-after"]) == caught.value.retry_after
    reply.close()
    assert list(gateway.stream(request()))


def test_a_request_goes_to_another_model_if_one_is_busy(open_models, start_provider):
    gateway = open_models(
        start_provider("alpha").models_file_entry(concurrency=1),
        start_provider("beta").models_file_entry(),
    )
    first = gateway.stream(request())
    assert gateway.stream(request()).model == "beta"
    first.close()


def test_closing_a_reply_disconnects_and_records_its_usage(open_models, start_provider):
    meter, endpoint = FakeMeter(), start_provider("alpha", drip_bytes)
    gateway = open_models(endpoint.models_file_entry(), meter=meter, patience=LONG)
    reply = gateway.stream(request())
    assert next(reply) == "alpha1 "
    reply.close()
    reply.close()
    assert list(reply) == []
    assert count_closed_connections(endpoint) == 1
    assert [usage.outcome for usage in meter.usages] == ["cancelled"]
    assert gateway.endpoints["alpha"].limiter.in_flight == 0


def test_an_abandoned_reply_disconnects(open_models, start_provider):
    endpoint = start_provider("alpha", drip_bytes)
    gateway = open_models(endpoint.models_file_entry(), patience=LONG)
    reply = gateway.stream(request())
    del reply
    assert count_closed_connections(endpoint) == 1
    assert gateway.endpoints["alpha"].limiter.in_flight == 0


def test_another_thread_can_cancel_a_waiting_call(open_models, start_provider):
    endpoint, cancelled = start_provider("alpha", hang_silently), threading.Event()
    gateway = open_models(endpoint.models_file_entry(), patience=LONG)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(gateway.stream, request(cancelled=cancelled))
        until = time.monotonic() + WAIT_SECONDS
        while not endpoint.calls and time.monotonic() < until:
            time.sleep(0.01)
        cancelled.set()
        with pytest.raises(NoModelAvailable):
            waiting.result(WAIT_SECONDS)
    assert count_closed_connections(endpoint) == 1
    assert gateway.endpoints["alpha"].breaker.admit()


def test_a_disconnected_reader_cancels_a_waiting_call(open_models, start_provider):
    """Over server-sent events, while the model has sent nothing yet."""
    endpoint = start_provider("alpha", hang_silently)
    gateway, disconnected = (
        open_models(endpoint.models_file_entry(), patience=LONG),
        threading.Event(),
    )

    def events():
        yield SearchCompleted(1, 1)
        gateway.stream(request(cancelled=disconnected))

    async def read():
        async for _ in stream_response(events(), disconnected).body_iterator:
            pass

    async def leave():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            with anyio.fail_after(WAIT_SECONDS):
                while not endpoint.calls:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

    anyio.run(leave)
    assert count_closed_connections(endpoint) == 1


def test_closing_one_of_two_replies_keeps_the_other(open_models, start_provider):
    gateway, reader = open_models(start_provider().models_file_entry()), threading.Event()
    one = gateway.stream(request(cancelled=reader))
    other = gateway.stream(request(cancelled=reader))
    one.close()
    assert "".join(other) == EVERYTHING


def claude(endpoint, **fields):
    return endpoint.models_file_entry(
        provider="anthropic", base_url=endpoint.address.removesuffix("/v1"), **fields
    )


@pytest.mark.parametrize("streaming", [True, False])
def test_the_messages_api_is_supported(open_models, start_provider, streaming):
    seen = []

    def listening(exchange):
        seen.append(exchange.body)
        answer_well(exchange)

    reply = open_models(claude(start_provider("alpha", listening), streaming=streaming)).stream(
        request()
    )
    assert "".join(reply) == EVERYTHING
    assert (
        reply.usage.input_tokens,
        reply.usage.output_tokens,
        reply.usage.counted_by_provider,
    ) == (INPUT_TOKENS, OUTPUT_TOKENS, True)
    (asked,) = seen
    assert asked["system"] == "You count."
    assert asked["messages"] == [{"role": "user", "content": "Count."}]
    assert asked["max_tokens"] == 512


def test_a_schema_is_enforced_by_a_tool(open_models, start_provider):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}

    def using(exchange):
        assert exchange.body["tools"][0]["input_schema"] == schema
        assert exchange.body["tool_choice"] == {"type": "tool", "name": "reply"}
        exchange.send_head()
        exchange.send_chunk(exchange.format_opening())
        for part in ('{"city": "Par', 'is"}'):
            delta = {"type": "input_json_delta", "partial_json": part}
            exchange.send_chunk(
                f"data: "
                f"{json.dumps({'type': 'content_block_delta', 'index': 0, 'delta': delta})}\n\n"
            )
        exchange.send_chunk(exchange.format_closing())
        exchange.end_chunks()

    gateway = open_models(claude(start_provider("alpha", using), json_schema=True))
    assert json.loads("".join(gateway.stream(request(schema=schema)))) == {"city": "Paris"}


def test_an_error_event_of_the_messages_api_is_a_fault(open_models, start_provider):
    def overloaded(exchange):
        exchange.send_head()
        exchange.send_chunk(exchange.format_opening())
        exchange.send_chunk(
            'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n'
        )
        exchange.end_chunks()

    gateway = open_models(
        claude(start_provider("alpha", overloaded)), start_provider("beta").models_file_entry()
    )
    assert gateway.stream(request()).model == "beta"


def test_a_llamaindex_model_is_named_by_its_path(open_models):
    path = "llama_index.core.llms.mock:MockLLM"
    listed = {"provider": "llamaindex", "model": path, "base_url": "", "usage": False}
    gateway = open_models(model_entry("mock", "") | listed)
    assert "Count." in "".join(gateway.stream(request()))
    assert "Count." in "".join(
        open_models(model_entry("mock", "") | listed | {"streaming": False}).stream(request())
    )
    with pytest.raises(InvalidInput, match=r"can't be imported\. Install it"):
        open_models(
            model_entry("mock", "") | listed | {"model": "llama_index.llms.nowhere:Nothing"}
        )


def test_llamaindex_gets_routing_budgets_and_fallback(open_models, start_provider):
    meter = FakeMeter()
    gateway = open_models(
        start_provider("beta", fail_with_500).models_file_entry(),
        start_provider().models_file_entry(),
        meter=meter,
    )
    llm = GatewayLLM(gateway, ALDER, purpose="report")
    response = llm.complete("Count.")
    assert response.text == EVERYTHING
    assert response.additional_kwargs == {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
    }
    assert [piece.delta for piece in llm.stream_complete("Count.")] == [
        f"alpha{n} " for n in range(1, REPLY_WORDS + 1)
    ]
    assert asyncio.run(llm.acomplete("Count.")).text == EVERYTHING
    assert [usage.outcome for usage in meter.usages].count("done") == 3
    with pytest.raises(OverBudget):
        GatewayLLM(
            open_models(start_provider().models_file_entry(), meter=FakeMeter(["alpha"])), ALDER
        ).complete("Count.")


def test_a_gateway_needs_a_models_file_and_its_keys(tmp_path, monkeypatch):
    assert open_gateway(Settings(_env_file=None)) is None
    file = tmp_path / "models.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "models": [
                    model_entry("small", "http://127.0.0.1:1/v1") | {"key_variable": "MODEL_KEY"}
                ]
            }
        )
    )
    settings = Settings(_env_file=None, models=str(file))
    monkeypatch.delenv("MODEL_KEY", raising=False)
    with pytest.raises(InvalidInput, match="'small' needs a key in MODEL_KEY, which is not set"):
        open_gateway(settings)
    monkeypatch.setenv("MODEL_KEY", "secret")
    gateway = open_gateway(settings)
    assert "secret" not in repr(gateway.models_file)
    gateway.close()
