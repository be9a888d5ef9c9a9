"""All chunkers on many documents, generated ones and a real handbook."""

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.chunking import fixed_size_chunker
from ingest.chunkers.registry import load_chunker
from ingest.parsers.file_parser import parse_file
from tests.support.chunks import (
    MAX_TOKENS,
    check_chunks,
    check_coverage,
    check_structure,
    documents,
    token_offsets,
)

DATA = Path(os.environ.get("GROUNDWORK_DATA", "../shared/data"))
HANDBOOK = DATA / "handbook" / "handbook.tar.gz"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    documents(),
    st.sampled_from(["", "Probe handbook", "word " * 200]),
    st.sampled_from([24, 64, MAX_TOKENS]),
)
def test_structure_on_any_document(parsed, title, max_tokens):
    check_structure(parsed, title, max_tokens)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), st.sampled_from([32, MAX_TOKENS]))
@pytest.mark.parametrize("name", ["fixed", "sentence-window"])
def test_other_chunkers_on_any_document(name, parsed, limit):
    chunks = load_chunker(name)(parsed, "Probe handbook", token_offsets, limit)
    check_chunks(parsed, "Probe handbook", chunks, limit)
    if name == "sentence-window":
        check_coverage(parsed, chunks)
    else:
        assert "".join("".join(c.text for c in chunks).split()) == "".join(parsed.text.split())


@pytest.mark.skipif(not HANDBOOK.is_file(), reason="the data folder (GROUNDWORK_DATA) is not here")
def test_structure_on_a_real_handbook():
    with tarfile.open(HANDBOOK) as archive:
        sources = [
            archive.extractfile(member).read()
            for member in archive.getmembers()[::7]
            if member.isfile() and member.name.endswith(".md") and member.size
        ]
    assert len(sources) > 50
    for source in sources:
        _, parsed = parse_file("page.md", source)
        chunks = load_chunker("structure")(parsed, parsed.title, token_offsets, MAX_TOKENS)
        check_chunks(parsed, parsed.title, chunks)
        check_coverage(parsed, chunks)


def test_fixed_size_chunks_of_the_benchmark_cover_the_text_and_overlap():
    parsed = parse_file("guide.md", b"# Guide\n\n" + b"One two three four five six seven. " * 40)[1]
    count = len(token_offsets(parsed.text))
    chunks = fixed_size_chunker(50, 10)(parsed, "Guide", token_offsets, MAX_TOKENS)
    firsts = [token_offsets(parsed.text).index(chunk.span.start) for chunk in chunks]
    assert firsts == list(range(0, firsts[-1] + 1, 40))
    assert all(len(token_offsets(chunk.text)) <= 50 for chunk in chunks)
    assert chunks[-1].span.end == len(parsed.text)
    assert firsts[-1] + 10 < count <= firsts[-1] + 50
