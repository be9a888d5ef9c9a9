"""What is there more than once: stored once and cited everywhere; of near-duplicates the newest stands for all."""

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
from ingest.store.duplicates import BAND_COUNT, ROWS_PER_BAND, compute_bands
from ingest.store.edition_detection import detect_edition
from retrieval.filters import Prefix
from retrieval.retriever import retrieve
from serving.answering.pipeline import answer_question
from serving.api.stored_document import fetch_document
from tests.integration.ingest.test_ingest import consistency
from tests.support.services import superuser, take_in_folder

PRINCIPAL = Principal("acme")
PUMP = (
    "# Pumps\n\nThe north pump moves 40 litres a second and was built in the year 1998 by hand.\n"
)
VALVE = (
    "# Valves\n\nClose valve V-17 before the filter is opened, or the whole hall is under water.\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same file in three places, and another one."""
    docs = tmp_path / "docs"
    for name in ("a", "b", "c"):
        (docs / name).mkdir(parents=True)
        (docs / name / "pumps.md").write_text(PUMP)
    (docs / "valves.md").write_text(VALVE)
    return docs


def count(server: EmbeddedPostgres, services: Services, table: str) -> int:
    """Rows of a table, whoever they belong to."""
    with superuser(server, services) as connection:
        row = connection.execute(f"select count(*) from {table}").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(str(row[0]))


def chunk_ids(server: EmbeddedPostgres, services: Services) -> set[object]:
    """All chunks there are."""
    with superuser(server, services) as connection:
        return {row[0] for row in connection.execute("select chunk_id from chunk").fetchall()}


# --- exact ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_thrice_is_stored_once_and_found_in_all_places(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """One hit, which names the others; each place can be opened, and nothing but the first was embedded."""
    report = take_in_folder(services, "acme", folder)
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
    assert consistency(server, services) == []
    assert pipeline.plan_run(services, "acme", [pipeline.build_source_spec(str(folder))]).is_empty


def test_an_answer_cites_every_place(services: Services, folder: Path) -> None:
    """Of the very same passage, that is."""
    take_in_folder(services, "acme", folder)
    given = answer_question(
        services, PRINCIPAL, "How many litres a second does the north pump move?"
    )
    assert given.citations[0].path == "a/pumps.md"
    assert [place.path for place in given.citations[0].also] == ["b/pumps.md", "c/pumps.md"]


def test_what_is_shared_passes_on_when_its_first_place_changes_or_goes(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Nothing is embedded again, and nothing is lost, down to the last place."""
    take_in_folder(services, "acme", folder)
    before = chunk_ids(server, services)
    (folder / "a" / "pumps.md").write_text(PUMP.replace("40", "55"))
    assert take_in_folder(services, "acme", folder).counts == {"changed": 1, "unchanged": 3}
    assert before < chunk_ids(server, services)
    hits = retrieve(services, PRINCIPAL, "north pump moves 40 litres", collapse=False).hits
    assert [(hit.path, [o.path for o in hit.also]) for hit in hits[:2]] == [
        ("b/pumps.md", ["c/pumps.md"]),
        ("a/pumps.md", []),
    ]
    assert consistency(server, services) == []
    (folder / "b" / "pumps.md").unlink()
    assert take_in_folder(services, "acme", folder).counts == {"deleted": 1, "unchanged": 3}
    assert before < chunk_ids(server, services)
    assert (
        retrieve(services, PRINCIPAL, "north pump moves 40 litres", collapse=False).hits[0].path
        == "c/pumps.md"
    )
    (folder / "c" / "pumps.md").unlink()
    take_in_folder(services, "acme", folder)
    assert not any(
        "40 litres" in hit.text
        for hit in retrieve(services, PRINCIPAL, "north pump 40 litres").hits
    )
    assert consistency(server, services) == []


def test_a_file_that_moves_is_not_embedded_again(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Its new place comes before its old one goes."""
    take_in_folder(services, "acme", folder)
    before = chunk_ids(server, services)
    (folder / "valves.md").rename(folder / "closing.md")
    report = take_in_folder(services, "acme", folder)
    assert report.counts == {"duplicate": 1, "deleted": 1, "unchanged": 3}
    assert (report.chunks, chunk_ids(server, services)) == (0, before)
    assert retrieve(services, PRINCIPAL, "valve V-17").hits[0].path == "closing.md"
    assert consistency(server, services) == []


def test_all_places_may_change_at_once(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Who would inherit is leaving as well."""
    take_in_folder(services, "acme", folder)
    for name in ("a", "b", "c"):
        (folder / name / "pumps.md").write_text(PUMP.replace("40", "60"))
    assert take_in_folder(services, "acme", folder).counts == {
        "changed": 1,
        "duplicate": 2,
        "unchanged": 1,
    }
    assert count(server, services, "chunk") == 2
    (folder / "a" / "pumps.md").write_text(VALVE)
    (folder / "valves.md").write_text(PUMP)
    take_in_folder(services, "acme", folder)
    assert retrieve(services, PRINCIPAL, "valve V-17 filter").hits[0].path == "a/pumps.md"
    assert consistency(server, services) == []


def test_a_filter_finds_a_copy_by_its_own_path(services: Services, folder: Path) -> None:
    """And says that place, not the one that happens to hold the chunks."""
    take_in_folder(services, "acme", folder)
    for name in ("a", "b", "c"):
        found = retrieve(
            services, PRINCIPAL, "north pump", where=Prefix("path", f"{name}/"), explain=True
        )
        assert [(hit.path, hit.also) for hit in found.hits] == [(f"{name}/pumps.md", ())]
        assert found.explanation is not None
        assert found.explanation.passed is not None
        assert (found.explanation.passed.documents, found.explanation.passed.passages) == (1, 1)


def test_documents_with_other_readers_never_share(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Else what one may see would hang on what they may not."""
    (folder / "readers.yaml").write_text("rules:\n  - pattern: 'b/*'\n    readers: [guards]\n")
    assert take_in_folder(services, "acme", folder).counts == {"added": 3, "duplicate": 1}
    [hit, *_] = retrieve(services, PRINCIPAL, "north pump").hits
    assert [other.path for other in hit.also] == ["c/pumps.md"]
    hits = retrieve(services, Principal("acme", ("guards",)), "north pump", collapse=False).hits
    assert sorted(hit.path for hit in hits if "pump" in hit.path) == ["a/pumps.md", "b/pumps.md"]
    (folder / "readers.yaml").write_text("rules:\n  - pattern: 'a/*'\n    readers: [guards]\n")
    take_in_folder(services, "acme", folder)
    assert consistency(server, services) == []
    hits = retrieve(services, PRINCIPAL, "north pump").hits
    assert {path for hit in hits for path in (hit.path, *(o.path for o in hit.also))} == {
        "b/pumps.md",
        "c/pumps.md",
        "valves.md",
    }


def test_copies_may_come_and_go_in_many_hands(
    services: Services, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Four runs at once over four folders of the same files, again and again: none lost, none left behind."""
    chance = random.Random(4)
    texts = [
        f"# Paper {n}\n\nPaper {n} says that the {n}th pump of the hall is to be oiled weekly.\n"
        for n in range(4)
    ]
    folders = [tmp_path / name for name in "abcd"]
    for place in folders:
        place.mkdir()
        (place / "always.md").write_text(
            "# Always\n\nThis one keeps the folder from being empty, whatever else goes.\n"
        )
    for _ in range(3):
        for place, number in itertools.product(folders, range(6)):
            file = place / f"{number}.md"
            file.unlink(missing_ok=True)
            if chance.random() < 0.7:
                file.write_text(chance.choice(texts))
        begin = threading.Barrier(len(folders))

        def take_in(place: Path, begin: threading.Barrier = begin) -> None:
            begin.wait()
            take_in_folder(services, "acme", place)

        with ThreadPoolExecutor(len(folders)) as threads:
            list(threads.map(take_in, folders))
        assert consistency(server, services) == []
        files = sum(1 for place in folders for _ in place.iterdir())
        assert count(server, services, "document") == files
        assert count(server, services, "quarantine") == 0
    kinds = {file.read_text() for place in folders for file in place.iterdir()}
    assert count(server, services, "chunk") == len(kinds)


def test_a_duplicate_of_nothing_is_found_and_taken_in_anew(
    services: Services, server: EmbeddedPostgres, folder: Path
) -> None:
    """Only hands in the database can bring it about."""
    take_in_folder(services, "acme", folder)
    with superuser(server, services) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "delete from chunk using document d where chunk.document_id = d.document_id and d.path ~ '^a'"
        )
        connection.execute("delete from document where path ~ '^a'")
    (folder / "a" / "pumps.md").unlink()
    found = {
        finding.check: (finding.found, finding.repaired)
        for finding in repair_tenant(services, "acme")
    }
    assert found["duplicates without the document they are the same as"] == (2, 2)
    repair_tenant(services, "acme")
    assert take_in_folder(services, "acme", folder).counts == {
        "changed": 1,
        "duplicate": 1,
        "unchanged": 1,
    }
    assert consistency(server, services) == []


# --- near -----------------------------------------------------------------------------------------------------------


def words(chance: random.Random, number: int) -> list[str]:
    """A text of so many words that mean nothing."""
    return ["".join(chance.choices("abcdefgh", k=5)) for _ in range(number)]


def test_bands_meet_as_often_as_the_formula_says() -> None:
    """Over pairs of texts of known resemblance."""
    chance = random.Random(7)
    for changed, least, most in ((0, 1.0, 1.0), (2, 0.85, 1.0), (8, 0.15, 0.75), (40, 0.0, 0.05)):
        met, expected = 0, 0.0
        for _ in range(150):
            one = words(chance, 200)
            other = list(one)
            for place in chance.sample(range(200), changed):
                other[place] = "changed"
            shingles = [{tuple(text[n : n + 3]) for n in range(198)} for text in (one, other)]
            alike = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
            expected += (1 - (1 - alike**ROWS_PER_BAND) ** BAND_COUNT) / 150
            first, second = compute_bands([" ".join(one), " ".join(other)])
            met += not set(first).isdisjoint(second)
        assert met / 150 == pytest.approx(expected, abs=0.12)
        assert least <= met / 150 <= most


def test_bands_of_a_text_depend_on_nothing_beside_it() -> None:
    """Not on its neighbours, not on case or white space; a text of a few words has none."""
    chance = random.Random(8)
    texts = [" ".join(words(chance, number)) for number in (3, 7, 8, 9, 250, 30)]
    together = compute_bands(texts * 30)
    assert (
        together[: len(texts)]
        == [compute_bands([text])[0] for text in texts]
        == compute_bands([text.upper() for text in texts])
    )
    assert [len(each) for each in together[: len(texts)]] == [
        0,
        0,
        BAND_COUNT,
        BAND_COUNT,
        BAND_COUNT,
        BAND_COUNT,
    ]
    assert all(-(2**31) <= number < 2**31 for each in together for number in each)
    assert compute_bands([]) == []


@pytest.mark.parametrize(
    ("path", "metadata", "expected"),
    [
        ("reference/7.4/core/about_If.md", {"ms.date": "06/07/2023"}, "7.4"),
        ("core/about_If.md", {"ms.date": "06/07/2023"}, "2023-06-07"),
        ("reference/7.4/a.md", {"version": 2.1}, "2.1"),
        ("guide-2.1.pdf", {}, "2.1"),
        ("prices_2024-05.xlsx", {"modified": "2025-01-01T10:00:00+00:00"}, "2024-05"),
        ("powershell-7.10/x.md", {}, "7.10"),
        ("Manual v3.docx", {}, "3"),
        ("blog/2024/post.md", {}, "2024"),
        ("a.md", {"version": "1.0-preview.3"}, "1.0"),
        ("a.md", {"version": "final", "date": "2023-06-07"}, "2023-06-07"),
        ("a.md", {"updated": "03/04/2024"}, None),
        ("a.md", {"updated": "31/04/2024"}, "2024-04-31"),
        ("1.2-introduction.md", {}, None),
        ("heron-210.md", {"version": True}, None),
    ],
)
def test_editions_are_read_from_metadata_and_path(
    path: str, metadata: dict[str, object], expected: str | None
) -> None:
    """By the rules that ingest/store/edition_detection.py lists, the first that fits."""
    assert detect_edition(path, metadata) == expected


@pytest.fixture(scope="module")
def versions(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pages of PowerShell's documentation in its five versions."""
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


def test_the_newest_of_five_versions_stands_for_all(
    services: Services, server: EmbeddedPostgres, versions: Path
) -> None:
    """Unless the question or a filter names another; each passage is shown once, and `keep` shows them all."""
    take_in_folder(services, "acme", versions)
    with superuser(server, services) as connection:
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
    assert all(not hit.also for hit in older if hit.also and hit.also[0].edition != "5.1")


def test_the_better_passage_stands_where_the_newer_is_much_worse(
    services: Services, tmp_path: Path
) -> None:
    """Pages from one mould, for two things: the one that was asked for is shown, whichever is newer."""
    body = "Turn the key to the left, wait until the lamp is green, lift the cover off and clean the wiper with water."
    for model, version in (("210", "1.0"), ("340", "2.0")):
        page = f"---\nversion: '{version}'\n---\n# Cleaning\n\n{body} {body} This is about the Heron {model}.\n"
        (tmp_path / f"heron{model}.md").write_text(page)
    take_in_folder(services, "acme", tmp_path)
    hits = retrieve(services, PRINCIPAL, "Heron 210").hits
    assert [(hit.path, [other.path for other in hit.also]) for hit in hits] == [
        ("heron210.md", ["heron340.md"])
    ]
    assert retrieve(services, PRINCIPAL, "clean the wiper").hits[0].path == "heron340.md"


def test_an_edition_that_could_not_be_compared_is_refused(
    services: Services, server: EmbeddedPostgres
) -> None:
    """By the database itself, since a search compares them number by number."""
    with superuser(server, services) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(
            "insert into document (tenant_id, document_id, reader_set_id, uri, path, title, media_type, version,"
            " content_hash, pipeline_hash, text, blocks, metadata, run_id, edition) values ('t', gen_random_uuid(), 1,"
            " '', '', '', '', 1, '', '', '', '[]', '{}', gen_random_uuid(), 'seven')"
        )
