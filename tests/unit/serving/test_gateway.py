"""Models file, routing, circuit breaker, retry budget and concurrency limit of the gateway."""

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


def test_the_example_models_file_is_valid_and_has_no_key():
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
def test_each_mistake_in_a_models_file_gets_a_sentence(tmp_path, mistake, sentence):
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
def test_an_invalid_models_file_is_refused(tmp_path, text, sentence):
    file = tmp_path / "models.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=sentence):
        read_models(file)
    with pytest.raises(InvalidInput, match="There is no models file"):
        read_models(tmp_path / "absent.yaml")


def test_duplicate_names_and_policies_with_unknown_models_are_refused():
    with pytest.raises(ValueError, match="two models are called 'small'"):
        ModelsFile(models=[GOOD, GOOD])
    with pytest.raises(ValueError, match="'large', which is not in the file"):
        ModelsFile(models=[GOOD], tenants={"alder": {"models": ["large"]}})


def test_a_changed_models_file_changes_the_release_hash(tmp_path):
    """Cached answers of the old models are not served."""
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
def test_the_requested_tier_is_followed_by_stronger_then_weaker_ones(asked, order):
    assert (
        "".join(model.name for model in rank_models(file_of(*THREE), request(**asked), 10)) == order
    )


def test_the_soft_limit_of_a_budget_lowers_the_tier_by_one():
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
def test_the_tier_follows_the_complexity_of_the_question(question, tier):
    assert tier_for_question(question) == tier


def test_within_a_tier_a_schema_goes_to_a_model_that_enforces_it():
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
def test_a_model_that_policy_risk_or_context_excludes_is_never_used(policy, asked, tokens, reason):
    narrow = {"name": "other", "context": 512}  # takes none of these
    file = file_of({}, narrow, tenants={"alder": policy})
    with pytest.raises(NoModelAvailable, match=reason):
        rank_models(file, request(**asked), tokens)
    assert [model.name for model in rank_models(file_of({}, narrow), request(), 10)] == ["small"]


class FakeClock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self):
        return self.now


FAILED = UpstreamFault("server")


def test_an_open_circuit_admits_one_probe_and_closes_on_its_success():
    clock = FakeClock()
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


def test_a_circuit_stays_closed_for_rare_failures_and_rejected_requests():
    breaker = CircuitBreaker()
    for _ in range(20):
        breaker.record_success()
        breaker.record_success()
        breaker.record_failure(FAILED)
        breaker.record_failure(UpstreamFault("rejected"))
    assert breaker.state == "closed"


def test_a_late_success_does_not_close_an_open_circuit():
    breaker = CircuitBreaker()
    for _ in range(5):
        breaker.record_failure(FAILED)
    breaker.record_success()
    assert breaker.state == "open"


def test_retry_after_delays_a_model_for_a_limited_time():
    clock = FakeClock()
    breaker = CircuitBreaker(10.0, clock)
    breaker.record_failure(UpstreamFault("rate_limited", 3.0))
    assert (breaker.state, breaker.seconds_until_ready()) == ("closed", 3.0)
    breaker.record_failure(UpstreamFault("rate_limited", 1e9))
    assert breaker.seconds_until_ready() == 60.0


def test_in_an_outage_calls_exceed_requests_by_at_most_a_tenth():
    budget, calls = RetryBudget(max_credit=10), 0
    for _ in range(1000):
        budget.count_request()
        calls += 1
        calls += budget.try_spend()
        calls += budget.try_spend()
    assert 1100 <= calls <= 1000 * 1.1 + 10


def test_successful_retries_are_not_limited():
    budget = RetryBudget(max_credit=1)
    for _ in range(100):
        budget.count_request()
        assert budget.try_spend()
        budget.refund_retry()


def test_retry_delays_are_random_below_a_bound_that_doubles():
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


def test_a_call_that_would_exceed_its_deadline_is_refused_at_once():
    gate, never = ConcurrencyLimiter(slots=1, max_waiting=1), threading.Event()
    assert gate.try_acquire()
    assert not gate.try_acquire()
    gate.release(10.0)  # calls take seconds, as it seems
    assert gate.try_acquire()
    assert not gate.acquire_within(1.0, never)
    assert gate.expected_wait_seconds() > 1.0


def test_a_free_slot_goes_to_a_waiting_call_and_the_queue_is_bounded():
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
