"""The queue under faults: a lost lease stores nothing, and only the faulty file is quarantined."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core.errors import InvalidInput
from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from ingest import pipeline, stages
from ingest.parsers.types import ParsedDocument
from ingest.runs import pipeline_version, queue
from ingest.runs.queue import QueueItem, RunHandle
from ingest.runs.repair import repair_tenant
from ingest.runs.status import describe_document
from ingest.runs.worker import ClaimedBatch, IngestWorker
from ingest.sources import open_source
from retrieval.retriever import retrieve
from tests.integration.ingest.test_ingest import find_inconsistencies
from tests.support.services import connect_superuser, ingest_folder, shared_parser_pool

EXPIRE_LEASES = "update item set lease_until = now() - interval '1 second' where state = 'leased'"


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


def plan_folder(services: Services, folder: Path) -> pipeline.IngestPlan:
    return pipeline.plan_run(services, "acme", [pipeline.build_source_spec(str(folder))])


def create_worker(services: Services, plan: pipeline.IngestPlan) -> IngestWorker:
    return IngestWorker(services, "acme", plan.run_id, parser_pool=shared_parser_pool())


def claim_batch(worker: IngestWorker) -> ClaimedBatch:
    batch = worker.claim()
    assert batch is not None
    return batch


def execute(server: EmbeddedPostgres, services: Services, query: str) -> list[tuple[Any, ...]]:
    with connect_superuser(server, services) as connection:
        cursor: Any = connection.execute(query)
        return list(cursor.fetchall()) if cursor.description else []


def test_a_worker_that_lost_its_lease_stores_nothing(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Another worker has claimed the files since, so the fence of the first one is too low."""
    plan = plan_folder(services, folder)
    first, second = create_worker(services, plan), create_worker(services, plan)
    lost_batch = claim_batch(first)
    assert second.claim() is None
    execute(server, services, EXPIRE_LEASES)
    for _ in range(5):  # files of an expired lease are tried one by one
        batch = claim_batch(second)
        assert len(batch.items) == 1
        second.ingest_batch(batch)
    assert second.try_complete_run()
    first.ingest_batch(lost_batch)
    versions = execute(server, services, "select count(*), max(version) from document")
    assert versions == [(5, 1)]
    runs = execute(server, services, "select counts, state from run")
    assert runs == [({"added": 5}, "finished")]
    assert find_inconsistencies(server, services) == []


def test_a_lease_that_its_worker_does_not_know_expires(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The connection broke after the claim was committed.

    The worker lives, and must not renew it.
    """
    worker = create_worker(services, plan_folder(services, folder))
    with services.database.writing("acme") as connection:
        assert len(queue.claim(connection, worker.run)) == 5
    assert worker.claim() is None
    execute(server, services, EXPIRE_LEASES)
    worker.leases.renew()
    batch = claim_batch(worker)
    leased = execute(server, services, "select count(*) from item where state = 'leased'")
    assert leased == [(1,)]
    execute(server, services, EXPIRE_LEASES)
    worker.leases.renew()
    renewed = execute(server, services, "select count(*) from item where lease_until > now()")
    assert renewed == [(1,)]
    worker.ingest_batch(batch)
    for _ in range(4):
        worker.ingest_batch(claim_batch(worker))
    assert worker.try_complete_run()
    assert execute(server, services, "select counts from run") == [({"added": 5},)]


def test_a_batch_that_kills_its_worker_is_split(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Every file is a suspect. The one that stops its worker three times is quarantined."""
    plan = plan_folder(services, folder)
    claim_batch(create_worker(services, plan))  # this worker dies with all files
    execute(server, services, EXPIRE_LEASES)
    deaths, faulty = 0, (folder / "pump-3.md").as_uri()
    while True:
        worker = create_worker(services, plan)
        batch = worker.claim()
        if batch is None:
            break
        assert len(batch.items) == 1
        if batch.items[0].uri == faulty:
            deaths += 1
            execute(server, services, EXPIRE_LEASES)
        else:
            worker.ingest_batch(batch)
    assert deaths == queue.MAX_FAILED_ATTEMPTS
    assert worker.try_complete_run()
    quarantined = execute(server, services, "select path, stage, reason, attempts from quarantine")
    assert quarantined == [("pump-3.md", "parse", "abandoned", 3)]
    counts = execute(server, services, "select counts from run")
    assert counts == [({"added": 4, "quarantined": 1},)]


def test_a_file_that_breaks_the_chunker_is_quarantined_and_the_others_are_not(
    services: Services, server: EmbeddedPostgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three attempts, with reason and stage; it is tried again only when it changes."""
    attempts = 0
    chunk_document = stages.load_chunker("structure")

    def fail_on_pump_2(parsed: ParsedDocument, *options: Any) -> Any:
        nonlocal attempts
        if "Pump 2" in parsed.text:
            attempts += 1
            raise ValueError("no such unit")
        return chunk_document(parsed, *options)

    monkeypatch.setattr(stages, "load_chunker", lambda name: fail_on_pump_2)
    report = ingest_folder(services, "acme", folder)
    assert report.counts == {"added": 4, "quarantined": 1}
    [outcome] = [outcome for outcome in report.outcomes if outcome.state == "quarantined"]
    assert (outcome.path, outcome.reason) == ("pump-2.md", "ValueError")
    assert "ValueError at test_queue.py:" in outcome.message
    assert "no such unit" not in outcome.message  # it might be a piece of the document
    assert attempts == 1 + queue.MAX_FAILED_ATTEMPTS  # the first one was among other files
    assert execute(server, services, "select stage, attempts from quarantine") == [("parse", 3)]
    assert ingest_folder(services, "acme", folder).counts == {"unchanged": 4, "quarantined": 1}
    assert attempts == 1 + queue.MAX_FAILED_ATTEMPTS


def test_a_document_that_the_database_refuses_is_quarantined(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The other files of its batch are stored."""
    refuse = "alter table chunk add constraint odd check (text not like '%42 litres%')"
    execute(server, services, refuse)
    report = ingest_folder(services, "acme", folder)
    assert report.counts == {"added": 4, "quarantined": 1}
    assert execute(server, services, "select path, stage, reason from quarantine") == [
        ("pump-2.md", "store", "CheckViolation")
    ]
    assert find_inconsistencies(server, services) == []


def test_an_older_run_never_overwrites_a_newer_one(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The older run has embedded B when the newer one stores A again: A stays."""
    file = folder / "pump-0.md"
    version_a = file.read_text()
    ingest_folder(services, "acme", folder)
    version_b = version_a.replace("40 litres", "77 litres")
    file.write_text(version_b)
    slow = create_worker(services, plan_folder(services, folder))
    batch = claim_batch(slow)
    batch.embedded_documents = slow._embed_batch(batch, slow._prepare_batch(batch))
    file.write_text(version_a)
    assert ingest_folder(services, "acme", folder).counts == {"unchanged": 5}
    slow.ingest_batch(batch)
    stale = execute(server, services, "select count(*) from chunk where text like '%77 litres%'")
    assert stale == [(0,)]
    hits = retrieve(services, Principal("acme"), "How much does pump 0 move?").hits
    assert any("40 litres" in hit.text for hit in hits)
    assert slow.try_complete_run()
    file.write_text(version_b)
    assert ingest_folder(services, "acme", folder).counts == {"unchanged": 4, "changed": 1}
    states = execute(server, services, "select state from run order by number")
    assert states == [("finished",), ("superseded",), ("finished",)]


def test_a_run_that_still_plans_skips_the_files_of_a_newer_run(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The newer run took over while the older one listed its source."""
    (folder / "sub").mkdir()
    (folder / "sub" / "valve.md").write_text("# Valve\n\nClose it first.\n")
    started = RunHandle("acme", plan_folder(services, folder).run_id)
    planning = RunHandle("acme", uuid.uuid4())
    spec = pipeline.build_source_spec(str(folder))
    with services.database.writing("acme") as connection:
        number, _ = queue.open_run(connection, planning, "ingest", [spec], "")
    ingest_folder(services, "acme", folder / "sub")
    with services.database.writing("acme") as connection:
        items = [QueueItem(file) for file in open_source(spec.address).list_files()]
        queue.start_run(connection, planning, number, items, {})
        outcomes = queue.list_outcomes(connection, planning)
        assert [(outcome.path, outcome.state) for outcome in outcomes] == [
            ("sub/valve.md", "superseded")
        ]
        # The other files of the first run are still its own.
        assert queue.read_run(connection, started).state == "running"


def test_the_next_run_or_the_sweep_closes_a_killed_run(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The next run of the same source finishes its files."""
    claim_batch(create_worker(services, plan_folder(services, folder)))
    report = ingest_folder(services, "acme", folder)
    assert report.counts == {"added": 5}
    states = execute(server, services, "select state from run order by number")
    assert states == [("superseded",), ("finished",)]
    (folder / "pump-9.md").write_text("# Pump 9\n\nIt is new.\n")
    claim_batch(create_worker(services, plan_folder(services, folder)))
    # The run may still be alive, so the sweep leaves it alone.
    assert all(result.found == 0 for result in repair_tenant(services, "acme"))
    execute(server, services, EXPIRE_LEASES)
    age = "update run set heartbeat_at = now() - interval '1 hour' where state = 'running'"
    execute(server, services, age)
    found = {result.check: result.found for result in repair_tenant(services, "acme", dry_run=True)}
    assert found["runs without a live worker"] == 1
    repaired = {result.check: result.repaired for result in repair_tenant(services, "acme")}
    assert repaired["leases that nobody renewed"] == repaired["runs without a live worker"] == 1
    newest = execute(server, services, "select state from run order by number desc limit 1")
    assert newest == [("failed",)]
    assert ingest_folder(services, "acme", folder).counts == {"unchanged": 5, "added": 1}


def test_the_sweep_repairs_rows_that_were_deleted_past_all_constraints(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    ingest_folder(services, "acme", folder)
    assert all(result.found == 0 for result in repair_tenant(services, "acme"))
    with connect_superuser(server, services) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from chunk where text like '%43 litres%'")
        connection.execute("delete from document where path = 'pump-1.md'")
    found = {result.check: result.found for result in repair_tenant(services, "acme", dry_run=True)}
    assert found["chunks without a document"] == 1
    assert found["passage vectors without a chunk"] == found["sentences without a chunk"] == 1
    assert found["postings without a chunk"] > 1
    assert found["sets of readers whose statistics are wrong"] == 1
    for result in repair_tenant(services, "acme"):
        assert result.repaired == result.found, result
    assert all(result.found == 0 for result in repair_tenant(services, "acme"))
    inconsistencies = find_inconsistencies(server, services)
    assert not {"chunk_without_postings", "chunk_without_vector"} & set(inconsistencies)


def test_the_versions_of_a_document_outlast_its_runs(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The sweep deletes the other items of old runs."""
    for litres in (50, 60):
        (folder / "pump-0.md").write_text(f"# Pump 0\n\nPump 0 moves {litres} litres a second.\n")
        ingest_folder(services, "acme", folder)
    (folder / "pump-1.md").unlink()
    (folder / "pump-2.md").write_bytes(b"%PDF-1.7 cut off")
    ingest_folder(services, "acme", folder)
    execute(server, services, "update run set finished_at = now() - interval '40 days'")
    repaired = {result.check: result.repaired for result in repair_tenant(services, "acme")}
    # One quarantined item, one deletion, and the version of the deleted document.
    assert repaired["files of runs long closed"] == 3
    versions = describe_document(services, "acme", "pump-0.md")["versions"]
    assert [(row["version"], row["state"]) for row in versions] == [(2, "changed"), (1, "added")]
    assert versions[0]["content_hash"] != versions[1]["content_hash"]
    versions = describe_document(services, "acme", "pump-2.md")["versions"]
    assert [row["version"] for row in versions] == [1]


def test_a_worker_with_other_settings_than_the_plan_is_refused(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Otherwise a run would mix chunks of two kinds."""
    plan = plan_folder(services, folder)
    execute(server, services, "update run set pipeline_hash = 'another'")
    with pytest.raises(InvalidInput, match="same ones"):
        create_worker(services, plan)


def test_changed_code_ingests_every_document_once_again(
    services: Services, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version of the pipeline covers the code of parsers, chunkers and text analysis."""
    ingest_folder(services, "acme", folder)
    monkeypatch.setattr(pipeline_version, "hash_source_files", lambda paths: "changed code")
    assert ingest_folder(services, "acme", folder).counts == {"changed": 5}
    assert ingest_folder(services, "acme", folder).counts == {"unchanged": 5}


def test_a_worker_waits_for_a_database_that_is_away(
    services: Services, server: EmbeddedPostgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections are cut twice inside the transaction that stores; no file gets a strike."""
    cuts = 0
    lock_items = queue.lock_items

    def lock_and_cut(connection: Any, run: RunHandle, items: Any) -> Any:
        nonlocal cuts
        held = lock_items(connection, run, items)
        if cuts < 2:
            cuts += 1
            execute(
                server,
                services,
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and usename = 'groundwork_app'",
            )
        return held

    monkeypatch.setattr(queue, "lock_items", lock_and_cut)
    report = ingest_folder(services, "acme", folder)
    assert cuts == 2
    assert report.counts == {"added": 5}
    strikes = execute(server, services, "select max(attempt), max(strikes) from item")
    assert strikes == [(1, 0)]


WORKER_PROGRAM = """
import sys, uuid
from ingest import pipeline
from core.services import open_services
from core.settings import load_settings
with open_services(load_settings()) as services:
    pipeline.process_run(services, "acme", uuid.UUID(sys.argv[1]))
"""


def test_a_run_continues_after_one_of_its_workers_is_killed(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Two processes share a run. One dies with all files leased, and the other finishes them."""
    plan = plan_folder(services, folder)
    count_leased = "select count(*) from item where state = 'leased'"
    with (
        connect_superuser(server, services) as connection,
        connection.transaction(force_rollback=True),
    ):
        # With this lock the process can't store anything before it is killed.
        connection.execute("lock table document in share mode")
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER_PROGRAM, str(plan.run_id)],
            env={**os.environ, "GROUNDWORK_DATABASE_URL": services.settings.database_url},
        )
        try:
            wait_until(lambda: execute(server, services, count_leased)[0][0] > 0, process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert execute(server, services, count_leased) == [(5,)]
    execute(server, services, EXPIRE_LEASES)
    pipeline.process_run(services, "acme", plan.run_id, parser_pool=shared_parser_pool())
    runs = execute(server, services, "select counts, state from run")
    assert runs == [({"added": 5}, "finished")]
    versions = execute(server, services, "select count(*), max(version) from document")
    assert versions == [(5, 1)]
    assert find_inconsistencies(server, services) == []


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for a condition while a process runs."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_readers_have_no_access_to_the_queue(services: Services) -> None:
    for table in ("item", "statistics_change"):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            services.database.reading(Principal("acme")) as connection,
        ):
            connection.execute(f"select * from {table}")  # type: ignore[arg-type]
