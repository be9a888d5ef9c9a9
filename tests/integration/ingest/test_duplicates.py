"""Exact duplicates are stored once and cited everywhere. Of near-duplicates the newest is shown."""

import itertools
import random
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from ingest import pipeline
from ingest.runs.repair import repair_tenant
from ingest.runs.status import describe_document
from retrieval.filters import Prefix
from retrieval.retriever import retrieve
from serving.answering.pipeline import answer_question
from serving.api.stored_document import fetch_document
from tests.integration.ingest.test_ingest import find_inconsistencies
from tests.support.services import connect_superuser, ingest_folder

PRINCIPAL = Principal("acme")
PUMP = (
    "# Pumps\n\nThe north pump moves 40 litres a second and was built in the year 1998 by hand.\n"
)
VALVE = (
    "# Valves\n\nClose valve V-17 before the filter is opened, or the whole hall is under water.\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same file in three folders, and another one."""
    docs = tmp_path / "docs"
    for name in ("a", "b", "c"):
        (docs / name).mkdir(parents=True)
        (docs / name / "pumps.md").write_text(PUMP)
    (docs / "valves.md").write_text(VALVE)
    return docs


def count(server: EmbeddedPostgres, services: Services, table: str) -> int:
    """Return the number of rows of a table, of all tenants."""
    with connect_superuser(server, services) as connection:
        row = connection.execute(f"select count(*) from {table}").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(str(row[0]))


def chunk_ids(server: EmbeddedPostgres, services: Services) -> set[object]:
    """Return the ids of all chunks."""
    with connect_superuser(server, services) as connection:
        return {row[0] for row in connection.execute("select chunk_id from chunk").fetchall()}


# --- exact duplicates -----------------------------------------------------------------------------


def test_three_copies_of_a_file_are_stored_once_and_each_can_be_opened(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The search shows one hit, which names the others. Only the first copy is embedded."""
    report = ingest_folder(services, "acme", folder)
    assert report.counts == {"added": 2, "duplicate": 2}
    assert report.chunks == count(server, services, "chunk") == 2
    hits = retrieve(services, PRINCIPAL, "How much does the north pump move?").hits
    assert [hit.path for hit in hits if "pumps" in hit.path] == ["a/pumps.md"]
    assert [(other.path, other.exact) for other in hits[0].also] == [
        ("b/pumps.md", True),
        ("c/pumps.md", True),
    ]
    for other in hits[0].also:
        assert "40 litres" in fetch_document(services.database, PRINCIPAL, other.document_id).text
    assert [
        place["path"] for place in describe_document(services, "acme", "b/pumps.md")["places"]
    ] == ["a/pumps.md", "c/pumps.md"]
    assert len(describe_document(services, "acme", "b/pumps.md")["chunks"]) == 1
    assert find_inconsistencies(server, services) == []
    assert pipeline.plan_run(services, "acme", [pipeline.build_source_spec(str(folder))]).is_empty


def test_an_answer_cites_every_copy_of_a_passage(services: Services, folder: Path) -> None:
    ingest_folder(services, "acme", folder)
    answer = answer_question(
        services, PRINCIPAL, "How many litres a second does the north pump move?"
    )
    assert answer.citations[0].path == "a/pumps.md"
    assert [place.path for place in answer.citations[0].also] == ["b/pumps.md", "c/pumps.md"]


def test_another_copy_takes_over_when_the_first_one_changes_or_goes(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Nothing is embedded again, and nothing is lost, down to the last copy."""
    ingest_folder(services, "acme", folder)
    before = chunk_ids(server, services)
    (folder / "a" / "pumps.md").write_text(PUMP.replace("40", "55"))
    assert ingest_folder(services, "acme", folder).counts == {"changed": 1, "unchanged": 3}
    assert before < chunk_ids(server, services)
    hits = retrieve(services, PRINCIPAL, "north pump moves 40 litres", collapse=False).hits
    assert [(hit.path, [o.path for o in hit.also]) for hit in hits[:2]] == [
        ("b/pumps.md", ["c/pumps.md"]),
        ("a/pumps.md", []),
    ]
    assert find_inconsistencies(server, services) == []
    (folder / "b" / "pumps.md").unlink()
    assert ingest_folder(services, "acme", folder).counts == {"deleted": 1, "unchanged": 3}
    assert before < chunk_ids(server, services)
    assert (
        retrieve(services, PRINCIPAL, "north pump moves 40 litres", collapse=False).hits[0].path
        == "c/pumps.md"
    )
    (folder / "c" / "pumps.md").unlink()
    ingest_folder(services, "acme", folder)
    assert not any(
        "40 litres" in hit.text
        for hit in retrieve(services, PRINCIPAL, "north pump 40 litres").hits
    )
    assert find_inconsistencies(server, services) == []


def test_a_file_that_moves_is_not_embedded_again(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The new path is stored before the old one is deleted."""
    ingest_folder(services, "acme", folder)
    before = chunk_ids(server, services)
    (folder / "valves.md").rename(folder / "closing.md")
    report = ingest_folder(services, "acme", folder)
    assert report.counts == {"duplicate": 1, "deleted": 1, "unchanged": 3}
    assert (report.chunks, chunk_ids(server, services)) == (0, before)
    assert retrieve(services, PRINCIPAL, "valve V-17").hits[0].path == "closing.md"
    assert find_inconsistencies(server, services) == []


def test_all_copies_can_change_at_once(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The copy that would take over changes as well."""
    ingest_folder(services, "acme", folder)
    for name in ("a", "b", "c"):
        (folder / name / "pumps.md").write_text(PUMP.replace("40", "60"))
    assert ingest_folder(services, "acme", folder).counts == {
        "changed": 1,
        "duplicate": 2,
        "unchanged": 1,
    }
    assert count(server, services, "chunk") == 2
    (folder / "a" / "pumps.md").write_text(VALVE)
    (folder / "valves.md").write_text(PUMP)
    ingest_folder(services, "acme", folder)
    assert retrieve(services, PRINCIPAL, "valve V-17 filter").hits[0].path == "a/pumps.md"
    assert find_inconsistencies(server, services) == []


def test_a_filter_finds_a_copy_by_its_own_path(services: Services, folder: Path) -> None:
    """The hit has this path, not that of the document that owns the chunks."""
    ingest_folder(services, "acme", folder)
    for name in ("a", "b", "c"):
        found = retrieve(
            services, PRINCIPAL, "north pump", where=Prefix("path", f"{name}/"), explain=True
        )
        assert [(hit.path, hit.also) for hit in found.hits] == [(f"{name}/pumps.md", ())]
        assert found.explanation is not None
        assert found.explanation.passed is not None
        assert (found.explanation.passed.documents, found.explanation.passed.passages) == (1, 1)


def test_documents_with_other_allowed_groups_never_share(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Otherwise a user's view would depend on documents that the user can't see."""
    (folder / "readers.yaml").write_text("rules:\n  - pattern: 'b/*'\n    readers: [guards]\n")
    assert ingest_folder(services, "acme", folder).counts == {"added": 3, "duplicate": 1}
    [hit, *_] = retrieve(services, PRINCIPAL, "north pump").hits
    assert [other.path for other in hit.also] == ["c/pumps.md"]
    hits = retrieve(services, Principal("acme", ("guards",)), "north pump", collapse=False).hits
    assert sorted(hit.path for hit in hits if "pump" in hit.path) == ["a/pumps.md", "b/pumps.md"]
    (folder / "readers.yaml").write_text("rules:\n  - pattern: 'a/*'\n    readers: [guards]\n")
    ingest_folder(services, "acme", folder)
    assert find_inconsistencies(server, services) == []
    hits = retrieve(services, PRINCIPAL, "north pump").hits
    assert {path for hit in hits for path in (hit.path, *(o.path for o in hit.also))} == {
        "b/pumps.md",
        "c/pumps.md",
        "valves.md",
    }


def test_copies_can_come_and_go_in_concurrent_runs(
    services: Services, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Four concurrent runs over folders of the same files lose no copy and leave none behind."""
    chance = random.Random(4)
    texts = [
        f"# Paper {n}\n\nPaper {n} says that the {n}th pump of the hall is to be oiled weekly.\n"
        for n in range(4)
    ]
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
        (folder / "always.md").write_text(
            "# Always\n\nThis file keeps the folder from being empty.\n"
        )
    for _ in range(3):
        for folder, number in itertools.product(folders, range(6)):
            file = folder / f"{number}.md"
            file.unlink(missing_ok=True)
            if chance.random() < 0.7:
                file.write_text(chance.choice(texts))
        start = threading.Barrier(len(folders))

        def ingest_at_once(folder: Path, start: threading.Barrier = start) -> None:
            start.wait()
            ingest_folder(services, "acme", folder)

        with ThreadPoolExecutor(len(folders)) as threads:
            list(threads.map(ingest_at_once, folders))
        assert find_inconsistencies(server, services) == []
        files = sum(1 for folder in folders for _ in folder.iterdir())
        assert count(server, services, "document") == files
        assert count(server, services, "quarantine") == 0
    kinds = {file.read_text() for folder in folders for file in folder.iterdir()}
    assert count(server, services, "chunk") == len(kinds)


def test_a_duplicate_without_its_original_is_repaired_and_ingested_again(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Only manual changes of the database can bring it about."""
    ingest_folder(services, "acme", folder)
    with connect_superuser(server, services) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "delete from chunk using document d where chunk.document_id = d.document_id and "
            "d.path ~ '^a'"
        )
        connection.execute("delete from document where path ~ '^a'")
    (folder / "a" / "pumps.md").unlink()
    results = {
        result.check: (result.found, result.repaired) for result in repair_tenant(services, "acme")
    }
    assert results["duplicates without the document they are the same as"] == (2, 2)
    repair_tenant(services, "acme")
    assert ingest_folder(services, "acme", folder).counts == {
        "changed": 1,
        "duplicate": 1,
        "unchanged": 1,
    }
    assert find_inconsistencies(server, services) == []


# --- near-duplicates ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def versions(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pages of PowerShell's documentation in five versions."""
    archive = data / "powershell-docs.tar.gz"
    if not archive.is_file():
        pytest.skip("powershell-docs.tar.gz is not among the real data")
    folder = tmp_path_factory.mktemp("powershell")
    wanted = ("about_Throw.md", "about_Break.md")
    with tarfile.open(archive) as tar:
        for member in tar:
            if "/About/about_" in member.name and member.name.endswith(wanted):
                tar.extract(member, folder, filter="data")
    return folder / "powershell-docs" / "reference"


def test_the_newest_of_five_versions_is_shown(
    services: Services, server: EmbeddedPostgres, versions: Path
) -> None:
    """The question or a filter can name another one; without `collapse` all of them are shown."""
    ingest_folder(services, "acme", versions)
    with connect_superuser(server, services) as connection:
        editions = connection.execute("select distinct edition from document").fetchall()
    assert {row[0] for row in editions} == {"5.1", "7.4", "7.5", "7.6", "7.7"}
    question = "How do I throw an error in a catch block?"
    collapsed = retrieve(services, PRINCIPAL, question, limit=5).hits
    assert len(collapsed) == 5
    assert collapsed[0].edition == "7.7"
    assert {other.edition for other in collapsed[0].also} >= {"7.4", "7.5", "7.6"}
    kept = retrieve(services, PRINCIPAL, question, limit=5, collapse=False).hits
    assert len({" ".join(hit.text.split())[:80] for hit in kept}) < len(
        {" ".join(h.text.split())[:80] for h in collapsed}
    )
    assert collapsed[0].score == pytest.approx(kept[0].score)
    named = retrieve(
        services, PRINCIPAL, "How do I throw an error in a catch block in PowerShell 7.4?"
    ).hits
    assert named[0].edition == "7.4"
    older = retrieve(services, PRINCIPAL, question, where=Prefix("path", "5.1/")).hits
    assert len(older) >= 5
    assert {hit.edition for hit in older} == {"5.1"}
    assert {other.edition for hit in older for other in hit.also} <= {"5.1"}


def test_a_much_better_passage_is_shown_instead_of_the_newer_one(
    services: Services, tmp_path: Path
) -> None:
    """Two pages differ in a name only: the one that the question names is shown."""
    body = (
        "Turn the key to the left, wait until the lamp is green, lift the cover off and "
        "clean the wiper with water."
    )
    for model, version in (("210", "1.0"), ("340", "2.0")):
        page = (
            f"---\nversion: '{version}'\n---\n# Cleaning\n\n{body} {body} This is about "
            f"the Heron {model}.\n"
        )
        (tmp_path / f"heron{model}.md").write_text(page)
    ingest_folder(services, "acme", tmp_path)
    hits = retrieve(services, PRINCIPAL, "Heron 210").hits
    assert [(hit.path, [other.path for other in hit.also]) for hit in hits] == [
        ("heron210.md", ["heron340.md"])
    ]
    assert retrieve(services, PRINCIPAL, "clean the wiper").hits[0].path == "heron340.md"


def test_the_database_refuses_an_edition_that_is_not_numbers(
    services: Services, server: EmbeddedPostgres
) -> None:
    """The search compares editions number by number."""
    with (
        connect_superuser(server, services) as connection,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        connection.execute(
            "insert into document (tenant_id, document_id, reader_set_id, uri, path, title, "
            "media_type, version,"
            " content_hash, pipeline_hash, text, blocks, metadata, run_id, edition) values "
            "('t', gen_random_uuid(), 1,"
            " '', '', '', '', 1, '', '', '', '[]', '{}', gen_random_uuid(), 'seven')"
        )
