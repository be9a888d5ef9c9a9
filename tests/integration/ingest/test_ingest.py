"""Ingest is incremental and atomic: no document is stored twice, and none is lost."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.db.queries import load_queries
from core.errors import InvalidInput
from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from ingest import pipeline
from ingest.sources import open_source
from retrieval.retriever import retrieve
from serving.answering.pipeline import answer_question
from tests.support.services import connect_superuser, ingest_folder

INCONSISTENCIES = load_queries(Path(__file__).with_name("inconsistencies.sql"))
PRINCIPAL = Principal("acme")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small source of three documents."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "pumps.md").write_text(
        "# Pumps\n\nThe north pump moves 40 litres a second. It was built in 1998.\n"
    )
    (docs / "valves.md").write_text(
        "# Valves\n\n## Closing\n\nClose valve V-17 before the filter is opened.\n"
    )
    (docs / "notes.txt").write_text("The gate code changes every Monday.\n")
    return docs


def find_paths(services: Services, question: str, principal: Principal = PRINCIPAL) -> list[str]:
    """Return the paths of the hits for a question, best first."""
    return [hit.path for hit in retrieve(services, principal, question).hits]


def test_a_second_run_touches_nothing(services: Services, folder: Path) -> None:
    """An unchanged file is not parsed, embedded or written."""
    first = ingest_folder(services, "acme", folder)
    assert first.counts == {"added": 3}
    plan = pipeline.plan_run(services, "acme", [pipeline.build_source_spec(str(folder))])
    assert plan.is_empty
    assert [outcome.state for outcome in plan.skipped] == ["unchanged"] * 3


def test_a_changed_file_is_replaced_and_a_removed_one_is_gone(
    services: Services, folder: Path
) -> None:
    """The store follows the folder."""
    ingest_folder(services, "acme", folder)
    (folder / "pumps.md").write_text("# Pumps\n\nThe north pump moves 55 litres a second.\n")
    (folder / "valves.md").unlink()
    report = ingest_folder(services, "acme", folder)
    assert report.counts == {"changed": 1, "unchanged": 1, "deleted": 1}
    hits = retrieve(services, PRINCIPAL, "How much does the north pump move?").hits
    assert "55 litres" in hits[0].text
    assert hits[0].version == 2
    assert "valves.md" not in find_paths(services, "close valve V-17")
    assert not any("40 litres" in hit.text for hit in hits)


def test_a_file_that_is_changed_back_has_its_first_content_again(
    services: Services, folder: Path
) -> None:
    original = (folder / "pumps.md").read_text()
    for text in (original, original.replace("40", "41"), original):
        (folder / "pumps.md").write_text(text)
        ingest_folder(services, "acme", folder)
    hit = retrieve(services, PRINCIPAL, "north pump litres").hits[0]
    assert "40 litres" in hit.text
    assert hit.version == 3


def test_new_allowed_groups_apply_without_a_change_of_content(
    services: Services, folder: Path
) -> None:
    ingest_folder(services, "acme", folder)
    (folder / "readers.yaml").write_text("rules:\n  - pattern: 'notes*'\n    readers: [guards]\n")
    report = ingest_folder(services, "acme", folder)
    assert report.counts == {"changed": 1, "unchanged": 2}
    assert "notes.txt" not in find_paths(services, "gate code")
    assert find_paths(services, "gate code", Principal("acme", ("guards",)))[0] == "notes.txt"


def test_an_unreadable_file_is_quarantined_until_it_changes(
    services: Services, folder: Path
) -> None:
    """The other files are stored. The report names the file with its reason."""
    (folder / "broken.docx").write_bytes(b"PK\x03\x04 this is no archive, whatever word/ says")
    report = ingest_folder(services, "acme", folder)
    assert report.counts == {"added": 3, "quarantined": 1}
    outcome = next(outcome for outcome in report.outcomes if outcome.state == "quarantined")
    assert outcome.reason == "corrupt"
    assert "broken.docx" in outcome.message
    assert pipeline.plan_run(services, "acme", [pipeline.build_source_spec(str(folder))]).is_empty
    (folder / "broken.docx").unlink()
    assert ingest_folder(services, "acme", folder).counts == {"unchanged": 3, "deleted": 1}


def test_a_broken_new_version_leaves_the_old_one_in_place(services: Services, folder: Path) -> None:
    ingest_folder(services, "acme", folder)
    (folder / "pumps.md").write_bytes(b"%PDF-1.7 cut off")
    assert ingest_folder(services, "acme", folder).counts["quarantined"] == 1
    assert find_paths(services, "north pump")[0] == "pumps.md"
    (folder / "pumps.md").write_text("# Pumps\n\nThe north pump is gone.\n")
    assert ingest_folder(services, "acme", folder).counts == {"changed": 1, "unchanged": 2}


def test_the_offsets_of_every_chunk_and_sentence_point_to_its_text(
    sample_services: Services, server: EmbeddedPostgres
) -> None:
    """The sample has documents in all formats."""
    with connect_superuser(server, sample_services) as connection:
        wrong = connection.execute(
            "select d.path, c.ordinal from chunk c join document d using (tenant_id, document_id)"
            " where substr(d.text, c.start_char + 1, c.end_char - c.start_char) <> c.text"
        ).fetchall()
        outside = connection.execute(
            "select s.chunk_id from sentence_1 s join chunk c using (tenant_id, chunk_id)"
            " where s.start_char < c.start_char or s.end_char > c.end_char or s.start_char "
            ">= s.end_char"
        ).fetchall()
        sentences: Any = connection.execute("select count(*) from sentence_1").fetchone()
    assert wrong == []
    assert outside == []
    assert sentences[0] > 500


def test_no_chunk_is_longer_than_the_model_can_see(
    sample_services: Services, server: EmbeddedPostgres
) -> None:
    """Tokens are counted with the model's own tokenizer, context included."""
    embedder = sample_services.embedder()
    with connect_superuser(server, sample_services) as connection:
        rows = connection.execute("select context, text, tokens from chunk").fetchall()
    assert rows
    for context, text, tokens in rows:
        token_count = len(embedder.token_starts(f"{context}\n{text}"))
        assert token_count == tokens <= embedder.max_input_tokens


def test_statistics_follow_the_stored_documents(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """The database counts documents, chunks and terms."""
    ingest_folder(services, "acme", folder)
    (folder / "pumps.md").write_text("# Pumps\n\nShort now.\n")
    (folder / "notes.txt").unlink()
    ingest_folder(services, "acme", folder)
    assert find_inconsistencies(server, services) == []


def find_inconsistencies(server: EmbeddedPostgres, services: Services) -> list[str]:
    """Return the names of the checks in inconsistencies.sql that find a row."""
    with connect_superuser(server, services) as connection:
        return [
            name for name, query in INCONSISTENCIES.items() if connection.execute(query).fetchone()
        ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rules: [{pattern: 'x'}]", "readers"),
        ("- not\n- rules", "rules"),
        ("rules: [{pattern: '*', readers: ['']}]", "group name"),
    ],
)
def test_an_invalid_readers_file_stops_the_run(folder: Path, content: str, message: str) -> None:
    """Otherwise the files that it restricts would be open to everyone."""
    (folder / "readers.yaml").write_text(content)
    with pytest.raises(InvalidInput, match=message):
        list(open_source(str(folder)).list_files())


def test_links_out_of_the_folder_are_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    assert [file.path for file in open_source(str(folder)).list_files()] == [
        "notes.txt",
        "pumps.md",
        "valves.md",
    ]


def test_an_empty_folder_is_refused_and_nothing_is_deleted(
    services: Services, folder: Path
) -> None:
    """An unmounted disk looks like an empty folder."""
    ingest_folder(services, "acme", folder)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(InvalidInput, match="no file"):
        ingest_folder(services, "acme", folder)
    assert find_paths(services, "north pump")


def test_the_report_is_complete_and_serialisable(services: Services, folder: Path) -> None:
    report = ingest_folder(services, "acme", folder)
    assert json.dumps({"counts": report.counts, "chunks": report.chunks, "tokens": report.tokens})
    assert report.chunks == sum(outcome.chunks for outcome in report.outcomes) > 0


def test_sentences_can_be_stored_without_vectors(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Questions are still answered. A change of the setting ingests all documents again."""
    without_vectors = replace(
        services, settings=services.settings.model_copy(update={"sentence_vectors": "off"})
    )
    report = ingest_folder(without_vectors, "acme", folder)
    with connect_superuser(server, services) as connection:
        counts = connection.execute("select count(*), count(embedding) from sentence_1").fetchone()
    assert counts == (4, 0)
    assert report.counts == {"added": 3}
    answer = answer_question(
        without_vectors, PRINCIPAL, "How many litres a second does the north pump move?"
    )
    assert answer.status == "answered"
    assert "40 litres" in answer.text
    assert ingest_folder(services, "acme", folder).counts == {"changed": 3}
    assert find_inconsistencies(server, services) == []
