"""The ingest flow on a real Prefect server: its states, its retries, and what the ledger says afterwards."""

import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect.artifacts import update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, TaskRun
from prefect.server.api.server import SubprocessASGIServer

import core.services
import flows.ingest
from core.embedding import Embedder
from core.errors import InvalidInput
from core.local_postgres import EmbeddedPostgres
from core.logs import UnexpectedError
from core.services import Services
from flows.ingest import Watcher, ingest_documents, surroundings
from flows.prefect_server import PrefectServer
from ingest import pipeline
from ingest.runs.worker import ClaimedBatch, IngestWorker, ProgressCallback, ignore_progress
from tests.integration.ingest.test_ingest import consistency
from tests.support.services import parsing, superuser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "pumps.md").write_text("# Pumps\n\nThe north pump moves 40 litres a second.\n")
    (docs / "valves.md").write_text("# Valves\n\nClose valve V-17 before the filter is opened.\n")
    (docs / "broken.docx").write_bytes(b"PK\x03\x04 no archive")
    return docs


def run_flow(
    engine: PrefectServer,
    services: Services,
    folder: Path,
    advanced: ProgressCallback = ignore_progress,
) -> tuple[State[Any], list[TaskRun]]:
    """Run the flow as `groundwork ingest` does; its last state, and its task runs as the server has them."""
    plan = pipeline.plan_run(services, "acme", [pipeline.build_source_spec(str(folder))])
    with engine.connect():
        with surroundings(services, Watcher(advanced), plan, parsing()):
            state: Any = ingest_documents("acme", [str(folder)], [], return_state=True)
        flow_run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        with get_client(sync_client=True) as client:
            return state, client.read_task_runs(flow_run_filter=flow_run)


def ledger(server: EmbeddedPostgres, services: Services) -> list[tuple[Any, ...]]:
    with superuser(server, services) as connection:
        return connection.execute(
            "select state, counts, kind, source from run order by started_at"
        ).fetchall()


def test_a_run_is_in_prefect_and_in_the_ledger(
    engine: PrefectServer, services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Completed, a task for the batch, and the counts; then again after a deletion."""
    state, tasks = run_flow(engine, services, folder)
    assert state.is_completed()
    assert state.result().counts == {"added": 2, "quarantined": 1}
    assert [task.name.rpartition("-")[0] for task in tasks] == ["take in a batch"]
    assert all(task.state and task.state.is_completed() and task.run_count == 1 for task in tasks)
    (folder / "valves.md").unlink()
    state, _ = run_flow(engine, services, folder)
    assert state.result().counts == {"deleted": 1, "unchanged": 1, "quarantined": 1}
    assert ledger(server, services) == [
        ("finished", {"added": 2, "quarantined": 1}, "ingest", str(folder)),
        ("finished", {"deleted": 1, "unchanged": 1, "quarantined": 1}, "ingest", str(folder)),
    ]
    with superuser(server, services) as connection:
        seconds: Any = connection.execute(
            "select seconds from run order by started_at limit 1"
        ).fetchone()
        gone = connection.execute("select uri from tombstone").fetchall()
    assert set(seconds[0]) == {"parse", "embed", "store"}
    assert gone == [((folder / "valves.md").as_uri(),)]


def test_how_far_a_run_is_is_told_to_the_server_that_runs_it(
    engine: PrefectServer, services: Services, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the run goes on, from a thread of its own; no second server is started for it."""
    told, faults = threading.Event(), []

    def update(*given: Any, **more: Any) -> None:
        try:
            update_progress_artifact(*given, **more)
        except Exception as error:
            faults.append(error)
        if threading.current_thread().name == "progress":
            told.set()

    monkeypatch.setattr(flows.ingest, "PROGRESS_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(flows.ingest, "update_progress_artifact", update)
    state, _ = run_flow(engine, services, folder, lambda *_: told.wait(60) and None)
    assert state.is_completed()
    assert told.is_set()
    assert faults == []
    assert not SubprocessASGIServer._instances


def test_a_batch_is_repeated_after_a_fault_of_the_database(
    engine: PrefectServer,
    services: Services,
    server: EmbeddedPostgres,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first attempt may not write chunks; while it waits for the second, somebody puts that right."""
    attempts = 0
    store = IngestWorker._store_batch

    def mend(worker: IngestWorker, batch: ClaimedBatch) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            grant(server, services, "grant insert on chunk to groundwork_writer")
        store(worker, batch)

    monkeypatch.setattr(IngestWorker, "_store_batch", mend)
    grant(server, services, "revoke insert on chunk from groundwork_writer")
    state, tasks = run_flow(engine, services, folder)
    assert state.is_completed()
    assert attempts == 2
    assert {task.name.rpartition("-")[0]: task.run_count for task in tasks} == {
        "take in a batch": 2
    }
    assert state.result().counts == {"added": 2, "quarantined": 1}
    assert [row[0] for row in ledger(server, services)] == ["finished"]
    assert consistency(server, services) == []


def grant(server: EmbeddedPostgres, services: Services, command: str) -> None:
    with superuser(server, services) as connection:
        connection.execute(command)


def test_a_connection_that_is_cut_is_replaced(
    engine: PrefectServer, services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """All of the pool's connections end between embedding and storing; the run goes on with new ones."""
    cut = 0

    def disconnect(files: float, chunks: float, tokens: float) -> None:
        nonlocal cut
        with superuser(server, services) as connection:
            cut += len(
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and usename = 'groundwork_app'"
                ).fetchall()
            )

    state, _ = run_flow(engine, services, folder, disconnect)
    assert state.is_completed()
    assert cut > 0
    assert state.result().counts == {"added": 2, "quarantined": 1}
    assert consistency(server, services) == []


def test_a_run_that_fails_for_good_says_so(
    engine: PrefectServer,
    services: Services,
    server: EmbeddedPostgres,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In Prefect and in the ledger; nothing half is stored, and the next run makes it good."""
    monkeypatch.setattr(
        flows.ingest, "ingest_batch", flows.ingest.ingest_batch.with_options(retries=0)
    )
    grant(server, services, "revoke insert on chunk from groundwork_writer")
    state, tasks = run_flow(engine, services, folder)
    assert state.is_failed()
    assert [task.state.is_failed() for task in tasks if task.state] == [True]
    with pytest.raises(UnexpectedError, match="InsufficientPrivilege"):
        state.result()
    assert consistency(server, services) == []
    grant(server, services, "grant insert on chunk to groundwork_writer")
    state, _ = run_flow(engine, services, folder)
    assert state.result().counts == {"added": 2, "quarantined": 1}
    assert [row[0] for row in ledger(server, services)] == ["failed", "finished"]


def test_alone_it_opens_what_the_settings_name(
    engine: PrefectServer,
    services: Services,
    server: EmbeddedPostgres,
    embedder: Embedder,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a worker runs it: no services and no plan are handed in. What can't be done is no run."""
    monkeypatch.setattr(core.services, "load_embedder", lambda *_: embedder)
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", services.settings.database_url)
    monkeypatch.chdir(folder)
    with engine.connect():
        report = ingest_documents("acme", [str(folder / "pumps.md")], ["staff"])
        assert report.counts == {"added": 1}
        with pytest.raises(InvalidInput, match="nothing at"):
            ingest_documents("acme", [f"/nowhere/{uuid.uuid4()}"])
    with superuser(server, services) as connection:
        stored = connection.execute(
            "select d.tenant_id, d.path, r.readers, d.run_id from document d"
            " join reader_set r using (tenant_id, reader_set_id)"
        ).fetchall()
    assert stored == [("acme", "pumps.md", ["staff"], report.run_id)]
    assert [row[0] for row in ledger(server, services)] == ["finished"]
