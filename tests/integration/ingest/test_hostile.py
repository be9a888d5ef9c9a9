"""Files made to hurt: each is read or put aside, none takes the reader, the machine or a good file with it."""

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


@pytest.fixture(scope="module")
def reader() -> Iterator[ParserPool]:
    with ParserPool() as reader:
        yield reader


def reason(reader: ParserPool, name: str, data: bytes) -> str:
    with pytest.raises(UnreadableFile) as caught:
        reader.parse(name, data)
    assert str(caught.value).startswith(name)
    assert str(caught.value).endswith(".")
    return caught.value.reason


class Outcome(NamedTuple):
    reason: str
    characters: int = 0


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, reader) -> tuple[Path, dict[str, Outcome]]:
    """The folder of all hostile files and what became of each, under the limits that hold everywhere."""
    folder = tmp_path_factory.mktemp("made") / "hostile"
    written = hostile.write(folder)
    source = open_source(str(folder))

    def outcome(file: SourceFile) -> tuple[str, Outcome]:
        try:
            _, parsed = reader.parse(file.path, source.read(file))
        except UnreadableFile as error:
            return file.path, Outcome(
                error.reason if str(error).endswith(".") else f"{error} is no sentence"
            )
        return file.path, Outcome(
            "told a secret" if hostile.SECRET in parsed.text else "", len(parsed.text)
        )

    with ThreadPoolExecutor(2) as pool:
        found = dict(pool.map(outcome, source.list_files()))
    assert len(found) == len(written) >= 80
    return folder, found


def test_good_files_among_hostile_ones_are_all_in(outcomes, tmp_path, services, reader):
    """Through the whole pipeline; what holds megabytes of text is left out, since embedding it takes minutes."""
    folder, found = outcomes
    small = {
        name: outcome
        for name, outcome in found.items()
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
        services, "acme", [pipeline.build_source_spec(str(tmp_path))], reader
    )
    ends = {outcome.path: outcome for outcome in report.outcomes}
    assert {name: ends[name].reason for name in small} == {
        name: outcome.reason for name, outcome in small.items()
    }
    assert [ends[f"good-{number}.md"].state for number in range(3)] == ["added"] * 3
    hits = retrieve(services, Principal("acme"), "Where is the osprey kept?").hits
    assert hits[0].path == "good-1.md"
