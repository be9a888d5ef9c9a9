"""Short form of `python -m bench.attack`: no attack leaks, and each leaks without defences."""

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

REQUESTS, TENANTS, THREADS, SEED = 500, 4, 2, 4711  # each kind also has a minimum
CONTROL = 24  # requests of each kind


@pytest.fixture(scope="module")
def result(
    server: EmbeddedPostgres,
    clone: Callable[[], str],
    embedder: Embedder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Result:
    """Return the result of one attack on a new database."""
    folder: Path = tmp_path_factory.mktemp("attack")
    return attack_database(
        server, clone(), embedder, folder, REQUESTS, TENANTS, THREADS, SEED, control=CONTROL
    )


def test_nothing_leaks(result: Result) -> None:
    """No canary, id or telling number appears in a reply or log line, and no data changes."""
    assert result.examples() == []
    assert result.requests >= 1_000
    assert result.log_lines > 0
    assert (result.leaks, result.log_leaks, result.damage, result.failed) == (0, 0, "", False)


def test_most_attacks_reach_documents_of_the_caller(result: Result) -> None:
    """Most attacks return documents of the caller; pure refusals would prove little."""
    without = {name for name, count in result.counts.items() if not count.own}
    assert without == {
        "hidden against absent",
        "forged, expired and foreign tokens",
        "requests within requests",
        "statements with the tenant negated",
        "starts as owner, superuser and similar roles",
    }


def test_every_attack_leaks_without_defences(result: Result) -> None:
    """The control has no row-level security, tenant predicate, token check or start check."""
    assert len(result.control) >= 18
    assert result.undetected_attacks() == []


def test_the_table_has_a_line_for_each_attack(result: Result) -> None:
    """The table has a line for each attack, and a total."""
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
    """A route that is added later is not forgotten."""
    source = inspect.getsource(web)
    paths = list(route_paths(web.build_signed_api(services).routes))
    assert "/v1/search" in paths
    assert [path for path in paths if path.partition("{")[0] not in source] == []


def test_a_leak_is_counted_with_its_request() -> None:
    """Canaries, ids and wrong counts are leaks; own, sent and unknown marks are not."""
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
