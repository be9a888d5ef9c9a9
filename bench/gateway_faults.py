"""Fourteen faults of language model providers, and the gateway's reaction to each.

    .venv/bin/python -m bench.gateway_faults    14 faults, 100 requests each
    .venv/bin/python -m bench.gateway_faults --requests 20 --json

The providers are local and the sockets real (bench/fake_models.py). The deadlines are a tenth of
the default ones (3 s in total, 0.2 s to connect, 0.8 s for the first piece, 0.5 s between pieces),
and 16 requests run at once, so that it takes minutes. Four tests are made of each fault:

alone     one model, which has the fault; each request has a new gateway without experience
beside    the faulty model is asked first, and a healthy one is available; one gateway for all
          requests, as in the service
outage    two models have the fault, for three times as many requests: calls per request
reader    for faults after the first word, when no other model may continue: answers to questions

At the end, the golden questions of the sample are asked while all models are down. The exit code is
1 if a target is missed.

With such short deadlines, a machine that pauses for a second makes healthy models late and opens
their circuit breakers. A fault is therefore tested again if a pause was longer than
MAX_PAUSE_SECONDS; the pause is printed.
"""

import argparse
import json
import logging
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from bench.fake_models import FAULTS, REPLY_WORDS, model_entry, open_faulty_endpoint
from bench.liar import SAMPLE_FOLDER, ingest_sample
from core.errors import GroundworkError
from core.http import CallLimits, HttpPool
from core.principal import Principal
from core.services import Services, open_services
from core.settings import Settings
from evaluation.datasets import read_golden
from serving.answering.generator.llm import LLMGenerator
from serving.answering.pipeline import answer_question
from serving.answering.types import Answer
from serving.gateway.gateway import Gateway
from serving.gateway.models_file import ModelsFile, Timeouts
from serving.gateway.providers.base import ModelProvider, ReplyDelta, open_provider
from serving.gateway.types import Message, ModelRequest

FAULT_KINDS = ("refused", *FAULTS, "TLS", "DNS")
FAULTS_AFTER_FIRST_WORD = ("slow drip", "cut at a token", "broken JSON", "missing end", "huge")
SHORT_TIMEOUTS = Timeouts(connect=0.2, first=0.8, between=0.5, total=3.0)
PARALLEL_REQUESTS = 16
MIN_OUTAGE_REQUESTS = 300  # enough for a lasting outage
READERS_PER_FAULT = 40  # five times as many if all models are down
DEADLINE_SLACK_SECONDS = 1.0  # after the deadline
MAX_PAUSE_SECONDS, MAX_ATTEMPTS = (0.4, 3)  # a row with a longer pause says little
MIN_USEFUL_SHARE, MAX_CALLS_PER_REQUEST = 0.995, 1.1  # targets
ASKER = Principal("alder")


@dataclass(frozen=True, slots=True)
class Outcome:
    """End of a request: "whole", the name of a typed error, or "untyped ..."; text and duration."""

    ending: str
    text: str
    seconds: float

    @property
    def is_mixed(self) -> bool:
        """Return whether the text has words of two models, or missing or repeated words."""
        words = self.text.split()
        names = {word.rstrip("0123456789") for word in words}
        numbers = [int(match[0]) for word in words if (match := re.search(r"\d+$", word))]
        return (
            len(names) > 1
            or numbers != list(range(1, len(numbers) + 1))
            or (self.ending == "whole" and not words)
        )

    @property
    def is_typed(self) -> bool:
        """Return whether the ending is one that callers of a gateway know."""
        return self.ending in ("whole", "NoModelAvailable", "Overloaded", "ModelFailed")


class CountingProvider:
    """Provider that counts its calls, also if no endpoint listens."""

    def __init__(self, provider: ModelProvider) -> None:
        self._provider, self._lock = provider, threading.Lock()
        self.calls = 0

    def stream_reply(self, request: ModelRequest, limits: CallLimits) -> Generator[ReplyDelta]:
        """See `Provider`."""
        with self._lock:
            self.calls += 1
        return self._provider.stream_reply(request, limits)


class PauseMonitor:
    """Longest time in seconds for which a thread that only sleeps was not scheduled."""

    def __init__(self) -> None:
        self.longest_pause = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._measure_pauses, name="pulse", daemon=True)

    def __enter__(self) -> "PauseMonitor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _measure_pauses(self, every: float = 0.02) -> None:
        last = time.monotonic()
        while not self._stopped.wait(every):
            now = time.monotonic()
            self.longest_pause, last = max(self.longest_pause, now - last - every), now


class FaultyModels:
    """Models on loopback, and gateways to them."""

    def __init__(
        self, entries: Sequence[dict[str, Any]], timeouts: Timeouts = SHORT_TIMEOUTS
    ) -> None:
        self.file = ModelsFile.model_validate({"models": entries, "patience": timeouts})
        self._pool = HttpPool()
        self.providers = {
            model.name: CountingProvider(open_provider(model, self._pool))
            for model in self.file.models
        }

    def open_gateway(self) -> Gateway:
        """Return a new gateway without experience of the models."""
        return Gateway(self.file, self.providers)

    @property
    def calls(self) -> int:
        """Return the number of calls to all models."""
        return sum(provider.calls for provider in self.providers.values())

    @property
    def is_idle(self) -> bool:
        """Return whether all connections are back in the pool."""
        return self._pool.is_idle

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


@contextmanager
def open_faulty_models(
    kinds: Sequence[str], *, streaming: bool, timeouts: Timeouts = SHORT_TIMEOUTS
) -> Iterator[FaultyModels]:
    """Start models with these faults, asked in this order; "none" is a healthy one."""
    with ExitStack() as stack:
        entries = []
        for name, kind in zip(("alpha", "beta"), kinds, strict=False):
            _, address = stack.enter_context(open_faulty_endpoint(name, kind))
            entries.append(model_entry(name, address, streaming=streaming))
        models = FaultyModels(entries, timeouts)
        stack.callback(models.close)
        yield models


def ask_gateway(gateway: Gateway) -> Outcome:
    """Send one request and read its reply to the end."""
    began, text, ended = time.monotonic(), "", "whole"
    request = ModelRequest([Message("user", "Count.")], ASKER, "bench", max_tokens=64)
    try:
        for piece in gateway.stream(request):
            text += piece
    except GroundworkError as error:
        ended = type(error).__name__
    except Exception as error:  # never expected; counted
        ended = f"untyped {type(error).__name__}"
    return Outcome(ended, text, time.monotonic() - began)


def ask_each(gateways: Sequence[Gateway]) -> list[Outcome]:
    """Send one request to each gateway, some at a time."""
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as threads:
        return list(threads.map(ask_gateway, gateways))


@dataclass(frozen=True, slots=True)
class FaultResult:
    """Result of one fault. Shares are from 0 to 1.

    `useful` and `broke_off` refer to requests with a healthy second model; `answered` to readers
    whose model broke off, None if the fault comes before the first word; `still` is the longest
    pause of the machine in seconds.
    """

    kind: str
    streaming: bool
    requests: int
    ended: dict[str, int]
    slowest: float
    useful: float
    broke_off: float
    answered: float | None
    calls: float
    spliced: int
    untyped: int
    still: float

    @property
    def missed_aims(self) -> list[str]:
        """Return the names of the missed targets."""
        late = self.slowest > SHORT_TIMEOUTS.total + DEADLINE_SLACK_SECONDS
        useful = self.useful + self.broke_off * (self.answered or 0.0) >= MIN_USEFUL_SHARE
        misses = {
            "late": late,
            "untyped": self.untyped,
            "spliced": self.spliced,
            "calls": self.calls > MAX_CALLS_PER_REQUEST,
        }
        return [name for name, wrong in {**misses, "useful": not useful}.items() if wrong]


class SampleReaders:
    """Readers who ask golden questions of the sample that can be answered without a model."""

    def __init__(self, services: Services) -> None:
        self._services = services
        golden = [
            question
            for question in read_golden(SAMPLE_FOLDER / "golden.yaml")
            if question.tenant == ASKER.tenant
        ]
        questions = [
            (Principal(question.tenant, question.groups), question.question)
            for question in golden
            if question.kind == "answerable"
        ]
        self._questions = [
            question
            for question in questions
            if answer_question(services, *question).status == "answered"
        ]

    def measure_cited_share(self, gateways: Sequence[Gateway]) -> float:
        """Return the share of cited, degraded answers; one question for each gateway."""
        with ThreadPoolExecutor(PARALLEL_REQUESTS // 4) as threads:
            return statistics.fmean(
                threads.map(self._is_answer_cited, range(len(gateways)), gateways)
            )

    def _is_answer_cited(self, number: int, gateway: Gateway) -> bool:
        asker, question = self._questions[number % len(self._questions)]
        return is_cited(
            answer_question(self._services, asker, question, generator=LLMGenerator(gateway, asker))
        )


def is_cited(answer: Answer) -> bool:
    """Return whether an answer quotes the documents instead of a model, and says so."""
    has_citations = answer.status == "answered" and all(
        sentence.citations for sentence in answer.sentences
    )
    return has_citations and answer.generator == "extractive" and bool(answer.degraded)


def measure(
    kind: str, *, streaming: bool, requests: int, readers: SampleReaders | None
) -> FaultResult:
    """Test one fault, again if the machine paused."""
    for _ in range(MAX_ATTEMPTS):
        row = _measure_once(kind, streaming=streaming, requests=requests, readers=readers)
        if row.still <= MAX_PAUSE_SECONDS:
            break
    return row


def _measure_once(
    kind: str, *, streaming: bool, requests: int, readers: SampleReaders | None
) -> FaultResult:
    with PauseMonitor() as monitor:
        with open_faulty_models([kind], streaming=streaming) as alone:
            outcomes = ask_each([alone.open_gateway() for _ in range(requests)])
        with open_faulty_models([kind, "none"], streaming=streaming) as with_healthy:
            gateway = with_healthy.open_gateway()
            with_help = ask_each([gateway] * requests)
        with open_faulty_models([kind, kind], streaming=streaming) as outage:
            gateway = outage.open_gateway()
            in_outage = ask_each([gateway] * max(3 * requests, MIN_OUTAGE_REQUESTS))
            calls = outage.calls / len(in_outage)
        breaks_off = streaming and kind in FAULTS_AFTER_FIRST_WORD
        answered = _measure_readers(kind, readers) if readers and breaks_off else None
    everything = [*outcomes, *with_help, *in_outage]
    useful = [
        outcome.ending == "whole" and len(outcome.text.split()) == REPLY_WORDS
        for outcome in with_help
    ]
    broke_off = sum(outcome.ending == "ModelFailed" for outcome in with_help)
    return FaultResult(
        kind,
        streaming,
        requests,
        dict(Counter(outcome.ending for outcome in outcomes)),
        max(outcome.seconds for outcome in everything),
        statistics.fmean(useful),
        broke_off / requests,
        answered,
        calls,
        sum(outcome.is_mixed for outcome in everything),
        sum(not outcome.is_typed for outcome in everything),
        monitor.longest_pause,
    )


def _measure_readers(kind: str, readers: SampleReaders) -> float:
    with open_faulty_models([kind], streaming=True) as alone:
        return readers.measure_cited_share([alone.open_gateway() for _ in range(READERS_PER_FAULT)])


@contextmanager
def open_sample_services() -> Iterator[Services]:
    """Open services on a new database with the sample's documents."""
    with (
        tempfile.TemporaryDirectory(prefix="gateway-faults-") as home,
        open_services(Settings(home=Path(home), database_url="")) as services,
    ):
        ingest_sample(services)
        yield services


def format_table(rows: Sequence[FaultResult], down: float | None) -> str:
    """Return the table of docs/guides/gateway.md."""
    head = (
        "| fault | streaming | alone: complete / none / broke off | slowest "
        "| with a healthy model: complete, broke off"
        " | readers answered | calls per request in an outage | mixed replies "
        "| longest pause of the machine | missed |"
    )
    rule = "|---" * 10 + "|"
    lines = [_format_row(row) for row in rows]
    summary = (
        []
        if down is None
        else [f"\nAll models down: {down:.1%} of the readers get cited sentences and a notice."]
    )
    return "\n".join([head, rule, *lines, *summary])


def _format_row(row: FaultResult) -> str:
    ended = [row.ended.get(name, 0) for name in ("whole", "NoModelAvailable", "ModelFailed")]
    cells = [
        row.kind,
        "yes" if row.streaming else "no",
        " / ".join(map(str, ended)),
        f"{row.slowest:.1f} s",
        f"{row.useful:.1%}, {row.broke_off:.1%}",
        "" if row.answered is None else f"{row.answered:.0%}",
        f"{row.calls:.2f}",
        str(row.spliced),
        f"{row.still:.2f} s",
        ", ".join(row.missed_aims),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    """Print the table; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--requests",
        type=int,
        default=100,
        help="requests for each fault, with and without streaming",
    )
    parser.add_argument(
        "--only", choices=FAULT_KINDS, action="append", help="test only these faults"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with open_sample_services() as services:
        readers, rows = SampleReaders(services), []
        for kind in arguments.only or FAULT_KINDS:
            for streaming in (True, False):
                rows.append(
                    measure(kind, streaming=streaming, requests=arguments.requests, readers=readers)
                )
                sys.stderr.write(_format_row(rows[-1]) + "\n")
        with open_faulty_models(["500", "hanging"], streaming=True) as models_down:
            gateway = models_down.open_gateway()
            down = readers.measure_cited_share([gateway] * (5 * READERS_PER_FAULT))
    report = {
        "rows": [{**asdict(row), "missed": row.missed_aims} for row in rows],
        "all_down_cited": down,
    }
    sys.stdout.write(
        (json.dumps(report, indent=2) if arguments.json else format_table(rows, down)) + "\n"
    )
    return int(any(row.missed_aims for row in rows) or down < 1)


if __name__ == "__main__":
    sys.exit(main())
