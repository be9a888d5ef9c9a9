"""A tenant over its budget: it learns the reset time, others keep their speed, usage is exact.

    .venv/bin/python -m bench.budgets                       10,000 requests of five tenants; some five minutes
    .venv/bin/python -m bench.budgets --requests 1000 --json

Each request is counted, goes through the gateway to a provider on loopback (bench/fake_models.py),
is streamed back and booked, all in one process and on the embedded PostgreSQL. The provider counts
tokens of its own accord, another number for each question; one reply in a hundred it breaks off
before it has told its count, and one question in a hundred it fails at first. Four tenants ask
throughout, 25 times a second each. A fifth, the spender, has a budget for the day:

alone     only the four ask
within    the spender asks as well, as much as all of them, and is answered
over      its budget is used up, and it goes on asking at the same pace
flood     the same without a pause between its requests, for the record: it takes the processor as well

It ends with 1 where an aim is missed: each refusal says when the budget resets; nothing is spent
past it; the others' p95 while the spender is over its budget is at most a tenth and 2 ms above what
it was within; what the provider counted is what is booked, in tokens and in cost, for every tenant;
and what it could not tell is booked as no less.
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
SPENDER_THREADS = (SPENDER,) * len(REGULAR_TENANTS)  # as many at once as all of the others
REQUESTS_PER_SECOND = 25.0  # requests a second of each who asks
MIN_INPUT_TOKENS, MIN_OUTPUT_TOKENS = (
    27,
    11,
)  # the fewest tokens of a question and of a reply; up to 26 and 18 more
MEAN_TOKENS = MIN_INPUT_TOKENS + 13 + MIN_OUTPUT_TOKENS + 9
MAX_OUTPUT_TOKENS = 64
SPARE_TOKENS = 2000  # tokens of the budget that calls under way may hold, so that none is refused before it is used up
PRICES = {"input_price": Decimal("0.15"), "output_price": Decimal("0.6")}  # for a million tokens
MAX_P95_RATIO, MAX_P95_INCREASE_MS = 1.1, 2.0  # the aim for the others' p95
USAGE_QUERY_FILE = Path(__file__).with_name("counted.sql")
QUESTION = "What is to be done about the harbour, by whom, until when, and who is going to pay for all of that in the end?"


class TokenCountingBehaviour:
    """A fake that keeps count, by tenant: `told` in replies that said so, `untold` in those broken off before."""

    def __init__(self) -> None:
        self._lock, self._failed_questions = threading.Lock(), set[str]()
        self.reported: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.unreported: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def answer(self, exchange: Exchange) -> None:
        """Behave: see `bench.fake_models`. A question begins with whose it is, and which number it has."""
        asked = exchange.body["messages"][0]["content"]
        tenant, number = asked.split()[0], int(asked.split()[1])
        if number % 100 == 7 and self._is_first_attempt(asked):
            exchange.send_head("500 Internal Server Error", "application/json")
            exchange.send_chunk("{}")
            exchange.end_chunks()
            return
        read, wrote, telling = (
            MIN_INPUT_TOKENS + number % 27,
            MIN_OUTPUT_TOKENS + number % 19,
            number % 100 != 8,
        )
        with self._lock:
            (self.reported if telling else self.unreported)[tenant].update(
                calls=1, read=read, wrote=wrote
            )
        exchange.send_head()
        exchange.send_words(1, wrote)
        if telling:
            usage = {
                "prompt_tokens": read,
                "completion_tokens": wrote,
                "total_tokens": read + wrote,
            }
            stop = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            exchange.send_chunk(
                "".join(
                    f"data: {json.dumps(each)}\n\n"
                    for each in (stop, {"choices": [], "usage": usage})
                )
            )
            exchange.send_chunk("data: [DONE]\n\n")
        exchange.end_chunks()

    def _is_first_attempt(self, asked: str) -> bool:
        with self._lock:
            if asked in self._failed_questions:
                return False
            self._failed_questions.add(asked)
            return True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request: milliseconds, and the refusal if there was one."""

    tenant: str
    milliseconds: float
    refusal: OverBudget | None


class LoadGenerator:
    """Five tenants with budgets, and the way to a provider."""

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
        """Hang up."""
        self._gateway.close()
        self._pool.close()
        self._fake.close()

    def send_request(self, tenant: str) -> Outcome:
        """One request, from its counting to its booking."""
        number, refusal = next(self._numbers[tenant]), None
        asker = Principal(tenant, (), f"person {number % 3}", ("blue", "green")[number % 2])
        asked = [Message("user", f"{tenant} {number} {QUESTION}")]
        began = time.perf_counter()
        try:
            self._meter.admit_request(asker)
            for _ in self._gateway.stream(
                ModelRequest(asked, asker, "answer", max_tokens=MAX_OUTPUT_TOKENS)
            ):
                pass
        except OverBudget as error:
            refusal = error
        except Unavailable:
            pass  # the reply was broken off, as it should be
        return Outcome(tenant, (time.perf_counter() - began) * 1000, refusal)

    def run_phase(self, times: int, tenants: Sequence[str], pace: float) -> list[Outcome]:
        """Have each of these ask so often, at once and at its pace (a second; 0: without a pause)."""
        pause = threading.Event()

        def asking(place: int) -> Iterator[Outcome]:
            began = time.perf_counter() + place / (pace * len(tenants)) if pace else 0.0
            for turn in range(times):
                pause.wait(max(0.0, began + turn / pace - time.perf_counter()) if pace else 0.0)
                yield self.send_request(tenants[place])

        with ThreadPoolExecutor(len(tenants)) as threads:
            return list(
                itertools.chain(
                    *threads.map(lambda place: list(asking(place)), range(len(tenants)))
                )
            )

    def run_flood(self, times: int, pace: float) -> list[Outcome]:
        """The others at their pace, while the spender makes no pause."""
        over = threading.Event()

        def flooding(_: int) -> list[Outcome]:
            return [self.send_request(SPENDER) for _ in iter(over.is_set, True)]

        with ThreadPoolExecutor(len(SPENDER_THREADS)) as threads:
            flooded = threads.map(flooding, range(len(SPENDER_THREADS)))
            outcomes = self.run_phase(times, REGULAR_TENANTS, pace)
            over.set()
            return outcomes + list(itertools.chain(*flooded))


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured: requests, refusals and milliseconds of the others and of the spender in
    each phase; tokens as the provider and the books have them; the sentence of a refusal;
    and each aim with whether it was met.
    """

    phases: dict[str, dict[str, dict[str, float]]]
    tokens: dict[str, dict[str, Any]]
    refusal: str
    aims: dict[str, bool] = field(default_factory=dict)


def run_phases(
    services: Services, admin: str, requests: int, pace: float = REQUESTS_PER_SECOND
) -> Report:
    """All phases: `requests` in all, and those of the flood."""
    times = requests // (len(REGULAR_TENANTS) * 3 + len(SPENDER_THREADS) * 2)
    budget = times * len(SPENDER_THREADS) * (MEAN_TOKENS + 4) + SPARE_TOKENS
    with closing(LoadGenerator(services, admin, budget)) as town:
        phases = {
            "alone": town.run_phase(times, REGULAR_TENANTS, pace),
            "within": town.run_phase(times, REGULAR_TENANTS + SPENDER_THREADS, pace),
        }
        while not town.send_request(SPENDER).refusal:  # what is left
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
            "others": _summarize([one for one in outcomes if one.tenant != SPENDER]),
            SPENDER: _summarize([one for one in outcomes if one.tenant == SPENDER]),
        }
        for name, outcomes in phases.items()
    }
    tokens = {
        tenant: {
            "provider": dict(provider.reported[tenant]),
            "booked": books[tenant][True],
            "provider, untold": dict(provider.unreported[tenant]),
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
            "are used. The budget resets at 2" in str(one) and one.retry_after >= 1
            for one in refusals
        ),
        "nobody else is refused, and the spender only past its budget": all(
            bool(one.refusal) == (one.tenant == SPENDER and name in ("over", "flood"))
            for name, outcomes in phases.items()
            for one in outcomes
        ),
        "nothing is spent past the budget": spent <= budget,
        "the others' p95 stays": over <= before * MAX_P95_RATIO + MAX_P95_INCREASE_MS,
        "booked is what the provider counted, to the token": all(
            all(
                provider.reported[tenant][kind] == books[tenant][True][kind]
                for kind in ("read", "wrote")
            )
            and books[tenant][True]["cost"] == _cost(provider.reported[tenant])
            for tenant in books
        ),
        "what it could not tell is booked as no less": all(
            books[tenant][False][kind] >= provider.unreported[tenant][kind]
            for tenant in books
            for kind in ("read", "wrote")
        ),
    }
    return Report(rows, tokens, str(refusals[0]) if refusals else "", aims)


def _read_usage(services: Services, tenant: str) -> dict[bool, dict[str, Any]]:
    """What the books have, where the provider counted (True) and where we did (False)."""
    nothing: dict[str, Any] = {"calls": 0, "read": 0, "wrote": 0, "cost": Decimal(0)}
    with (
        services.database.writing(tenant) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        rows = cursor.execute(read_statement(USAGE_QUERY_FILE), {"tenant": tenant}).fetchall()
    found = {row.pop("counted"): row for row in rows}
    return {counted: found.get(counted, nothing) for counted in (True, False)}


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
    """Run it and print it; 1 where an aim is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--requests", type=int, default=10_000, help="in all, those of the flood not counted"
    )
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with (
        tempfile.TemporaryDirectory() as home,
        open_services(Settings(home=Path(home), database_url="")) as services,
    ):
        assert services.embedded_postgres is not None
        report = run_phases(services, services.embedded_postgres.conninfo(), chosen.requests)
    if chosen.json:
        print(json.dumps(asdict(report), indent=2, default=str))
    else:
        _print_report(report)
    return 0 if all(report.aims.values()) else 1


def _print_report(report: Report) -> None:
    lines = ["| | who | requests | refused | p50 ms | p95 ms |", "|---|---|---|---|---|---|"]
    for phase, rows in report.phases.items():
        lines += [
            f"| {phase} | {who} | {' | '.join(map(str, row.values()))} |"
            for who, row in rows.items()
            if row["requests"]
        ]
    lines += [
        "",
        "| tenant | the provider counted, in + out | booked | cost | it could not tell | booked, estimated |",
        "|---|---|---|---|---|---|",
    ]
    for tenant, row in report.tokens.items():
        told, booked, untold, estimated = row.values()
        lines.append(
            f"| {tenant} | {told['read']:,} + {told['wrote']:,} | {booked['read']:,} + {booked['wrote']:,} |"
            f" {booked['cost']:.6f} | {untold.get('read', 0):,} + {untold.get('wrote', 0):,} |"
            f" {estimated['read']:,} + {estimated['wrote']:,} |"
        )
    lines += [
        "",
        report.refusal,
        "",
        *(f"{'met   ' if met else 'MISSED'} {aim}" for aim, met in report.aims.items()),
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
