"""Hostile files: each is parsed or quarantined, and none harms the pool or another file."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from core.errors import UnreadableFile
from core.principal import Principal
from ingest import pipeline
from ingest.sandbox.pool import ParserPool
from ingest.sources import SourceFile, open_source
from retrieval.retriever import retrieve
from tests.support import hostile

REASONS = {
    "empty",
    "too-large",
    "too-slow",
    "too-deep",
    "crashed",
    "corrupt",
    "encrypted",
    "no-text",
    "not-a-document",
}


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool() as pool:
        yield pool


class Outcome(NamedTuple):
    reason: str
    characters: int = 0


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, pool) -> tuple[Path, dict[str, Outcome]]:
    """Folder of all hostile files, and the outcome of each under the default limits."""
    folder = tmp_path_factory.mktemp("made") / "hostile"
    written = hostile.write_files(folder)
    source = open_source(str(folder))

    def parse(file: SourceFile) -> tuple[str, Outcome]:
        try:
            _, parsed = pool.parse(file.path, source.read(file))
        except UnreadableFile as error:
            is_sentence = str(error).endswith(".")
            return file.path, Outcome(error.reason if is_sentence else f"{error}: not a sentence")
        leaks = hostile.SECRET in parsed.text
        return file.path, Outcome("contains the secret" if leaks else "", len(parsed.text))

    with ThreadPoolExecutor(2) as threads:
        outcome_by_name = dict(threads.map(parse, source.list_files()))
    assert len(outcome_by_name) == len(written) >= 80
    return folder, outcome_by_name


def test_every_hostile_file_is_parsed_or_quarantined(outcomes):
    folder, outcome_by_name = outcomes
    reasons = {name: outcome.reason for name, outcome in outcome_by_name.items()}
    assert set(reasons.values()) - {""} <= REASONS
    # A rule of its own refuses or limits each; test_sandbox.py has the last resort, a lost process.
    assert [name for name in reasons if reasons[name] in ("crashed", "too-slow")] == []
    assert not list(Path("/tmp").glob("groundwork-was-here*"))
    assert {path.name for path in folder.parent.iterdir()} == {"hostile", "secret.txt"}


def test_good_files_among_hostile_ones_are_ingested(outcomes, tmp_path, services, pool):
    """Run the whole pipeline on the small files; to embed megabytes of text takes minutes."""
    folder, outcome_by_name = outcomes
    small = {
        name: outcome
        for name, outcome in outcome_by_name.items()
        if outcome.characters < 2_000 and (folder / name).stat().st_size < 100_000
    }
    assert len(small) > 80
    for name in small:
        os.link(folder / name, tmp_path / name)
    for number, thing in enumerate(("heron", "osprey", "tern")):
        (tmp_path / f"good-{number}.md").write_text(
            f"# {thing.title()}\n\nThe {thing} is kept in room {number}.\n"
        )
    report = pipeline.ingest_sources(
        services, "acme", [pipeline.build_source_spec(str(tmp_path))], pool
    )
    ends = {outcome.path: outcome for outcome in report.outcomes}
    assert {name: ends[name].reason for name in small} == {
        name: outcome.reason for name, outcome in small.items()
    }
    assert [ends[f"good-{number}.md"].state for number in range(3)] == ["added"] * 3
    hits = retrieve(services, Principal("acme"), "Where is the osprey kept?").hits
    assert hits[0].path == "good-1.md"
