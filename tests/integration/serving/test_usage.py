"""Budgets and usage, on the real database: nobody spends more than is left, nothing stays held,
nobody sees others'.
"""

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest
from fastapi.testclient import TestClient

from bench.budgets import run_phases
from core.db.database import Database
from core.embedding import Embedder
from core.errors import InvalidInput, NotFound, OverBudget, Unavailable
from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from serving.gateway.types import Message, Meter, ModelRequest, Usage
from serving.usage.budgets import (
    WILDCARD_NAME,
    Budget,
    BudgetMeasure,
    BudgetPeriod,
    BudgetScope,
    BudgetSubject,
    fetch_budgets,
    remove_budget,
    set_budget,
)
from serving.usage.meter import PostgresMeter
from serving.usage.report import UsageGrouping, fetch_unaccounted_usage, fetch_usage
from tests.support.services import connect_services, connect_superuser

MODEL = "small"


@pytest.fixture(scope="module")
def metered(
    server: EmbeddedPostgres, clone: Callable[[], str], home: Path, embedder: Embedder
) -> Iterator[Services]:
    """Services on an empty database; each test takes a tenant of its own."""
    with connect_services(server, clone(), home, embedder) as opened:
        yield opened


@pytest.fixture
def admin(server: EmbeddedPostgres, metered: Services) -> str:
    """The database address of the operator."""
    name = psycopg.conninfo.conninfo_to_dict(metered.settings.database_url)["dbname"]
    return server.conninfo(dbname=str(name))


@pytest.fixture
def meter(metered: Services) -> PostgresMeter:
    return PostgresMeter(metered.database)


@pytest.fixture
def ada() -> Principal:
    """Somebody of a tenant that nobody else has."""
    return Principal(f"tenant {uuid.uuid4().hex[:8]}", ("finance",), "ada", "support")


def call(principal: Principal, purpose: str = "answer") -> ModelRequest:
    return ModelRequest([Message("user", "Why?")], principal, purpose)


def usage(tokens: int, cost: str = "0", model: str = MODEL, **more: Any) -> Usage:
    return Usage(model, tokens, 0, Decimal(cost), **more)


def spend(meter: PostgresMeter, principal: Principal, tokens: int, cost: str = "0") -> None:
    meter.commit_usage(
        meter.reserve(call(principal), MODEL, tokens, Decimal(cost)), usage(tokens, cost)
    )


def spend_again_and_again(meter: PostgresMeter, principal: Principal, tokens: int) -> None:
    """Twice is too often, unless a minute ends in between."""
    for _ in range(9):
        spend(meter, principal, tokens)


def limit(
    admin: str,
    principal: Principal,
    measure: BudgetMeasure,
    per: BudgetPeriod,
    hard: str | None,
    **more: Any,
) -> None:
    of: dict[str, Any] = {"scope": "tenant", "name": ""} | more
    soft = of.pop("soft", None)
    limits = {"soft": Decimal(soft) if soft else None, "hard": Decimal(hard) if hard else None}
    set_budget(admin, principal.tenant, Budget(**of, per=per, measure=measure, **limits))


def test_the_meter_is_what_the_gateway_asks_for(meter: PostgresMeter) -> None:
    """By type, which mypy checks."""
    expected: Meter = meter
    assert expected is meter


def test_without_a_budget_everything_is_allowed_and_booked(
    metered: Services, meter: PostgresMeter, ada: Principal
) -> None:
    """A call is attributed to its caller, with any outcome."""
    assert meter.admit_request(ada) == []
    for outcome, counted in (("done", True), ("failed", False), ("cancelled", False)):
        reservation = meter.reserve(call(ada, f"{outcome} call"), MODEL, 100, Decimal("0.5"))
        meter.commit_usage(reservation, Usage(MODEL, 30, 12, Decimal("0.0001"), counted, outcome))
    rows = fetch_usage(metered.database, ada.tenant, "purpose")
    assert [(row.name, row.calls, row.input_tokens, row.output_tokens) for row in rows] == [
        ("cancelled call", 1, 30, 12),
        ("done call", 1, 30, 12),
        ("failed call", 1, 30, 12),
    ]
    assert [(row.estimated, row.failed, row.cancelled, row.tight) for row in rows] == [
        (1, 0, 1, 0),
        (0, 0, 0, 0),
        (1, 1, 0, 0),
    ]
    for by, name in (
        ("model", MODEL),
        ("team", "support"),
        ("key", ada.usage_key),
        ("day", f"{datetime.now(UTC):%Y-%m-%d}"),
    ):
        assert by in get_args(UsageGrouping)
        (row,) = fetch_usage(metered.database, ada.tenant, by)
        assert (row.name, row.calls, row.cost) == (name, 3, Decimal("0.0003"))
    assert (
        fetch_usage(metered.database, ada.tenant, "day", datetime.now(UTC) + timedelta(hours=1))
        == []
    )
    assert fetch_unaccounted_usage(metered.database, ada.tenant).calls == 0


def test_a_reservation_is_settled_once(
    metered: Services, meter: PostgresMeter, ada: Principal
) -> None:
    """A reply that is closed after its end says so twice."""
    reservation = meter.reserve(call(ada), MODEL, 100, Decimal(0))
    meter.commit_usage(reservation, usage(10))
    meter.commit_usage(reservation, usage(10))
    assert [row.input_tokens for row in fetch_usage(metered.database, ada.tenant, "model")] == [10]


def test_what_can_not_be_booked_is_booked_later(
    metered: Services, meter: PostgresMeter, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database is back, with the next call that is settled; not twice where it was booked
    after all.
    """
    first, second = (meter.reserve(call(ada), MODEL, 100, Decimal(0)) for _ in range(2))

    @contextmanager
    def broken(*_: Any) -> Iterator[Any]:
        with Database.writing(metered.database, ada.tenant) as connection:
            yield connection
        raise Unavailable("The database broke off after it had booked.")

    with monkeypatch.context() as away:
        away.setattr(meter._database, "writing", broken)
        with pytest.raises(Unavailable):
            meter.commit_usage(first, usage(10))
    meter.commit_usage(second, usage(5))
    (row,) = fetch_usage(metered.database, ada.tenant, "model")
    assert (row.calls, row.input_tokens) == (2, 15)


@pytest.mark.parametrize(("per", "most"), [("minute", 60), ("day", 86_400), ("month", 31 * 86_400)])
def test_past_a_hard_limit_there_is_a_reset_to_wait_for(
    meter: PostgresMeter, admin: str, ada: Principal, per: BudgetPeriod, most: int
) -> None:
    """The sentence has its time, the error its seconds; what was spent fits exactly."""
    limit(admin, ada, "tokens", per, "100")
    began = datetime.now(UTC)
    with pytest.raises(
        OverBudget, match=rf"may use 100 tokens in a {per}, and 100 are used\. .* resets at "
    ) as refused:
        spend_again_and_again(meter, ada, 100)
    said = datetime.strptime(str(refused.value).rsplit(" ", 1)[1], "%Y-%m-%dT%H:%M:%SZ.").replace(
        tzinfo=UTC
    )
    assert 1 <= refused.value.retry_after <= most
    assert abs((said - began).total_seconds() - refused.value.retry_after) < 30
    assert said.second == 0
    assert per == "minute" or (said.hour, said.minute) == (0, 0)
    assert per != "month" or said.day == 1


def test_what_is_held_is_told_from_what_is_spent(
    meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """Calls under way give back what they don't use, so that trying again soon is worth it."""
    limit(admin, ada, "tokens", "day", "100")
    held = meter.reserve(call(ada), MODEL, 90, Decimal(0))
    with pytest.raises(OverBudget, match="running calls hold") as refused:
        meter.reserve(call(ada), MODEL, 20, Decimal(0))
    assert refused.value.retry_after == 1
    meter.commit_usage(held, usage(10))
    meter.commit_usage(meter.reserve(call(ada), MODEL, 90, Decimal(0)), usage(90))
    with pytest.raises(OverBudget, match="100 are used"):
        meter.reserve(call(ada), MODEL, 1, Decimal(0))


def test_what_never_fits_is_told_so(meter: PostgresMeter, admin: str, ada: Principal) -> None:
    """Waiting for the reset would help nobody."""
    limit(admin, ada, "cost", "day", "0.10")
    with pytest.raises(
        OverBudget, match=r"may use 0\.1 of cost in a day, and this alone may take 0\.25\."
    ):
        meter.reserve(call(ada), MODEL, 1, Decimal("0.25"))


def test_requests_are_counted_where_no_model_is_asked(
    meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """A refused call does not count."""
    limit(admin, ada, "requests", "day", "3", soft="2")
    assert [
        bool([each for each in meter.admit_request(ada) if each.is_over_soft_limit])
        for _ in range(3)
    ] == [False, False, True]
    for _ in range(2):
        with pytest.raises(OverBudget, match="may use 3 requests in a day, and 3 are used"):
            meter.admit_request(ada)
    limit(admin, ada, "requests", "day", "4")
    meter.admit_request(ada)


def test_of_several_budgets_each_holds(meter: PostgresMeter, admin: str, ada: Principal) -> None:
    """The tenant's, the team's and the key's; of those that are used up the one that resets last is
    told of, of those that reset together the widest.
    """
    bea = Principal(ada.tenant, (), "bea", "support")
    eve = Principal(ada.tenant, (), "eve", "sales")
    nobody = Principal(ada.tenant, (), "someone")
    limit(admin, ada, "tokens", "month", "100")
    limit(admin, ada, "tokens", "day", "60", scope="team", name="support")
    limit(admin, ada, "tokens", "day", "30", scope="key", name=ada.usage_key)
    spend(meter, ada, 30)
    with pytest.raises(OverBudget, match="The caller may use 30 tokens in a day"):
        meter.reserve(call(ada), MODEL, 1, Decimal(0))
    spend(meter, bea, 30)
    for one in (ada, bea):
        with pytest.raises(OverBudget, match="The team support may use 60 tokens in a day"):
            meter.reserve(call(one), MODEL, 1, Decimal(0))
    spend(meter, eve, 20)
    spend(meter, nobody, 20)
    for one in (ada, bea, eve, nobody):
        with pytest.raises(OverBudget, match="The tenant may use 100 tokens in a month"):
            meter.reserve(call(one), MODEL, 1, Decimal(0))


def test_a_budget_for_each_is_everyones_own(
    meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """A budget of a key's own replaces the default. Without a team there is no team's budget."""
    limit(admin, ada, "requests", "day", "1", scope="key", name=WILDCARD_NAME)
    limit(admin, ada, "requests", "day", "2", scope="key", name=ada.usage_key)
    limit(admin, ada, "requests", "day", "0", scope="team", name=WILDCARD_NAME)
    for subject, allowed in (("ada", 2), ("bea", 1), ("eve", 1)):
        one = Principal(ada.tenant, (), subject)
        for _ in range(allowed):
            meter.admit_request(one)
        with pytest.raises(OverBudget, match=f"may use {allowed} requests"):
            meter.admit_request(one)
    with pytest.raises(OverBudget, match="The team support may use 0 requests"):
        meter.admit_request(Principal(ada.tenant, (), "zoe", "support"))


def test_past_a_soft_limit_a_cheaper_model_should_do(
    metered: Services, meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """The gateway is told, and the books say which calls were made past it."""
    limit(admin, ada, "cost", "month", "10", soft="1")
    assert not meter.is_over_soft_limit(ada)
    spend(meter, ada, 5, "0.9")
    assert not meter.is_over_soft_limit(ada)
    held = meter.reserve(call(ada), MODEL, 5, Decimal("0.2"))
    assert meter.is_over_soft_limit(ada)
    spend(meter, ada, 5, "0.1")
    meter.commit_usage(held, usage(5))
    assert [row.tight for row in fetch_usage(metered.database, ada.tenant, "model")] == [1]


def test_a_new_budget_knows_what_was_used_before_it(
    meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """Today's usage counts for today's budget, whenever that was set, removed and set again."""
    spend(meter, ada, 70)
    limit(admin, ada, "tokens", "day", "100")
    with pytest.raises(OverBudget, match="70 are used"):
        meter.reserve(call(ada), MODEL, 50, Decimal(0))
    remove_budget(admin, ada.tenant, "tenant", "", "day", "tokens")
    spend(meter, ada, 50)
    limit(admin, ada, "tokens", "day", "100")
    with pytest.raises(OverBudget, match="120 are used"):
        meter.reserve(call(ada), MODEL, 50, Decimal(0))


def test_a_day_that_is_over_is_forgotten(
    server: EmbeddedPostgres, metered: Services, meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """A reservation from before midnight is booked to the new day."""
    limit(admin, ada, "tokens", "day", "100")
    spend(meter, ada, 60)
    held = meter.reserve(call(ada), MODEL, 40, Decimal(0))
    with connect_superuser(server, metered) as connection:
        connection.execute(
            "update balance set since = since - interval '1 day' where tenant_id = %s", [ada.tenant]
        )
    spend(meter, ada, 60)
    with pytest.raises(OverBudget):
        meter.reserve(call(ada), MODEL, 1, Decimal(0))
    meter.commit_usage(held, usage(30))
    with pytest.raises(OverBudget, match="90 are used"):
        meter.reserve(call(ada), MODEL, 11, Decimal(0))


def test_what_a_dead_process_held_comes_free(
    server: EmbeddedPostgres, metered: Services, meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """When its reservations expire; the calls stay on record. What is settled late is booked."""
    limit(admin, ada, "tokens", "day", "100")
    dead = PostgresMeter(metered.database)
    late = dead.reserve(call(ada), MODEL, 60, Decimal("0.6"))
    dead.reserve(call(ada), MODEL, 40, Decimal("0.4"))
    with pytest.raises(OverBudget):
        meter.reserve(call(ada), MODEL, 100, Decimal(0))
    with connect_superuser(server, metered) as connection:
        connection.execute(
            "update reservation set expires_at = now() where tenant_id = %s", [ada.tenant]
        )
    spend(meter, ada, 90)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert fetch_unaccounted_usage(metered.database, ada.tenant) == fetch_unaccounted_usage(
        metered.database, ada.tenant, today
    )
    assert (
        fetch_unaccounted_usage(metered.database, ada.tenant).calls,
        fetch_unaccounted_usage(metered.database, ada.tenant).cost,
    ) == (2, Decimal(1))
    dead.commit_usage(late, usage(7))
    assert fetch_unaccounted_usage(metered.database, ada.tenant).tokens == 40
    assert [row.input_tokens for row in fetch_usage(metered.database, ada.tenant, "model")] == [97]


def test_no_race_spends_more_than_there_is(
    server: EmbeddedPostgres, metered: Services, meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """Eight threads, through two processes' meters, for the tenant, two teams and their keys: to
    the token.
    """
    limit(admin, ada, "tokens", "month", "1000")
    limit(admin, ada, "tokens", "day", "600", scope="team", name=WILDCARD_NAME)
    askers = [
        Principal(ada.tenant, (), f"person {n}", ("support", "sales")[n % 2]) for n in range(8)
    ]
    meters = (meter, PostgresMeter(metered.database))
    start, granted = threading.Barrier(len(askers)), [0, 0]

    def spending(place: int) -> int:
        mine, allowed = meters[place % 2], 0
        start.wait()
        for _ in range(25):
            try:
                reservation = mine.reserve(call(askers[place]), MODEL, 10, Decimal(0))
            except OverBudget:
                continue
            mine.commit_usage(reservation, usage(10 - place % 2))  # some use less than they held
            allowed += 10 - place % 2
        return allowed

    with ThreadPoolExecutor(len(askers)) as threads:
        granted = list(threads.map(spending, range(len(askers))))
    by_team = {
        row.name: row.input_tokens for row in fetch_usage(metered.database, ada.tenant, "team")
    }
    assert by_team == {"support": sum(granted[::2]), "sales": sum(granted[1::2])}
    assert sum(granted) <= 1000
    assert max(by_team.values()) <= 600
    assert sum(granted) > 1000 - 10 * len(askers)  # refused for want of tokens, not for the crowd
    with connect_superuser(server, metered) as connection:
        kept = connection.execute(
            "select tokens from balance where tenant_id = %s and scope = 'tenant'", [ada.tenant]
        ).fetchall()
        assert kept == [(sum(granted),)]
        assert (
            connection.execute(
                "select from reservation where tenant_id = %s", [ada.tenant]
            ).fetchall()
            == []
        )


def test_a_tenant_waits_for_no_other(
    metered: Services, meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """While one's balances are locked, another's call goes through; so does that of another team of
    the same tenant.
    """
    other = Principal(f"{ada.tenant} too")
    sales = Principal(ada.tenant, (), "eve", "sales")
    for one in (ada, other):
        limit(admin, one, "requests", "day", "10", scope="key", name=WILDCARD_NAME)
        meter.admit_request(one)

    def going_on() -> None:
        for one in (other, sales):
            meter.admit_request(one)
            spend(meter, one, 1)

    with ThreadPoolExecutor(1) as thread, metered.database.writing(ada.tenant) as connection:
        connection.execute("select from balance for update")
        thread.submit(going_on).result(timeout=60)


@pytest.mark.parametrize(
    ("soft", "hard", "says"),
    [
        (None, None, "needs a limit"),
        ("-1", None, "from 0 up"),
        (None, "NaN", "from 0 up"),
        ("5", "4", "at most the hard limit"),
        (None, "Infinity", "from 0 up"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(
    soft: str | None, hard: str | None, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        Budget("tenant", "", "day", "tokens", soft and Decimal(soft), hard and Decimal(hard))


def test_budgets_are_listed_and_removed(metered: Services, admin: str, ada: Principal) -> None:
    """And changed by setting them again."""
    limit(admin, ada, "tokens", "day", "100")
    limit(admin, ada, "tokens", "day", "200", soft="150")
    limit(admin, ada, "cost", "month", None, soft="5", scope="team", name=WILDCARD_NAME)
    assert fetch_budgets(metered.database, ada.tenant) == [
        Budget("tenant", "", "day", "tokens", Decimal(150), Decimal(200)),
        Budget("team", WILDCARD_NAME, "month", "cost", Decimal(5)),
    ]
    remove_budget(admin, ada.tenant, "tenant", "", "day", "tokens")
    assert [each.scope for each in fetch_budgets(metered.database, ada.tenant)] == ["team"]
    with pytest.raises(NotFound, match="budget list"):
        remove_budget(admin, ada.tenant, "tenant", "", "day", "tokens")


def test_a_tenants_own_requests_change_neither_budgets_nor_books(
    metered: Services, meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """The application's role has no right to, with any SQL; and it sets no
    budget.
    """
    limit(admin, ada, "tokens", "day", "100")
    spend(meter, ada, 10)
    for attack in (
        "insert into budget (tenant_id, scope, name, per, measure, hard)"
        " values (current_tenant(), 'tenant', '', 'minute', 'tokens', 1)",
        "update budget set hard = 1000000",
        "delete from budget",
        "update usage set cost = 0",
        "delete from usage",
        "delete from balance",
        "update reservation set tokens = 0",
    ):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"),
            metered.database.writing(ada.tenant) as connection,
        ):
            connection.execute(attack)
    with pytest.raises(Unavailable, match="may not set budgets"):
        limit(metered.settings.database_url, ada, "tokens", "day", "1000000")


def test_nobody_sees_what_others_spend(
    metered: Services, meter: PostgresMeter, admin: str, ada: Principal
) -> None:
    """Neither by statements that forget the tenant, nor as a reader, whom these tables do not
    concern.
    """
    limit(admin, ada, "tokens", "day", "100")
    spend(meter, ada, 10)
    meter.reserve(call(ada), MODEL, 10, Decimal(0))
    for table in ("budget", "balance", "reservation", "usage"):
        with metered.database.writing(f"{ada.tenant} too") as connection:
            assert connection.execute(f"select count(*) from {table}").fetchone() == (0,)
        with metered.database.writing(ada.tenant) as connection:
            assert connection.execute(f"select count(*) from {table}").fetchone() == (1,)
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            metered.database.reading(ada) as connection,
        ):
            connection.execute(f"select from {table}")
    assert fetch_usage(metered.database, f"{ada.tenant} too", "model") == []


def test_a_payer_without_a_team_has_two_budgets() -> None:
    """And every scope has its word."""
    assert BudgetSubject.from_principal(Principal("alder", (), "ada")).sql_parameters["scopes"] == [
        "tenant",
        "key",
    ]
    assert tuple(
        BudgetSubject.from_principal(Principal("alder", (), "ada", "x")).sql_parameters["scopes"]
    ) == get_args(BudgetScope)


def test_over_http_a_tenant_over_its_budget_is_told_when_to_come_back(
    metered: Services, admin: str, ada: Principal
) -> None:
    """With a header past the soft limit, with a problem and Retry-After past the hard one; others
    are answered.
    """
    client = TestClient(build_api(metered, LocalIdentity((ada.tenant,))))
    limit(admin, ada, "requests", "day", "2", soft="1", scope="key", name=WILDCARD_NAME)
    body, headers = {"question": "Why?"}, {"X-Groundwork-Subject": "ada"}
    assert "x-groundwork-budget" not in client.post("/v1/ask", json=body, headers=headers).headers
    tight = client.post("/v1/ask", json=body, headers=headers | {"Accept": "text/event-stream"})
    assert re.fullmatch(
        r"key requests a day: 1 of 2 used, resets \d{4}-\d\d-\d\dT00:00:00Z",
        tight.headers["x-groundwork-budget"],
    )
    for path, more in (("ask", {}), ("ask", {"Accept": "text/event-stream"}), ("search", {})):
        refused = client.post(f"/v1/{path}", json=body, headers=headers | more)
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "urn:groundwork:over-budget"
        assert (
            "may use 2 requests in a day, and 2 are used. The budget resets at"
            in refused.json()["detail"]
        )
        assert 1 <= int(refused.headers["retry-after"]) <= 86_400
    assert client.get("/v1/me", headers=headers).status_code == 200
    assert (
        client.post("/v1/ask", json=body, headers={"X-Groundwork-Subject": "bea"}).status_code
        == 200
    )


def test_the_books_agree_with_the_provider_to_the_token(metered: Services, admin: str) -> None:
    """The short form of bench/budgets.py, whose times are for a machine that has nothing else to
    do.
    """
    report = run_phases(metered, admin, 60, pace=0)
    assert [aim for aim, met in report.aims.items() if not met and "p95" not in aim] == []
    assert (
        report.phases["within"]["spender"]["requests"]
        == report.phases["over"]["spender"]["refused"]
        == 12
    )
    assert all(row["provider"]["calls"] > 0 for row in report.tokens.values())
