"""Taking documents in: incremental, atomic, nothing twice, nothing lost."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import InvalidInput
from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from ingest import pipeline
from ingest.sources import open_source
from retrieval.retriever import retrieve
from serving.answering.pipeline import answer_question
from tests.support.services import superuser, take_in_folder

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


def found(services: Services, question: str, principal: Principal = PRINCIPAL) -> list[str]:
    """Paths of the hits for a question, best first."""
    return [hit.path for hit in retrieve(services, principal, question).hits]


def test_a_second_run_touches_nothing(services: Services, folder: Path) -> None:
    """What is unchanged is neither parsed nor embedded nor written."""
    first = take_in_folder(services, "acme", folder)
    assert first.counts == {"added": 3}
    plan = pipeline.plan_run(services, "acme", [pipeline.build_source_spec(str(folder))])
    assert plan.is_empty
    assert [outcome.state for outcome in plan.skipped] == ["unchanged"] * 3


def test_a_changed_file_is_replaced_and_a_removed_one_is_gone(
    services: Services, folder: Path
) -> None:
    """The store follows the folder."""
    take_in_folder(services, "acme", folder)
    (folder / "pumps.md").write_text("# Pumps\n\nThe north pump moves 55 litres a second.\n")
    (folder / "valves.md").unlink()
    report = take_in_folder(services, "acme", folder)
    assert report.counts == {"changed": 1, "unchanged": 1, "deleted": 1}
    hits = retrieve(services, PRINCIPAL, "How much does the north pump move?").hits
    assert "55 litres" in hits[0].text
    assert hits[0].version == 2
    assert "valves.md" not in found(services, "close valve V-17")
    assert not any("40 litres" in hit.text for hit in hits)


def test_content_that_goes_back_is_served_as_it_was(services: Services, folder: Path) -> None:
    """A, then B, then A again."""
    original = (folder / "pumps.md").read_text()
    for text in (original, original.replace("40", "41"), original):
        (folder / "pumps.md").write_text(text)
        take_in_folder(services, "acme", folder)
    hit = retrieve(services, PRINCIPAL, "north pump litres").hits[0]
    assert "40 litres" in hit.text
    assert hit.version == 3


def test_new_readers_take_effect_without_a_change_of_content(
    services: Services, folder: Path
) -> None:
    """Who may read is part of what is compared."""
    take_in_folder(services, "acme", folder)
    (folder / "readers.yaml").write_text("rules:\n  - pattern: 'notes*'\n    readers: [guards]\n")
    report = take_in_folder(services, "acme", folder)
    assert report.counts == {"changed": 1, "unchanged": 2}
    assert "notes.txt" not in found(services, "gate code")
    assert found(services, "gate code", Principal("acme", ("guards",)))[0] == "notes.txt"


def test_a_file_that_cannot_be_read_is_put_aside_until_it_changes(
    services: Services, folder: Path
) -> None:
    """Its neighbours go in; it is named with its reason, and not tried again for nothing."""
    (folder / "broken.docx").write_bytes(b"PK\x03\x04 this is no archive, whatever word/ says")
    report = take_in_folder(services, "acme", folder)
    assert report.counts == {"added": 3, "quarantined": 1}
    outcome = next(outcome for outcome in report.outcomes if outcome.state == "quarantined")
    assert outcome.reason == "corrupt"
    assert "broken.docx" in outcome.message
    assert pipeline.plan_run(services, "acme", [pipeline.build_source_spec(str(folder))]).is_empty
    (folder / "broken.docx").unlink()
    assert take_in_folder(services, "acme", folder).counts == {"unchanged": 3, "deleted": 1}


def test_a_broken_new_version_leaves_the_old_one_in_place(services: Services, folder: Path) -> None:
    """Nothing is lost because somebody saved a damaged file."""
    take_in_folder(services, "acme", folder)
    (folder / "pumps.md").write_bytes(b"%PDF-1.7 cut off")
    assert take_in_folder(services, "acme", folder).counts["quarantined"] == 1
    assert found(services, "north pump")[0] == "pumps.md"
    (folder / "pumps.md").write_text("# Pumps\n\nThe north pump is gone.\n")
    assert take_in_folder(services, "acme", folder).counts == {"changed": 1, "unchanged": 2}


def test_every_quote_stands_where_its_offsets_say(
    sample_services: Services, server: EmbeddedPostgres
) -> None:
    """For every chunk and every sentence of the sample, in all its formats."""
    with superuser(server, sample_services) as connection:
        wrong = connection.execute(
            "select d.path, c.ordinal from chunk c join document d using (tenant_id, document_id)"
            " where substr(d.text, c.start_char + 1, c.end_char - c.start_char) <> c.text"
        ).fetchall()
        outside = connection.execute(
            "select s.chunk_id from sentence_1 s join chunk c using (tenant_id, chunk_id)"
            " where s.start_char < c.start_char or s.end_char > c.end_char or s.start_char >= s.end_char"
        ).fetchall()
        counted = connection.execute("select count(*) from sentence_1").fetchone()
    assert wrong == []
    assert outside == []
    assert counted is not None
    assert counted[0] > 500  # type: ignore[operator]


def test_no_chunk_is_longer_than_the_model_can_see(
    sample_services: Services, server: EmbeddedPostgres
) -> None:
    """Counted with the model's own tokenizer, context included."""
    embedder = sample_services.embedder()
    with superuser(server, sample_services) as connection:
        rows = connection.execute("select context, text, tokens from chunk").fetchall()
    assert rows
    for context, text, tokens in rows:
        counted = len(embedder.token_starts(f"{context}\n{text}"))
        assert counted == tokens <= embedder.max_input_tokens


def test_statistics_follow_what_is_stored(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Documents, chunks and terms are counted by the database as they come and go."""
    take_in_folder(services, "acme", folder)
    (folder / "pumps.md").write_text("# Pumps\n\nShort now.\n")
    (folder / "notes.txt").unlink()
    take_in_folder(services, "acme", folder)
    assert consistency(server, services) == []


def consistency(server: EmbeddedPostgres, services: Services) -> list[str]:
    """What does not fit together in the store; nothing should."""
    checks = {
        "documents are miscounted": "select 1 from reader_set r where document_count <> (select count(*)"
        " from document d where d.tenant_id = r.tenant_id and d.reader_set_id = r.reader_set_id)",
        "chunks are miscounted": "select 1 from reader_set r where chunk_count <> (select count(*) from chunk c"
        " where c.tenant_id = r.tenant_id and c.reader_set_id = r.reader_set_id)",
        "terms are miscounted": "select 1 from reader_set r where term_count <> (select coalesce(sum(term_count), 0)"
        " from chunk c where c.tenant_id = r.tenant_id and c.reader_set_id = r.reader_set_id)",
        "the lexicon is wrong": "select 1 from (select tenant_id, reader_set_id, term, count(*) as n from posting"
        " group by 1, 2, 3) p full join (select tenant_id, reader_set_id, term, chunk_count as n from lexicon) l"
        " using (tenant_id, reader_set_id, term) where coalesce(p.n, 0) <> coalesce(l.n, 0)",
        "a change was not counted": "select 1 from statistics_change",
        "a posting has no chunk": "select 1 from posting p left join chunk c using (tenant_id, chunk_id)"
        " where c.chunk_id is null",
        "a chunk lacks postings": "select 1 from chunk c where cardinality(terms) <> (select count(*) from posting p"
        " where p.tenant_id = c.tenant_id and p.chunk_id = c.chunk_id)",
        "a chunk lacks its vector": "select 1 from chunk c left join vector_1 v using (tenant_id, chunk_id)"
        " where v.chunk_id is null",
        "a vector has no chunk": "select 1 from vector_1 v left join chunk c using (tenant_id, chunk_id)"
        " where c.chunk_id is null",
        "a sentence has no chunk": "select 1 from sentence_1 s left join chunk c using (tenant_id, chunk_id)"
        " where c.chunk_id is null",
        "a duplicate has no holder": "select 1 from document d left join document h on h.tenant_id = d.tenant_id and"
        " h.document_id = d.same_as and h.same_as is null and h.content_key = d.content_key"
        " and h.reader_set_id = d.reader_set_id where d.same_as is not null and h.document_id is null",
        "a duplicate has chunks": "select 1 from chunk c join document d using (tenant_id, document_id)"
        " where d.same_as is not null",
        "a document has no chunks": "select 1 from document d where not exists (select from chunk c"
        " where c.tenant_id = d.tenant_id and c.document_id = d.holder)",
        "a document is there twice": "select 1 from document group by tenant_id, uri having count(*) > 1",
        "readers differ": "select 1 from chunk c join document d using (tenant_id, document_id)"
        " where c.reader_set_id <> d.reader_set_id",
    }
    with superuser(server, services) as connection:
        return [name for name, query in checks.items() if connection.execute(query).fetchone()]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("rules: [{pattern: 'x'}]", "readers"),
        ("- not\n- rules", "rules"),
        ("rules: [{pattern: '*', readers: ['']}]", "group name"),
    ],
)
def test_a_rule_file_that_cannot_be_understood_stops_the_run(
    folder: Path, content: str, says: str
) -> None:
    """Otherwise what it restricts would be open to everyone."""
    (folder / "readers.yaml").write_text(content)
    with pytest.raises(InvalidInput, match=says):
        list(open_source(str(folder)).list_files())


def test_links_out_of_the_folder_are_not_followed(folder: Path, tmp_path: Path) -> None:
    """A source is what lies in it."""
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    assert [file.path for file in open_source(str(folder)).list_files()] == [
        "notes.txt",
        "pumps.md",
        "valves.md",
    ]


def test_an_empty_folder_is_refused_rather_than_taken_for_a_wish_to_delete(
    services: Services, folder: Path
) -> None:
    """An unmounted disk looks like an empty folder."""
    take_in_folder(services, "acme", folder)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(InvalidInput, match="no file"):
        take_in_folder(services, "acme", folder)
    assert found(services, "north pump")


def test_the_report_names_everything(services: Services, folder: Path) -> None:
    """What `--json` prints is complete and serialisable."""
    report = take_in_folder(services, "acme", folder)
    assert json.dumps({"counts": report.counts, "chunks": report.chunks, "tokens": report.tokens})
    assert report.chunks == sum(outcome.chunks for outcome in report.outcomes) > 0


def test_sentences_may_be_kept_without_vectors(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Half the embedding; a question is still answered by the sentence that says it, and a change takes all in anew."""
    bare = replace(
        services, settings=services.settings.model_copy(update={"sentence_vectors": "off"})
    )
    report = take_in_folder(bare, "acme", folder)
    with superuser(server, services) as connection:
        kept = connection.execute("select count(*), count(embedding) from sentence_1").fetchone()
    assert kept is not None
    assert (kept[0], kept[1]) == (sum(1 for _ in folder.iterdir()) + 1, 0)
    assert report.counts == {"added": 3}
    answered = answer_question(
        bare, PRINCIPAL, "How many litres a second does the north pump move?"
    )
    assert answered.status == "answered"
    assert "40 litres" in answered.text
    assert take_in_folder(services, "acme", folder).counts == {"changed": 3}
    assert consistency(server, services) == []
