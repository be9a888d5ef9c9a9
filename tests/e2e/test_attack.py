"""The attack in short: every way in is tried, and nothing leaks; where nothing defends, everything does."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from starlette.routing import BaseRoute, Route

from bench.attack import __main__ as program
from bench.attack import web
from bench.attack.estate import Estate
from bench.attack.running import Result, attack_database
from bench.attack.target import AttackCount, Observation
from core.embedding import Embedder
from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services

REQUESTS, TENANTS, THREADS, SEED = 500, 4, 2, 4711  # each kind has a least number of its own
CONTROL = 24  # requests of each kind


@pytest.fixture(scope="module")
def result(
    server: EmbeddedPostgres,
    clone: Callable[[], str],
    embedder: Embedder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Result:
    """One attack on a database of its own."""
    folder: Path = tmp_path_factory.mktemp("attack")
    return attack_database(
        server, clone(), embedder, folder, REQUESTS, TENANTS, THREADS, SEED, control=CONTROL
    )


def test_nothing_leaks(result: Result) -> None:
    """No canary, no id, no number that tells, in no answer, error, header or log line; and nothing is changed."""
    assert result.examples() == []
    assert result.requests >= 1_000
    assert result.log_lines > 0
    assert (result.leaks, result.log_leaks, result.damage, result.failed) == (0, 0, "", False)


def test_the_requests_reach_what_the_askers_may_see(result: Result) -> None:
    """An attack that only ever met closed doors would prove little."""
    without = {name for name, count in result.counts.items() if not count.own}
    assert without == {
        "hidden against absent",
        "tokens forged, expired, of nobody",
        "requests within requests",
        "statements with the tenant turned round",
        "starts as owner, superuser and the like",
    }


def test_where_nothing_defends_every_attack_leaks(result: Result) -> None:
    """The control: without row-level security, tenants in statements, checked tokens and checks at the start."""
    assert len(result.control) >= 18
    assert result.undetected_attacks() == []


def test_a_run_ends_with_its_table(result: Result) -> None:
    """A line for each kind, a total, the logs."""
    printed = program.format_table(result)
    assert all(
        f"| {name} | {count.requests:,} |" in printed for name, count in result.counts.items()
    )
    assert f"| **all** | **{result.requests:,}** |" in printed
    assert result.to_json()["leaks"] == 0


def route_paths(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """Yield the paths of an application, those of its included routers too."""
    for route in routes:
        if isinstance(route, Route):
            yield route.path
        elif router := getattr(route, "original_router", None):
            yield from route_paths(router.routes)


def test_every_route_is_attacked(services: Services) -> None:
    """A route that is added later can't be forgotten."""
    source = inspect.getsource(web)
    paths = list(route_paths(web.build_signed_api(services).routes))
    assert "/v1/search" in paths
    assert [path for path in paths if path.partition("{")[0] not in source] == []


def test_a_leak_is_counted_with_what_led_to_it() -> None:
    """By canary, by id, by a number; what was sent, what is one's own and what is nobody's is none."""
    word, other, number = "qzbcdfghjklmnp", "qzpnmlkjhgfdcb", "00000000-0000-0000-0000-000000000007"
    estate = Estate(
        owners={word: {("north", "")}, other: {("north", "finance")}, number: {("south", "")}}
    )
    north, clerk = Principal("north"), Principal("north", ("finance",))
    assert estate.find_leaks(north, "", f"{word} qzzzzzzzzzzzzz") == []
    assert estate.find_leaks(north, "", f"title {other.upper()}") == [other]
    assert estate.find_leaks(north, other, other) == estate.find_leaks(clerk, "", other) == []
    assert estate.find_leaks(north, "", f"/v1/documents/{number}") == [number]
    assert estate.find_leaks(None, "", word) == [word]
    assert estate.find_leaks(north, "", other, operator=True) == []
    assert estate.find_leaks(north, "", number, operator=True) == [number]
    count = AttackCount()
    count.add(estate, Observation(north, "", word))
    count.add(estate, Observation(north, "a question", other))
    count.add(estate, Observation(north, "", "", "counts 3 documents, not 2"))
    assert (count.requests, count.own, count.leaks) == (3, 2, 2)
    assert "a question" in count.examples[0]
