"""The gateway with endpoints on loopback that answer well or badly; no HTTP is mocked."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from bench.fake_models import model_entry
from core.errors import InvalidInput
from core.principal import Principal
from core.settings import Settings
from serving.answering.answer_cache import compute_release_hash
from serving.gateway.models_file import ModelsFile, read_models
from serving.gateway.resilience.circuit_breaker import CircuitBreaker
from serving.gateway.resilience.concurrency_limiter import ConcurrencyLimiter
from serving.gateway.resilience.retries import RetryBudget, retry_delay_seconds
from serving.gateway.resilience.upstream_faults import UpstreamFault
from serving.gateway.routing import rank_models, tier_for_question
from serving.gateway.types import Message, ModelRequest, NoModelAvailable
from tests.conftest import ROOT
from tests.support.gateway import WAIT_SECONDS

ALDER = Principal("alder")


def request(**fields):
    return ModelRequest(
        [Message("system", "You count."), Message("user", "Count.")], ALDER, "test", **fields
    )


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
        one, other = (threads.submit(gate.acquire_within, WAIT_SECONDS, never) for _ in range(2))
        while not (one.done() or other.done()):
            time.sleep(0.01)
        turned_away, waiting = (one, other) if one.done() else (other, one)
        assert turned_away.result() is False
        gate.release(None)
        assert waiting.result(WAIT_SECONDS) is True
