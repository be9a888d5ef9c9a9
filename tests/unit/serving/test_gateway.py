"""The gateway with endpoints on loopback that answer well or badly; no HTTP is mocked."""

import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import uuid4

import anyio
import pytest
import yaml

import cli.main
from bench import gateway_faults
from bench.fake_models import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REPLY_WORDS,
    FakeProvider,
    answer_well,
    drip_bytes,
    fail_with_500,
    hang_silently,
    model_entry,
)
from core.errors import InvalidInput, OverBudget
from core.http import HttpPool
from core.principal import Principal
from core.settings import Settings
from integrations.llamaindex.llm import GatewayLLM
from serving.answering.answer_cache import compute_release_hash
from serving.answering.types import SearchCompleted
from serving.api.problems import problem_response
from serving.api.streaming import stream_response
from serving.gateway.gateway import Gateway, open_gateway
from serving.gateway.models_file import ModelsFile, Timeouts, read_models
from serving.gateway.providers.base import open_provider
from serving.gateway.resilience.circuit_breaker import CircuitBreaker
from serving.gateway.resilience.concurrency_limiter import ConcurrencyLimiter
from serving.gateway.resilience.retries import RetryBudget, retry_delay_seconds
from serving.gateway.resilience.upstream_faults import UpstreamFault
from serving.gateway.routing import rank_models, tier_for_question
from serving.gateway.types import (
    Message,
    ModelFailed,
    ModelRequest,
    NoModelAvailable,
    Overloaded,
    Usage,
)
from tests.conftest import ROOT

ALDER = Principal("alder")
IMPATIENT = Timeouts(connect=0.5, first=0.5, between=0.5, total=1)
LENIENT = Timeouts(
    connect=30, first=30, between=30, total=60
)  # who is well is in time, on a busy machine too
WAITING = Timeouts(connect=5, first=3, between=3, total=12)  # for faults that say nothing at all
QUICKLY = 30.0  # seconds: far beyond every deadline here, for a machine that is busy
EVERYTHING = "".join(f"alpha{number} " for number in range(1, REPLY_WORDS + 1))


def request(**fields):
    return ModelRequest(
        [Message("system", "You count."), Message("user", "Count.")], ALDER, "test", **fields
    )


@pytest.fixture
def opened():
    """Makes gateways and closes their connections."""
    pool = HttpPool()

    def make(*entries, meter=None, patience=LENIENT, **file):
        read = ModelsFile.model_validate(
            {"models": entries, "patience": patience.model_dump(), **file}
        )
        return Gateway(
            read, {model.name: open_provider(model, pool) for model in read.models}, meter
        )

    yield make
    pool.close()


@pytest.fixture
def fake():
    """Makes endpoints."""
    made = []

    def make(name="alpha", behave=answer_well):
        made.append(FakeProvider(name, behave))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_the_example_of_a_models_file_loads_and_knows_no_key():
    file = read_models(ROOT / "models.example.yaml")
    assert {model.tier for model in file.models} == {"fast", "balanced", "strong"}
    assert file.policy_for("alder").models == ("small",)
    assert file.policy_for("brightwater") == file.default
    commented = [
        line.removeprefix("  # ")
        for line in (ROOT / "models.example.yaml").read_text().splitlines()
    ]
    first = commented.index("- name: bedrock")
    bedrock = yaml.safe_load("\n".join(commented[first : commented.index("", first)]))
    assert ModelsFile(models=bedrock).models[0].provider == "llamaindex"


GOOD = model_entry("small", "http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ({"tier": "huge"}, "models 'small' tier: should be 'fast', 'balanced' or 'strong'"),
        ({"teir": "fast"}, "models 'small' teir: is not a setting"),
        ({"context": None}, "models 'small' context: should be a valid integer"),
        ({"input_price": -1}, "models 'small' input_price: should be greater than or equal to 0"),
        (
            {"base_url": "localhost:8081"},
            "models 'small' base_url: write an address as https://host/v1",
        ),
        ({"base_url": ""}, "models 'small': base_url is missing"),
        (
            {"key_variable": "sk-abcdef"},
            "models 'small' key_variable: name the environment variable",
        ),
        (
            {"base_url": "http://models.example.org/v1", "key_variable": "KEY"},
            "a key is sent only over https",
        ),
        ({"provider": "llamaindex"}, "for llamaindex write model: package.module:Class"),
        (
            {"provider": "cohere"},
            "'cohere' is not a provider. Use one of: openai, anthropic, llama",
        ),
        ({"options": {"a": 1}}, "the provider openai takes no options"),
    ],
)
def test_each_mistake_in_a_models_file_is_a_sentence(tmp_path, mistake, sentence):
    file = tmp_path / "models.yaml"
    file.write_text(yaml.safe_dump({"models": [GOOD | mistake], "surplus": 1}))
    with pytest.raises(InvalidInput) as caught:
        read_models(file)
    said = str(caught.value).splitlines()
    assert len(said) == 2, said
    assert sentence in said[0]
    assert "surplus: is not a setting" in said[1]
    assert "sk-abcdef" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("models: [", "is not YAML"),
        ("models: []", "models: list at least one"),
        ("currency: EUR\ncurrency: USD", "currency appears twice"),
        ("[]", "is not a list of settings"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, text, sentence):
    file = tmp_path / "models.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=sentence):
        read_models(file)
    with pytest.raises(InvalidInput, match="There is no models file"):
        read_models(tmp_path / "absent.yaml")


def test_two_models_of_a_name_and_policies_of_unknown_models_are_refused():
    with pytest.raises(ValueError, match="two models are called 'small'"):
        ModelsFile(models=[GOOD, GOOD])
    with pytest.raises(ValueError, match="'large', which is not in the file"):
        ModelsFile(models=[GOOD], tenants={"alder": {"models": ["large"]}})


def test_no_models_file_is_no_gateway_and_a_missing_key_is_named(tmp_path, monkeypatch):
    assert open_gateway(Settings(_env_file=None)) is None
    file = tmp_path / "models.yaml"
    file.write_text(yaml.safe_dump({"models": [GOOD | {"key_variable": "MODEL_KEY"}]}))
    settings = Settings(_env_file=None, models=str(file))
    monkeypatch.delenv("MODEL_KEY", raising=False)
    with pytest.raises(InvalidInput, match="'small' needs a key in MODEL_KEY, which is not set"):
        open_gateway(settings)
    monkeypatch.setenv("MODEL_KEY", "secret")
    gateway = open_gateway(settings)
    assert "secret" not in repr(gateway.models_file)
    gateway.close()


def test_the_command_shows_a_file_and_asks_each_model(tmp_path, fake, capsys, monkeypatch):
    file = tmp_path / "models.yaml"
    dead = model_entry("beta", "http://127.0.0.1:9/v1", input_price="0.5")
    file.write_text(
        yaml.safe_dump(
            {"models": [fake().models_file_entry(), dead], "patience": LENIENT.model_dump()}
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


def test_answers_of_before_are_not_given_again_once_the_models_change(tmp_path):
    file = tmp_path / "models.yaml"
    settings, seen = Settings(_env_file=None, models=str(file)), set()
    for text in ("models: []", "models: [ ]", "models: []"):
        file.write_text(text)
        seen.add(compute_release_hash(settings))
    assert len(seen) == 2


def file_of(*models, **more):
    return ModelsFile.model_validate({"models": [GOOD | model for model in models], **more})


THREE = [
    {"name": "s", "tier": "strong"},
    {"name": "b", "tier": "balanced"},
    {"name": "f", "tier": "fast"},
]


@pytest.mark.parametrize(
    ("asked", "order"),
    [
        ({"tier": "fast"}, "fbs"),
        ({"tier": "balanced"}, "bsf"),
        ({"tier": "strong"}, "sbf"),
        ({"question": "Who approves travel?"}, "fbs"),
        ({"question": "Why do the two policies differ, and which of them holds?"}, "sbf"),
        ({"tier": "strong", "question": "Who approves travel?"}, "sbf"),
        ({"tier": "strong", "model": "f"}, "f"),
    ],
)
def test_the_tier_is_tried_first_then_stronger_ones_then_weaker_ones(asked, order):
    assert (
        "".join(model.name for model in rank_models(file_of(*THREE), request(**asked), 10)) == order
    )


def test_a_tight_budget_takes_one_tier_less():
    assert [
        model.name for model in rank_models(file_of(*THREE), request(), 10, over_soft_limit=True)
    ] == ["f", "b", "s"]


@pytest.mark.parametrize(
    ("question", "tier"),
    [
        ("How many days of leave do I get?", "fast"),
        ("Compare the T5 with the T7.", "strong"),
        ("Who signs? And when?", "strong"),
        ("Tell me what the handbook says about working from abroad.", "balanced"),
        ("I will be away " + "and away " * 20 + "so who signs", "strong"),
    ],
)
def test_the_rule_of_complexity(question, tier):
    assert tier_for_question(question) == tier


def test_within_a_tier_a_schema_goes_to_who_can_hold_to_it():
    file = file_of({"name": "free"}, {"name": "held", "json_schema": True})
    assert [model.name for model in rank_models(file, request(), 10)] == ["free", "held"]
    assert [model.name for model in rank_models(file, request(schema={"type": "object"}), 10)] == [
        "held",
        "free",
    ]


@pytest.mark.parametrize(
    ("policy", "asked", "tokens", "reason"),
    [
        ({"models": ["other"]}, {}, 10, "is not allowed by the tenant's policy"),
        ({"residency": ["eu"]}, {}, 10, "runs in here, which the tenant's policy does not allow"),
        ({}, {"risk": "restricted"}, 10, "may not see restricted data"),
        ({"risk": "confidential"}, {"risk": "public"}, 10, "may not see confidential data"),
        ({}, {"max_tokens": 8000}, 1000, "takes 8192 tokens, and this may need 9000"),
    ],
)
def test_what_a_tenant_a_risk_or_a_context_forbids_is_never_asked(policy, asked, tokens, reason):
    narrow = {"name": "other", "context": 512}  # takes none of these
    file = file_of({}, narrow, tenants={"alder": policy})
    with pytest.raises(NoModelAvailable, match=reason):
        rank_models(file, request(**asked), tokens)
    assert [model.name for model in rank_models(file_of({}, narrow), request(), 10)] == ["small"]


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self):
        return self.now


FAILED = UpstreamFault("server")


def test_a_circuit_opens_after_failures_lets_one_probe_through_and_closes_on_its_success():
    clock = Clock()
    breaker = CircuitBreaker(10.0, clock)
    for _ in range(4):
        breaker.record_failure(FAILED)
    assert breaker.admit()
    breaker.record_failure(FAILED)
    assert breaker.state == "open"
    assert not breaker.admit()
    assert breaker.seconds_until_ready() == 10.0
    clock.now += 10.0
    assert breaker.state == "half-open"
    assert [breaker.admit(), breaker.admit()] == [True, False]
    breaker.record_failure(FAILED)
    assert breaker.seconds_until_ready() == 20.0  # twice as long
    clock.now += 20.0
    assert breaker.admit()
    breaker.record_abandoned()  # a reader who went away: the probe is the next one's
    assert breaker.admit()
    breaker.record_success()
    assert breaker.state == "closed"


def test_a_circuit_stays_closed_where_most_calls_succeed_or_the_request_was_wrong():
    breaker = CircuitBreaker()
    for _ in range(20):
        breaker.record_success()
        breaker.record_success()
        breaker.record_failure(FAILED)
        breaker.record_failure(UpstreamFault("rejected"))
    assert breaker.state == "closed"


def test_a_late_outcome_of_before_does_not_close_an_open_circuit():
    breaker = CircuitBreaker()
    for _ in range(5):
        breaker.record_failure(FAILED)
    breaker.record_success()
    assert breaker.state == "open"


def test_retry_after_rests_a_model_and_is_not_believed_for_ever():
    clock = Clock()
    breaker = CircuitBreaker(10.0, clock)
    breaker.record_failure(UpstreamFault("rate_limited", 3.0))
    assert (breaker.state, breaker.seconds_until_ready()) == ("closed", 3.0)
    breaker.record_failure(UpstreamFault("rate_limited", 1e9))
    assert breaker.seconds_until_ready() == 60.0


def test_in_an_outage_calls_stay_within_a_tenth_more_than_requests():
    budget, calls = RetryBudget(max_credit=10), 0
    for _ in range(1000):
        budget.count_request()
        calls += 1
        calls += budget.try_spend()
        calls += budget.try_spend()
    assert 1100 <= calls <= 1000 * 1.1 + 10


def test_retries_that_help_are_not_held_back():
    budget = RetryBudget(max_credit=1)
    for _ in range(100):
        budget.count_request()
        assert budget.try_spend()
        budget.refund_retry()


def test_waits_before_retries_are_spread_evenly_below_a_bound_that_doubles():
    class Highest:
        def uniform(self, low, high):
            assert low == 0
            return high

    assert [retry_delay_seconds(retry, Highest()) for retry in range(5)] == [
        0.25,
        0.5,
        1.0,
        2.0,
        2.0,
    ]


def test_who_would_wait_in_vain_is_sent_away_at_once():
    gate, never = ConcurrencyLimiter(slots=1, max_waiting=1), threading.Event()
    assert gate.try_acquire()
    assert not gate.try_acquire()
    gate.release(10.0)  # calls take seconds, as it seems
    assert gate.try_acquire()
    assert not gate.acquire_within(1.0, never)
    assert gate.expected_wait_seconds() > 1.0


def test_a_place_is_handed_on_and_no_more_wait_than_may():
    gate, never = ConcurrencyLimiter(slots=1, max_waiting=1), threading.Event()
    assert gate.try_acquire()
    with ThreadPoolExecutor(2) as threads:
        one, other = (threads.submit(gate.acquire_within, QUICKLY, never) for _ in range(2))
        while not (one.done() or other.done()):
            time.sleep(0.01)
        turned_away, waiting = (one, other) if one.done() else (other, one)
        assert turned_away.result() is False
        gate.release(None)
        assert waiting.result(QUICKLY) is True


class Ledger:
    """A meter that keeps what it is told; models in `dear` are over the budget."""

    def __init__(self, dear=()):
        self.dear, self.reserved, self.settled = dear, {}, {}

    def reserve(self, request, model, tokens, cost):
        if model in self.dear:
            raise OverBudget(
                "The tenant may use 5 tokens in a day. The budget resets at midnight.", 60
            )
        reservation = uuid4()
        self.reserved[reservation] = (model, tokens, cost)
        return reservation

    def commit_usage(self, reservation, usage):
        assert reservation not in self.settled
        self.settled[reservation] = usage

    def is_over_soft_limit(self, principal):
        return False

    @property
    def usages(self):
        assert self.settled.keys() == self.reserved.keys()
        return list(self.settled.values())


def test_a_reply_comes_in_pieces_and_is_booked_as_the_provider_counted(opened, fake):
    ledger = Ledger()
    gateway = opened(fake().models_file_entry(input_price=1, output_price=3), meter=ledger)
    reply = gateway.stream(request())
    assert reply.usage is None
    pieces = list(reply)
    assert len(pieces) == REPLY_WORDS
    assert "".join(pieces) == EVERYTHING
    cost = Decimal(INPUT_TOKENS + 3 * OUTPUT_TOKENS) / 1_000_000
    assert reply.usage == Usage(
        "alpha", INPUT_TOKENS, OUTPUT_TOKENS, cost, counted_by_provider=True, outcome="done"
    )
    assert ledger.usages == [reply.usage]
    (_, tokens, most) = next(iter(ledger.reserved.values()))
    assert tokens > 512
    assert most > cost
    assert gateway.endpoints["alpha"].limiter.in_flight == 0


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_connection_is_used_again(opened, fake, provider, streaming):
    endpoint = fake()
    fields = {"streaming": streaming}
    gateway = opened(
        endpoint.models_file_entry(**fields) if provider == "openai" else claude(endpoint, **fields)
    )
    for _ in range(3):
        assert "".join(gateway.stream(request())) == EVERYTHING
    assert (endpoint.calls, endpoint.connections) == (3, 1)


def test_a_reply_that_comes_whole_is_one_piece(opened, fake):
    assert list(opened(fake().models_file_entry(streaming=False)).stream(request())) == [EVERYTHING]


def test_faults_of_fourteen_kinds_end_typed_and_a_healthy_model_takes_over():
    """The short form of `python -m bench.gateway_faults`."""
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
        assert alone.seconds < QUICKLY
        breaks_off = streaming and kind in gateway_faults.FAULTS_AFTER_FIRST_WORD
        ends = {"whole", "ModelFailed"} if breaks_off else {"whole"}
        assert beside.ending in ends, (kind, streaming, beside)


def test_two_dead_models_are_asked_less_than_once_a_request():
    with gateway_faults.open_faulty_models(
        ["500", "refused"], streaming=True, timeouts=LENIENT
    ) as outage:
        gateway = outage.open_gateway()
        outcomes = gateway_faults.ask_each([gateway] * 200)
    assert {outcome.ending for outcome in outcomes} == {"NoModelAvailable"}
    assert outage.calls < 200


def test_what_breaks_off_is_not_continued_by_another_and_is_booked_as_we_count(opened, fake):
    ledger = Ledger()

    def two_words(exchange):
        exchange.send_head()
        exchange.send_words(1, 2)
        exchange.end_chunks()

    healthy = fake("beta")
    gateway = opened(
        fake("alpha", two_words).models_file_entry(output_price=1),
        healthy.models_file_entry(),
        meter=ledger,
    )
    reply = gateway.stream(request())
    assert [next(reply), next(reply)] == ["alpha1 ", "alpha2 "]
    with pytest.raises(ModelFailed, match="'alpha' broke off"):
        next(reply)
    assert healthy.calls == 0
    (usage,) = ledger.usages
    assert (usage.counted_by_provider, usage.outcome, usage.output_tokens) == (
        False,
        "failed",
        len("alpha1 alpha2 "),
    )
    assert usage.input_tokens > 0


def test_a_call_that_never_began_costs_nothing(opened, fake):
    ledger = Ledger()
    gateway = opened(
        fake("alpha", fail_with_500).models_file_entry(input_price=9),
        fake("beta").models_file_entry(),
        meter=ledger,
    )
    assert "beta12" in "".join(gateway.stream(request()))
    failed, done = ledger.usages
    assert (failed.model, failed.input_tokens, failed.cost, failed.outcome) == (
        "alpha",
        0,
        0,
        "failed",
    )
    assert (done.model, done.outcome) == ("beta", "done")


def test_a_budget_too_small_takes_a_cheaper_model_or_refuses_as_the_policy_says(opened, fake):
    dear, cheap = fake("dear"), fake("cheap")
    entries = (
        dear.models_file_entry(output_price=5, tier="strong"),
        cheap.models_file_entry(output_price=1, tier="fast"),
    )
    asked = request(tier="strong")
    assert opened(*entries, meter=Ledger(["dear"])).stream(asked).model == "cheap"
    assert dear.calls == 0
    refusing = opened(
        *entries, meter=Ledger(["dear"]), tenants={"alder": {"over_budget": "refuse"}}
    )
    with pytest.raises(OverBudget, match="resets at midnight"):
        refusing.stream(asked)
    with pytest.raises(OverBudget):
        opened(*entries, meter=Ledger(["dear", "cheap"])).stream(asked)
    assert refusing.endpoints["dear"].limiter.in_flight == 0


def test_retry_after_is_waited_for_within_the_deadline(opened, fake):
    def once(exchange):
        if exchange.number:
            return answer_well(exchange)
        exchange.send_head("429 Too Many Requests", "application/json", "Retry-After: 1\r\n")
        return exchange.end_chunks()

    patient = Timeouts(total=10.0)
    began = time.monotonic()
    assert (
        "".join(opened(fake("alpha", once).models_file_entry(), patience=patient).stream(request()))
        == EVERYTHING
    )
    assert time.monotonic() - began >= 1.0
    hasty = opened(fake("alpha", once).models_file_entry(), patience=Timeouts(total=1.5, first=1.0))
    with pytest.raises(NoModelAvailable) as caught:
        hasty.stream(request())
    assert caught.value.retry_after == 1


def test_who_comes_while_all_are_busy_is_told_when_to_come_again(opened, fake):
    gateway = opened(fake().models_file_entry(concurrency=1, waiting=0))
    reply = gateway.stream(request())
    with pytest.raises(Overloaded) as caught:
        gateway.stream(request())
    assert caught.value.retry_after >= 1
    assert int(problem_response(caught.value).headers["retry-after"]) == caught.value.retry_after
    reply.close()
    assert list(gateway.stream(request()))


def test_a_busy_model_lets_another_have_the_request(opened, fake):
    gateway = opened(
        fake("alpha").models_file_entry(concurrency=1), fake("beta").models_file_entry()
    )
    first = gateway.stream(request())
    assert gateway.stream(request()).model == "beta"
    first.close()


def settled(endpoint):
    """Wait until the endpoint has seen that it was hung up on."""
    until = time.monotonic() + QUICKLY
    while not endpoint.disconnections and time.monotonic() < until:
        time.sleep(0.01)
    return endpoint.disconnections


LONG = Timeouts(connect=5, first=100, between=100, total=100)


def test_closing_a_reply_hangs_up_and_books_what_was_read(opened, fake):
    ledger, endpoint = Ledger(), fake("alpha", drip_bytes)
    gateway = opened(endpoint.models_file_entry(), meter=ledger, patience=LONG)
    reply = gateway.stream(request())
    assert next(reply) == "alpha1 "
    reply.close()
    reply.close()
    assert list(reply) == []
    assert settled(endpoint) == 1
    assert [usage.outcome for usage in ledger.usages] == ["cancelled"]
    assert gateway.endpoints["alpha"].limiter.in_flight == 0


def test_a_reply_that_is_forgotten_hangs_up(opened, fake):
    endpoint = fake("alpha", drip_bytes)
    gateway = opened(endpoint.models_file_entry(), patience=LONG)
    reply = gateway.stream(request())
    del reply
    assert settled(endpoint) == 1
    assert gateway.endpoints["alpha"].limiter.in_flight == 0


def test_another_thread_can_end_a_call_that_waits(opened, fake):
    endpoint, cancelled = fake("alpha", hang_silently), threading.Event()
    gateway = opened(endpoint.models_file_entry(), patience=LONG)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(gateway.stream, request(cancelled=cancelled))
        until = time.monotonic() + QUICKLY
        while not endpoint.calls and time.monotonic() < until:
            time.sleep(0.01)
        cancelled.set()
        with pytest.raises(NoModelAvailable):
            waiting.result(QUICKLY)
    assert settled(endpoint) == 1
    assert gateway.endpoints["alpha"].breaker.admit()


def test_a_reader_who_leaves_ends_the_call_that_waits(opened, fake):
    """Over server-sent events, in the midst of waiting for a first word that would take minutes."""
    endpoint = fake("alpha", hang_silently)
    gateway, disconnected = opened(endpoint.models_file_entry(), patience=LONG), threading.Event()

    def events():
        yield SearchCompleted(1, 1)
        gateway.stream(request(cancelled=disconnected))

    async def read():
        async for _ in stream_response(events(), disconnected).body_iterator:
            pass

    async def leave():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            with anyio.fail_after(QUICKLY):
                while not endpoint.calls:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

    anyio.run(leave)
    assert settled(endpoint) == 1


def test_closing_one_of_two_replies_leaves_the_other(opened, fake):
    gateway, reader = opened(fake().models_file_entry()), threading.Event()
    one = gateway.stream(request(cancelled=reader))
    other = gateway.stream(request(cancelled=reader))
    one.close()
    assert "".join(other) == EVERYTHING


def claude(endpoint, **fields):
    return endpoint.models_file_entry(
        provider="anthropic", base_url=endpoint.address.removesuffix("/v1"), **fields
    )


@pytest.mark.parametrize("streaming", [True, False])
def test_the_messages_api_is_spoken(opened, fake, streaming):
    seen = []

    def listening(exchange):
        seen.append(exchange.body)
        answer_well(exchange)

    reply = opened(claude(fake("alpha", listening), streaming=streaming)).stream(request())
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


def test_a_schema_is_held_to_by_a_tool(opened, fake):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}

    def using(exchange):
        assert exchange.body["tools"][0]["input_schema"] == schema
        assert exchange.body["tool_choice"] == {"type": "tool", "name": "reply"}
        exchange.send_head()
        exchange.send_chunk(exchange.format_opening())
        for part in ('{"city": "Par', 'is"}'):
            delta = {"type": "input_json_delta", "partial_json": part}
            exchange.send_chunk(
                f"data: {json.dumps({'type': 'content_block_delta', 'index': 0, 'delta': delta})}\n\n"
            )
        exchange.send_chunk(exchange.format_closing())
        exchange.end_chunks()

    gateway = opened(claude(fake("alpha", using), json_schema=True))
    assert json.loads("".join(gateway.stream(request(schema=schema)))) == {"city": "Paris"}


def test_an_error_within_the_messages_api_is_a_fault(opened, fake):
    def overloaded(exchange):
        exchange.send_head()
        exchange.send_chunk(exchange.format_opening())
        exchange.send_chunk(
            'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n'
        )
        exchange.end_chunks()

    gateway = opened(claude(fake("alpha", overloaded)), fake("beta").models_file_entry())
    assert gateway.stream(request()).model == "beta"


def test_any_model_of_llamaindex_is_asked_by_its_path(opened):
    path = "llama_index.core.llms.mock:MockLLM"
    listed = {"provider": "llamaindex", "model": path, "base_url": "", "usage": False}
    gateway = opened(model_entry("mock", "") | listed)
    assert "Count." in "".join(gateway.stream(request()))
    assert "Count." in "".join(
        opened(model_entry("mock", "") | listed | {"streaming": False}).stream(request())
    )
    with pytest.raises(InvalidInput, match="can't be imported. Install it"):
        opened(model_entry("mock", "") | listed | {"model": "llama_index.llms.nowhere:Nothing"})


def test_llamaindex_gets_routing_budgets_and_fallback(opened, fake):
    ledger = Ledger()
    gateway = opened(
        fake("beta", fail_with_500).models_file_entry(), fake().models_file_entry(), meter=ledger
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
    assert [usage.outcome for usage in ledger.usages].count("done") == 3
    with pytest.raises(OverBudget):
        GatewayLLM(opened(fake().models_file_entry(), meter=Ledger(["alpha"])), ALDER).complete(
            "Count."
        )
