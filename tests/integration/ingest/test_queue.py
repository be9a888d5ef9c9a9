"""The ledger under faults: a lost lease stores nothing, only the guilty file is put aside, the later run is right."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

import ingest.runs.worker
from core.errors import InvalidInput
from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from ingest import pipeline
from ingest.parsers.types import ParsedDocument
from ingest.runs import queue
from ingest.runs.queue import RunHandle
from ingest.runs.repair import repair_tenant
from ingest.runs.status import describe_document
from ingest.runs.worker import ClaimedBatch, IngestWorker
from retrieval.retriever import retrieve
from tests.integration.ingest.test_ingest import consistency
from tests.support.services import parsing, superuser, take_in_folder

EXPIRE = "update item set lease_until = now() - interval '1 second' where state = 'leased'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five documents."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(5):
        (docs / f"pump-{number}.md").write_text(
            f"# Pump {number}\n\nPump {number} moves 4{number} litres a second.\n"
        )
    return docs


def planned(services: Services, folder: Path) -> pipeline.IngestPlan:
    return pipeline.plan_run(services, "acme", [pipeline.build_source_spec(str(folder))])


def worker(services: Services, plan: pipeline.IngestPlan) -> IngestWorker:
    return IngestWorker(services, "acme", plan.run_id, parser_pool=parsing())


def claimed(worker: IngestWorker) -> ClaimedBatch:
    batch = worker.claim()
    assert batch is not None
    return batch


def rows(server: EmbeddedPostgres, services: Services, query: str) -> list[tuple[Any, ...]]:
    with superuser(server, services) as connection:
        cursor: Any = connection.execute(query)
        return list(cursor.fetchall()) if cursor.description else []


def test_who_lost_a_lease_stores_nothing(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Another has claimed the files since: the fence of the first is too low, even with everything embedded."""
    plan = planned(services, folder)
    first, second = worker(services, plan), worker(services, plan)
    lost = claimed(first)
    assert second.claim() is None
    rows(server, services, EXPIRE)
    for _ in range(5):  # what a worker did not answer for is tried file by file
        batch = claimed(second)
        assert len(batch.items) == 1
        second.ingest_batch(batch)
    assert second.try_complete_run()
    first.ingest_batch(lost)
    assert rows(server, services, "select count(*), max(version) from document") == [(5, 1)]
    assert rows(server, services, "select counts, state from run") == [({"added": 5}, "finished")]
    assert consistency(server, services) == []


def test_a_lease_that_its_worker_never_heard_of_runs_out(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The connection broke after the claim was committed. The worker lives, and would renew it for ever."""
    plan = planned(services, folder)
    alive = worker(services, plan)
    with services.database.writing("acme") as connection:
        assert len(queue.claim(connection, alive.run_handle)) == 5
    assert alive.claim() is None
    rows(server, services, EXPIRE)
    renew(alive)
    batch = claimed(alive)
    assert rows(server, services, "select count(*) from item where state = 'leased'") == [(1,)]
    rows(server, services, EXPIRE)
    renew(alive)
    assert rows(server, services, "select count(*) from item where lease_until > now()") == [(1,)]
    alive.ingest_batch(batch)
    for _ in range(4):
        alive.ingest_batch(claimed(alive))
    assert alive.try_complete_run()
    assert rows(server, services, "select counts from run") == [({"added": 5},)]


def renew(worker: IngestWorker) -> None:
    """What a worker does every few seconds."""
    worker._run_transaction(
        lambda connection, share: queue.renew_leases(connection, share, tuple(worker._held_leases))
    )


def test_a_batch_that_kills_its_worker_is_taken_apart(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """All files are suspects at first; the one that is never answered for, three times alone, is put aside."""
    plan = planned(services, folder)
    claimed(worker(services, plan))  # and is never heard of again
    rows(server, services, EXPIRE)
    deaths, guilty = 0, (folder / "pump-3.md").as_uri()
    while True:
        alive = worker(services, plan)
        batch = alive.claim()
        if batch is None:
            break
        assert len(batch.items) == 1
        if batch.items[0].uri == guilty:
            deaths += 1
            rows(server, services, EXPIRE)
        else:
            alive.ingest_batch(batch)
    assert deaths == queue.MAX_FAILED_ATTEMPTS
    assert alive.try_complete_run()
    assert rows(server, services, "select path, stage, reason, attempts from quarantine") == [
        ("pump-3.md", "parse", "abandoned", 3)
    ]
    assert rows(server, services, "select counts from run") == [({"added": 4, "quarantined": 1},)]


def test_a_file_that_fails_is_put_aside_and_its_neighbours_are_not(
    services: Services, server: EmbeddedPostgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a chunker makes of it: three attempts, then the reason and the stage; and not again until it changes."""
    attempts = 0
    chunk = ingest.runs.worker.load_chunker("structure")

    def strange(parsed: ParsedDocument, *rest: Any) -> Any:
        nonlocal attempts
        if "Pump 2" in parsed.text:
            attempts += 1
            raise ValueError("no such unit")
        return chunk(parsed, *rest)

    monkeypatch.setattr(ingest.runs.worker, "load_chunker", lambda name: strange)
    report = take_in_folder(services, "acme", folder)
    assert report.counts == {"added": 4, "quarantined": 1}
    aside = next(outcome for outcome in report.outcomes if outcome.state == "quarantined")
    assert (aside.path, aside.reason) == ("pump-2.md", "ValueError")
    assert "ValueError at test_ledger.py:" in aside.message
    assert "no such unit" not in aside.message  # which might be a piece of the document
    assert attempts == 1 + queue.MAX_FAILED_ATTEMPTS  # once among others, when nobody could know
    assert rows(server, services, "select stage, attempts from quarantine") == [("parse", 3)]
    assert take_in_folder(services, "acme", folder).counts == {"unchanged": 4, "quarantined": 1}
    assert attempts == 1 + queue.MAX_FAILED_ATTEMPTS


def test_what_the_database_can_not_hold_is_one_files_fault(
    services: Services, server: EmbeddedPostgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that PostgreSQL refuses, found among others that it takes."""
    rows(
        server, services, "alter table chunk add constraint odd check (text not like '%42 litres%')"
    )
    report = take_in_folder(services, "acme", folder)
    assert report.counts == {"added": 4, "quarantined": 1}
    assert rows(server, services, "select path, stage, reason from quarantine") == [
        ("pump-2.md", "store", "CheckViolation")
    ]
    assert consistency(server, services) == []


def test_an_older_run_never_overwrites_a_newer_one(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """It read A, and has it embedded. Then the file becomes B, and A again: what the newest run saw is served."""
    file = folder / "pump-0.md"
    a = file.read_text()
    take_in_folder(services, "acme", folder)
    file.write_text(b := a.replace("40 litres", "77 litres"))
    slow = worker(services, planned(services, folder))
    batch = claimed(slow)
    batch.embedded_documents = slow._embed_batch(batch, slow._prepare_documents(batch))
    file.write_text(a)
    assert take_in_folder(services, "acme", folder).counts == {"unchanged": 5}
    slow.ingest_batch(batch)
    assert rows(server, services, "select count(*) from chunk where text like '%77 litres%'") == [
        (0,)
    ]
    hits = retrieve(services, Principal("acme"), "How much does pump 0 move?").hits
    assert any("40 litres" in hit.text for hit in hits)
    assert slow.try_complete_run()
    file.write_text(b)
    assert take_in_folder(services, "acme", folder).counts == {"unchanged": 4, "changed": 1}
    states = rows(server, services, "select state from run order by number")
    assert states == [("finished",), ("superseded",), ("finished",)]


def test_a_run_that_still_plans_leaves_alone_what_a_newer_one_covers(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The newer one took over while the older looked through its source."""
    (folder / "sub").mkdir()
    (folder / "sub" / "valve.md").write_text("# Valve\n\nClose it first.\n")
    share = RunHandle("acme", planned(services, folder).run_id)
    older = RunHandle("acme", pipeline.uuid.uuid4())
    origins = [pipeline.build_source_spec(str(folder))]
    with services.database.writing("acme") as connection:
        number, _ = queue.open_run(connection, older, "ingest", origins, "")
    take_in_folder(services, "acme", folder / "sub")
    with services.database.writing("acme") as connection:
        files = pipeline.open_source(origins[0].address).list_files()
        queue.start_run(connection, older, number, [queue.PlannedItem(file) for file in files], {})
        states = {outcome.path: outcome.state for outcome in queue.list_outcomes(connection, older)}
        assert states == {"sub/valve.md": "superseded"}
        assert (
            queue.read_run(connection, share).state == "running"
        )  # the rest of it is still its own


def test_a_killed_run_is_gone_on_with_and_does_not_stay_open(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """By the next run of the same source; and where there is none, by the sweep."""
    claimed(worker(services, planned(services, folder)))
    report = take_in_folder(services, "acme", folder)
    assert report.counts == {"added": 5}
    assert rows(server, services, "select state from run order by number") == [
        ("superseded",),
        ("finished",),
    ]
    (folder / "pump-9.md").write_text("# Pump 9\n\nIt is new.\n")
    claimed(worker(services, planned(services, folder)))
    assert all(
        finding.found == 0 for finding in repair_tenant(services, "acme")
    )  # it may still be alive
    rows(server, services, EXPIRE)
    rows(
        server,
        services,
        "update run set heartbeat_at = now() - interval '1 hour' where state = 'running'",
    )
    dry = {finding.check: finding for finding in repair_tenant(services, "acme", dry_run=True)}
    assert dry["runs without a live worker"].found == 1
    repaired = {finding.check: finding.repaired for finding in repair_tenant(services, "acme")}
    assert repaired["leases that nobody renewed"] == repaired["runs without a live worker"] == 1
    assert rows(server, services, "select state from run order by number desc limit 1") == [
        ("failed",)
    ]
    assert take_in_folder(services, "acme", folder).counts == {"unchanged": 5, "added": 1}


def test_a_sweep_finds_and_repairs_what_should_never_be(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Made by hand, past every constraint."""
    take_in_folder(services, "acme", folder)
    assert all(finding.found == 0 for finding in repair_tenant(services, "acme"))
    with superuser(server, services) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from chunk where text like '%43 litres%'")
        connection.execute("delete from document where path = 'pump-1.md'")
    found = {
        finding.check: finding.found for finding in repair_tenant(services, "acme", dry_run=True)
    }
    assert found["chunks without a document"] == 1
    assert found["passage vectors without a chunk"] == found["sentences without a chunk"] == 1
    assert found["postings without a chunk"] > 1
    assert found["sets of readers whose statistics are wrong"] == 1
    for finding in repair_tenant(services, "acme"):
        assert finding.repaired == finding.found or finding.check.startswith("sets of readers")
    assert all(finding.found == 0 for finding in repair_tenant(services, "acme"))
    assert "a chunk lacks" not in str(consistency(server, services))


def test_versions_outlast_the_runs_that_made_them(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Of documents that are still there; what else became of files long ago is forgotten."""
    for litres in (50, 60):
        (folder / "pump-0.md").write_text(f"# Pump 0\n\nPump 0 moves {litres} litres a second.\n")
        take_in_folder(services, "acme", folder)
    (folder / "pump-1.md").unlink()
    (folder / "pump-2.md").write_bytes(b"%PDF-1.7 cut off")
    take_in_folder(services, "acme", folder)
    rows(server, services, "update run set finished_at = now() - interval '40 days'")
    swept = {finding.check: finding.repaired for finding in repair_tenant(services, "acme")}
    assert (
        swept["files of runs long closed"] == 3
    )  # one put aside, one deleted, the version of the deleted one
    versions = describe_document(services, "acme", "pump-0.md")["versions"]
    assert [(each["version"], each["state"]) for each in versions] == [(2, "changed"), (1, "added")]
    assert versions[0]["content_hash"] != versions[1]["content_hash"]
    assert [
        each["version"] for each in describe_document(services, "acme", "pump-2.md")["versions"]
    ] == [1]


def test_workers_must_have_the_settings_of_the_plan(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Else a run would mix chunks of two kinds."""
    plan = planned(services, folder)
    rows(server, services, "update run set pipeline_hash = 'another'")
    with pytest.raises(InvalidInput, match="same ones"):
        worker(services, plan)


def test_a_database_that_is_away_is_waited_for(
    services: Services, server: EmbeddedPostgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections are cut inside the transaction that stores, twice; no file is blamed."""
    cuts = 0
    hold = queue.lock_items

    def cut(connection: Any, share: RunHandle, items: Any) -> Any:
        nonlocal cuts
        held = hold(connection, share, items)
        if cuts < 2:
            cuts += 1
            rows(
                server,
                services,
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and usename = 'groundwork_app'",
            )
        return held

    monkeypatch.setattr(queue, "lock_items", cut)
    report = take_in_folder(services, "acme", folder)
    assert cuts == 2
    assert report.counts == {"added": 5}
    assert rows(server, services, "select max(attempt), max(strikes) from item") == [(1, 0)]


HELPER = """
import sys, uuid
from ingest import pipeline
from core.services import open_services
from core.settings import load_settings
with open_services(load_settings()) as services:
    pipeline.process_run(services, "acme", uuid.UUID(sys.argv[1]))
"""


def test_a_worker_in_another_process_is_killed_and_the_run_goes_on(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Two processes share a run; one dies with files in its hands, and the other finishes them."""
    plan = planned(services, folder)
    with superuser(server, services) as connection, connection.transaction(force_rollback=True):
        connection.execute(
            "lock table document in share mode"
        )  # so that it can store nothing before it is killed
        other = subprocess.Popen(
            [sys.executable, "-c", HELPER, str(plan.run_id)],
            env={**os.environ, "GROUNDWORK_DATABASE_URL": services.settings.database_url},
        )
        leased = "select count(*) from item where state = 'leased'"
        try:
            until(lambda: rows(server, services, leased)[0][0] > 0, other)
        finally:
            other.send_signal(signal.SIGKILL)
            other.wait()
    assert rows(server, services, leased) == [(5,)]
    rows(server, services, EXPIRE)
    pipeline.process_run(services, "acme", plan.run_id, parser_pool=parsing())
    assert rows(server, services, "select counts, state from run") == [({"added": 5}, "finished")]
    assert rows(server, services, "select count(*), max(version) from document") == [(5, 1)]
    assert consistency(server, services) == []


def until(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for something to hold while a process runs."""
    deadline = time.monotonic() + 120
    while not holds():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_tables_of_the_ledger_are_not_for_readers(services: Services) -> None:
    """What was tried, and by whom, is no answer to a question."""
    for table in ("item", "statistics_change"):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            services.database.reading(Principal("acme")) as mine,
        ):
            mine.execute(f"select * from {table}")  # type: ignore[arg-type]
