"""Budgets under load: correct refusals, no delay for other tenants, and exact accounting.

    .venv/bin/python -m bench.budgets         10,000 requests of five tenants; about five minutes
    .venv/bin/python -m bench.budgets --requests 1000 --json

Each request is counted, goes through the gateway to a provider on loopback (bench/fake_models.py),
is streamed back and recorded, all in one process and on the embedded PostgreSQL. The provider
counts tokens by itself, a different number for each question. It breaks off one reply in a hundred
before it reports its count, and fails one question in a hundred at the first attempt. Four tenants
send 25 requests a second each, throughout. A fifth, the spender, has a budget for the day:

alone     only the four tenants send requests
within    the spender sends as many requests as the four together, within its budget
over      the budget is used up, and the spender continues at the same rate
flood     as before, but without a pause between its requests; for information, because this also
          uses up the processor

The exit code is 1 if a target is missed: each refusal says when the budget resets; nothing is spent
past it; while the spender is over its budget, the p95 of the others is at most a tenth and 2 ms
above their p95 within it; tokens and cost are recorded as the provider counted them, for every
tenant; and for broken replies at least as much is recorded.
"""

import argparse
import itertools
import json
import logging
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog
from psycopg.rows import dict_row

from bench.fake_models import Exchange, FakeProvider
from core.db.queries import read_statement
from core.errors import OverBudget, Unavailable
from core.http import HttpPool
from core.principal import Principal
from core.services import Services, open_services
from core.settings import Settings
from serving.gateway.gateway import Gateway
from serving.gateway.models_file import ModelsFile
from serving.gateway.providers.base import open_provider
from serving.gateway.types import Message, ModelRequest
from serving.usage.budgets import WILDCARD_NAME, Budget, set_budget
from serving.usage.meter import PostgresMeter

REGULAR_TENANTS = ("north", "south", "east", "west")
SPENDER = "spender"
SPENDER_THREADS = (SPENDER,) * len(REGULAR_TENANTS)  # as many threads as all other tenants
REQUESTS_PER_SECOND = 25.0  # of each tenant
MIN_INPUT_TOKENS, MIN_OUTPUT_TOKENS = (27, 11)  # up to 26 and 18 more, by question
MEAN_TOKENS = MIN_INPUT_TOKENS + 13 + MIN_OUTPUT_TOKENS + 9
MAX_OUTPUT_TOKENS = 64
SPARE_TOKENS = 2000  # for running calls, so that none is refused before the budget is used up
PRICES = {"input_price": Decimal("0.15"), "output_price": Decimal("0.6")}  # per million tokens
MAX_P95_RATIO, MAX_P95_INCREASE_MS = 1.1, 2.0  # target for the other tenants
USAGE_QUERY_FILE = Path(__file__).with_name("counted.sql")
QUESTION = (
    "What is to be done about the harbour, by whom, until when, and who is going to "
    "pay for all of that in the end?"
)


class TokenCountingBehaviour:
    """Provider behaviour that counts tokens by tenant, reported and unreported ones."""

    def __init__(self) -> None:
        self._lock, self._failed_questions = threading.Lock(), set[str]()
        self.reported: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.unreported: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def answer(self, exchange: Exchange) -> None:
        """Answer a request. Its question begins with the tenant and the number of the request."""
        question = exchange.body["messages"][0]["content"]
        tenant, number = question.split()[0], int(question.split()[1])
        if number % 100 == 7 and self._is_first_attempt(question):
            exchange.send_head("500 Internal Server Error", "application/json")
            exchange.send_chunk("{}")
            exchange.end_chunks()
            return
        read, wrote, reports_usage = (
            MIN_INPUT_TOKENS + number % 27,
            MIN_OUTPUT_TOKENS + number % 19,
            number % 100 != 8,
        )
        with self._lock:
            (self.reported if reports_usage else self.unreported)[tenant].update(
                calls=1, read=read, wrote=wrote
            )
        exchange.send_head()
        exchange.send_words(1, wrote)
        if reports_usage:
            usage = {
                "prompt_tokens": read,
                "completion_tokens": wrote,
                "total_tokens": read + wrote,
            }
            stop = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            exchange.send_chunk(
                "".join(
                    f"data: {json.dumps(event)}\n\n"
                    for event in (stop, {"choices": [], "usage": usage})
                )
            )
            exchange.send_chunk("data: [DONE]\n\n")
        exchange.end_chunks()

    def _is_first_attempt(self, question: str) -> bool:
        with self._lock:
            if question in self._failed_questions:
                return False
            self._failed_questions.add(question)
            return True


@dataclass(frozen=True, slots=True)
class Outcome:
    """Duration of a request, and its refusal if it was refused."""

    tenant: str
    milliseconds: float
    refusal: OverBudget | None


class LoadGenerator:
    """Five tenants with budgets, and a gateway to a counting provider."""

    def __init__(self, services: Services, admin: str, budget: int) -> None:
        self.behaviour, self._meter = TokenCountingBehaviour(), PostgresMeter(services.database)
        self._fake, self._pool = FakeProvider("model", self.behaviour.answer), HttpPool()
        file = ModelsFile.model_validate(
            {"models": [self._fake.models_file_entry(**PRICES, concurrency=64, waiting=64)]}
        )
        self._gateway = Gateway(
            file, {"model": open_provider(file.models[0], self._pool)}, self._meter
        )
        self._numbers = {tenant: itertools.count() for tenant in (*REGULAR_TENANTS, SPENDER)}
        for tenant in self._numbers:
            set_budget(admin, tenant, Budget("tenant", "", "month", "cost", None, Decimal(1000)))
            set_budget(
                admin,
                tenant,
                Budget("key", WILDCARD_NAME, "minute", "requests", None, Decimal(1_000_000)),
            )
        set_budget(admin, SPENDER, Budget("tenant", "", "day", "tokens", None, Decimal(budget)))

    def close(self) -> None:
        """Close the connections and the provider."""
        self._gateway.close()
        self._pool.close()
        self._fake.close()

    def send_request(self, tenant: str) -> Outcome:
        """Send one request, from its admission to the record of its usage."""
        number, refusal = next(self._numbers[tenant]), None
        caller = Principal(tenant, (), f"person {number % 3}", ("blue", "green")[number % 2])
        messages = [Message("user", f"{tenant} {number} {QUESTION}")]
        began = time.perf_counter()
        try:
            self._meter.admit_request(caller)
            for _ in self._gateway.stream(
                ModelRequest(messages, caller, "answer", max_tokens=MAX_OUTPUT_TOKENS)
            ):
                pass
        except OverBudget as error:
            refusal = error
        except Unavailable:
            pass  # expected: the provider broke off its reply
        return Outcome(tenant, (time.perf_counter() - began) * 1000, refusal)

    def run_phase(self, times: int, tenants: Sequence[str], pace: float) -> list[Outcome]:
        """Send `times` requests for each entry of `tenants`; a pace of 0 has no pause."""
        pause = threading.Event()

        def send_requests(index: int) -> Iterator[Outcome]:
            began = time.perf_counter() + index / (pace * len(tenants)) if pace else 0.0
            for turn in range(times):
                pause.wait(max(0.0, began + turn / pace - time.perf_counter()) if pace else 0.0)
                yield self.send_request(tenants[index])

        with ThreadPoolExecutor(len(tenants)) as threads:
            return list(
                itertools.chain(
                    *threads.map(lambda index: list(send_requests(index)), range(len(tenants)))
                )
            )

    def run_flood(self, times: int, pace: float) -> list[Outcome]:
        """Run the regular tenants at their pace while the spender sends without a pause."""
        ended = threading.Event()

        def send_until_ended(_: int) -> list[Outcome]:
            return [self.send_request(SPENDER) for _ in iter(ended.is_set, True)]

        with ThreadPoolExecutor(len(SPENDER_THREADS)) as threads:
            flooded = threads.map(send_until_ended, range(len(SPENDER_THREADS)))
            outcomes = self.run_phase(times, REGULAR_TENANTS, pace)
            ended.set()
            return outcomes + list(itertools.chain(*flooded))


@dataclass(frozen=True, slots=True)
class Report:
    """Requests, refusals and milliseconds by phase; tokens by tenant; an example of a refusal; and
    whether each target was met.
    """

    phases: dict[str, dict[str, dict[str, float]]]
    tokens: dict[str, dict[str, Any]]
    refusal: str
    aims: dict[str, bool] = field(default_factory=dict)


def run_phases(
    services: Services, admin: str, requests: int, pace: float = REQUESTS_PER_SECOND
) -> Report:
    """Run all phases; `requests` is the total without the flood."""
    times = requests // (len(REGULAR_TENANTS) * 3 + len(SPENDER_THREADS) * 2)
    budget = times * len(SPENDER_THREADS) * (MEAN_TOKENS + 4) + SPARE_TOKENS
    with closing(LoadGenerator(services, admin, budget)) as town:
        phases = {
            "alone": town.run_phase(times, REGULAR_TENANTS, pace),
            "within": town.run_phase(times, REGULAR_TENANTS + SPENDER_THREADS, pace),
        }
        while not town.send_request(SPENDER).refusal:  # use up the rest of the budget
            pass
        phases["over"] = town.run_phase(times, REGULAR_TENANTS + SPENDER_THREADS, pace)
        phases["flood"] = town.run_flood(times, pace)
        return _build_report(services, town.behaviour, phases, budget)


def _build_report(
    services: Services,
    provider: TokenCountingBehaviour,
    phases: dict[str, list[Outcome]],
    budget: int,
) -> Report:
    books = {tenant: _read_usage(services, tenant) for tenant in (*REGULAR_TENANTS, SPENDER)}
    refusals = [
        outcome.refusal for outcomes in phases.values() for outcome in outcomes if outcome.refusal
    ]
    rows = {
        name: {
            "others": _summarize([outcome for outcome in outcomes if outcome.tenant != SPENDER]),
            SPENDER: _summarize([outcome for outcome in outcomes if outcome.tenant == SPENDER]),
        }
        for name, outcomes in phases.items()
    }
    tokens = {
        tenant: {
            "provider": dict(provider.reported[tenant]),
            "booked": books[tenant][True],
            "provider, unreported": dict(provider.unreported[tenant]),
            "booked, estimated": books[tenant][False],
        }
        for tenant in books
    }
    before, over = rows["within"]["others"]["p95_ms"], rows["over"]["others"]["p95_ms"]
    spent = sum(
        books[SPENDER][counted][kind] for counted in (True, False) for kind in ("read", "wrote")
    )
    aims = {
        "each refusal says when the budget resets": all(
            "are used. The budget resets at 2" in str(refusal) and refusal.retry_after >= 1
            for refusal in refusals
        ),
        "only the spender is refused, and only past its budget": all(
            bool(outcome.refusal) == (outcome.tenant == SPENDER and name in ("over", "flood"))
            for name, outcomes in phases.items()
            for outcome in outcomes
        ),
        "nothing is spent past the budget": spent <= budget,
        "the p95 of the other tenants stays within its limit": over
        <= before * MAX_P95_RATIO + MAX_P95_INCREASE_MS,
        "the recorded usage is exactly what the provider counted": all(
            all(
                provider.reported[tenant][kind] == books[tenant][True][kind]
                for kind in ("read", "wrote")
            )
            and books[tenant][True]["cost"] == _cost(provider.reported[tenant])
            for tenant in books
        ),
        "at least the actual usage is recorded for broken replies": all(
            books[tenant][False][kind] >= provider.unreported[tenant][kind]
            for tenant in books
            for kind in ("read", "wrote")
        ),
    }
    return Report(rows, tokens, str(refusals[0]) if refusals else "", aims)


def _read_usage(services: Services, tenant: str) -> dict[bool, dict[str, Any]]:
    """Return the recorded usage, by whether the provider reported it (True) or it is estimated."""
    nothing: dict[str, Any] = {"calls": 0, "read": 0, "wrote": 0, "cost": Decimal(0)}
    with (
        services.database.writing(tenant) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        rows = cursor.execute(read_statement(USAGE_QUERY_FILE), {"tenant": tenant}).fetchall()
    usage = {row.pop("counted"): row for row in rows}
    return {counted: usage.get(counted, nothing) for counted in (True, False)}


def _cost(tokens: Counter[str]) -> Decimal:
    return (
        tokens["read"] * PRICES["input_price"] + tokens["wrote"] * PRICES["output_price"]
    ) / 1_000_000


def _summarize(outcomes: Sequence[Outcome]) -> dict[str, float]:
    times = [outcome.milliseconds for outcome in outcomes]
    twentieths = statistics.quantiles(times, n=20) if len(times) > 1 else [0.0] * 19
    refused = sum(outcome.refusal is not None for outcome in outcomes)
    return {
        "requests": len(times),
        "refused": refused,
        "p50_ms": round(twentieths[9], 1),
        "p95_ms": round(twentieths[18], 1),
    }


def main() -> int:
    """Run the phases and print the report; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000, help="total without the flood")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with (
        tempfile.TemporaryDirectory() as home,
        open_services(Settings(home=Path(home), database_url="")) as services,
    ):
        assert services.embedded_postgres is not None
        report = run_phases(services, services.embedded_postgres.conninfo(), arguments.requests)
    if arguments.json:
        print(json.dumps(asdict(report), indent=2, default=str))  # noqa: T201
    else:
        _print_report(report)
    return 0 if all(report.aims.values()) else 1


def _print_report(report: Report) -> None:
    lines = [
        "| phase | tenants | requests | refused | p50 ms | p95 ms |",
        "|---|---|---|---|---|---|",
    ]
    for phase, rows in report.phases.items():
        lines += [
            f"| {phase} | {tenants} | {' | '.join(map(str, row.values()))} |"
            for tenants, row in rows.items()
            if row["requests"]
        ]
    lines += [
        "",
        "| tenant | reported by the provider, input + output | recorded | cost "
        "| not reported | recorded as estimate |",
        "|---|---|---|---|---|---|",
    ]
    for tenant, row in report.tokens.items():
        reported, recorded, unreported, estimated = row.values()
        lines.append(
            f"| {tenant} | {reported['read']:,} + {reported['wrote']:,} | "
            f"{recorded['read']:,} + {recorded['wrote']:,} |"
            f" {recorded['cost']:.6f} | {unreported.get('read', 0):,} + "
            f"{unreported.get('wrote', 0):,} |"
            f" {estimated['read']:,} + {estimated['wrote']:,} |"
        )
    lines += [
        "",
        report.refusal,
        "",
        *(f"{'met   ' if met else 'MISSED'} {aim}" for aim, met in report.aims.items()),
    ]
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
