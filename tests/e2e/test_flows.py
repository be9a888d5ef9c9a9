"""The ingest flow on a real Prefect server: its states, its retries, and the queue afterwards."""

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
from flows.ingest import ingest_documents
from flows.prefect_server import PrefectServer
from ingest import pipeline
from ingest.runs.worker import ClaimedBatch, IngestWorker
from tests.integration.ingest.test_ingest import find_inconsistencies
from tests.support.services import connect_superuser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "pumps.md").write_text("# Pumps\n\nThe north pump moves 40 litres a second.\n")
    (docs / "valves.md").write_text("# Valves\n\nClose valve V-17 before the filter is opened.\n")
    (docs / "broken.docx").write_bytes(b"PK\x03\x04 no archive")
    return docs


@pytest.fixture(autouse=True)
def settings_of_the_flow(
    services: Services, embedder: Embedder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows open the services that the settings name, with the model that is loaded already."""
    monkeypatch.setattr(core.services, "load_embedder", lambda *_: embedder)
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", services.settings.database_url)
    monkeypatch.chdir(folder)


def run_flow(
    engine: PrefectServer, folder: Path, **parameters: Any
) -> tuple[State[Any], list[TaskRun]]:
    """Run the flow; return its last state, and its task runs as the server has them."""
    with engine.connect():
        state: Any = ingest_documents("acme", [str(folder)], return_state=True, **parameters)
        flow_run_id = state.state_details.flow_run_id
        with get_client(sync_client=True) as client:
            filter_by_id = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
            return state, client.read_task_runs(flow_run_filter=filter_by_id)


def read_runs(server: EmbeddedPostgres, services: Services) -> list[tuple[Any, ...]]:
    with connect_superuser(server, services) as connection:
        return connection.execute(
            "select state, counts, kind, source from run order by started_at"
        ).fetchall()


def execute(server: EmbeddedPostgres, services: Services, command: str) -> None:
    with connect_superuser(server, services) as connection:
        connection.execute(command)  # type: ignore[arg-type]


def test_a_run_is_in_prefect_and_in_the_queue(
    engine: PrefectServer, services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Completed, with a task for the batch and the counts; then again after a deletion."""
    state, tasks = run_flow(engine, folder)
    assert state.is_completed()
    assert state.result().counts == {"added": 2, "quarantined": 1}
    assert [task.name.rpartition("-")[0] for task in tasks] == ["take in a batch"]
    assert all(task.state and task.state.is_completed() and task.run_count == 1 for task in tasks)
    (folder / "valves.md").unlink()
    state, _ = run_flow(engine, folder)
    assert state.result().counts == {"deleted": 1, "unchanged": 1, "quarantined": 1}
    assert read_runs(server, services) == [
        ("finished", {"added": 2, "quarantined": 1}, "ingest", str(folder)),
        ("finished", {"deleted": 1, "unchanged": 1, "quarantined": 1}, "ingest", str(folder)),
    ]
    with connect_superuser(server, services) as connection:
        seconds: Any = connection.execute(
            "select seconds from run order by started_at limit 1"
        ).fetchone()
        deleted = connection.execute("select uri from tombstone").fetchall()
    assert set(seconds[0]) == {"parse", "embed", "store"}
    assert deleted == [((folder / "valves.md").as_uri(),)]


def test_the_flow_does_what_its_recorded_parameters_say(
    engine: PrefectServer, services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Readers, include and exclude come from the parameters, not from the process around it."""
    options = {"readers": ["staff"], "include": ["*.md"], "exclude": ["valves*"]}
    state, _ = run_flow(engine, folder, **options)
    with connect_superuser(server, services) as connection:
        stored = connection.execute(
            "select d.tenant_id, d.path, r.readers, d.run_id from document d"
            " join reader_set r using (tenant_id, reader_set_id)"
        ).fetchall()
    assert stored == [("acme", "pumps.md", ["staff"], state.result().run_id)]
    with engine.connect(), get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(state.state_details.flow_run_id)
    assert flow_run.parameters.items() >= options.items()


def test_the_flow_works_on_the_planned_run_that_its_run_id_names(
    engine: PrefectServer, services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """A run of other sources is refused."""
    plan = pipeline.plan_run(services, "acme", [pipeline.build_source_spec(str(folder))])
    run_id = str(plan.run_id)
    state, _ = run_flow(engine, folder, run_id=run_id, exclude=["pumps*"])
    with pytest.raises(InvalidInput, match="other sources"):
        state.result()
    state, _ = run_flow(engine, folder, run_id=run_id)
    assert state.result().counts == {"added": 2, "quarantined": 1}
    assert [row[0] for row in read_runs(server, services)] == ["finished"]


def test_a_source_that_does_not_exist_leaves_no_run(
    engine: PrefectServer, services: Services, server: EmbeddedPostgres
) -> None:
    with engine.connect(), pytest.raises(InvalidInput, match="nothing at"):
        ingest_documents("acme", [f"/nowhere/{uuid.uuid4()}"])
    assert read_runs(server, services) == []


def test_progress_is_sent_to_the_server_that_runs_the_flow(
    engine: PrefectServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent from a thread of its own while the run goes on; no second server is started."""
    was_sent, faults = threading.Event(), []

    def update(*args: Any, **kwargs: Any) -> None:
        try:
            update_progress_artifact(*args, **kwargs)
        except Exception as error:
            faults.append(error)
        if threading.current_thread().name == "progress":
            was_sent.set()

    def wait_and_store(worker: IngestWorker, batch: ClaimedBatch) -> None:
        was_sent.wait(60)
        store_batch(worker, batch)

    store_batch = IngestWorker._store_batch
    monkeypatch.setattr(IngestWorker, "_store_batch", wait_and_store)
    monkeypatch.setattr(flows.ingest, "PROGRESS_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(flows.ingest, "update_progress_artifact", update)
    state, _ = run_flow(engine, folder)
    assert state.is_completed()
    assert was_sent.is_set()
    assert faults == []
    assert not SubprocessASGIServer._instances


def test_a_batch_is_repeated_after_a_fault_of_the_database(
    engine: PrefectServer,
    services: Services,
    server: EmbeddedPostgres,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first attempt may not insert chunks; before the second, somebody grants the right."""
    attempts = 0
    store_batch = IngestWorker._store_batch

    def grant_and_store(worker: IngestWorker, batch: ClaimedBatch) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            execute(server, services, "grant insert on chunk to groundwork_writer")
        store_batch(worker, batch)

    monkeypatch.setattr(IngestWorker, "_store_batch", grant_and_store)
    execute(server, services, "revoke insert on chunk from groundwork_writer")
    state, tasks = run_flow(engine, folder)
    assert state.is_completed()
    assert attempts == 2
    run_counts = {task.name.rpartition("-")[0]: task.run_count for task in tasks}
    assert run_counts == {"take in a batch": 2}
    assert state.result().counts == {"added": 2, "quarantined": 1}
    assert [row[0] for row in read_runs(server, services)] == ["finished"]
    assert find_inconsistencies(server, services) == []


def test_a_connection_that_is_cut_is_replaced(
    engine: PrefectServer,
    services: Services,
    server: EmbeddedPostgres,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All connections of the pool end between embedding and storing; the run uses new ones."""
    cut = 0
    store_batch = IngestWorker._store_batch

    def cut_and_store(worker: IngestWorker, batch: ClaimedBatch) -> None:
        nonlocal cut
        with connect_superuser(server, services) as connection:
            terminated = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and usename = 'groundwork_app'"
            ).fetchall()
        cut += len(terminated)
        store_batch(worker, batch)

    monkeypatch.setattr(IngestWorker, "_store_batch", cut_and_store)
    state, _ = run_flow(engine, folder)
    assert state.is_completed()
    assert cut > 0
    assert state.result().counts == {"added": 2, "quarantined": 1}
    assert find_inconsistencies(server, services) == []


def test_a_run_that_fails_for_good_is_failed_in_prefect_and_in_the_queue(
    engine: PrefectServer,
    services: Services,
    server: EmbeddedPostgres,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is stored by halves, and the next run ingests the files."""
    without_retries = flows.ingest.ingest_batch.with_options(retries=0)
    monkeypatch.setattr(flows.ingest, "ingest_batch", without_retries)
    execute(server, services, "revoke insert on chunk from groundwork_writer")
    state, tasks = run_flow(engine, folder)
    assert state.is_failed()
    assert [task.state.is_failed() for task in tasks if task.state] == [True]
    with pytest.raises(UnexpectedError, match="InsufficientPrivilege"):
        state.result()
    assert find_inconsistencies(server, services) == []
    execute(server, services, "grant insert on chunk to groundwork_writer")
    state, _ = run_flow(engine, folder)
    assert state.result().counts == {"added": 2, "quarantined": 1}
    assert [row[0] for row in read_runs(server, services)] == ["failed", "finished"]
