"""Default chunker: exact spans, whole sentences, contexts, and chunks of an even size."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput
from core.types import Chunk
from ingest.chunkers import structure
from ingest.chunkers.registry import CHUNKERS, load_chunker
from ingest.parsers.builder import TextBuilder
from ingest.parsers.file_parser import parse_file
from tests.support.chunks import (
    MAX_TOKENS,
    check_chunks,
    check_coverage,
    check_structure,
    documents,
    token_offsets,
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), st.sampled_from([24, MAX_TOKENS]))
def test_structure_on_any_document(parsed, max_tokens):
    """Try a few documents; the integration test tries more, and the other chunkers."""
    check_structure(parsed, "Probe handbook", max_tokens)


def test_every_name_loads_a_chunker():
    for name in CHUNKERS:
        assert callable(load_chunker(name))
    with pytest.raises(InvalidInput, match="structure"):
        load_chunker("magic")


def cut_markdown(source: str, title: str = "Probe guide") -> list[Chunk]:
    _, parsed = parse_file("a.md", source.encode())
    chunks = load_chunker("structure")(parsed, title, token_offsets, MAX_TOKENS)
    check_chunks(parsed, title, chunks)
    check_coverage(parsed, chunks)
    return chunks


def test_context_has_title_and_headings_once():
    chunks = cut_markdown(
        "# Probe guide\n\nIntro.\n\n## Care\n\nRinse.\n\n### Daily\n\nWipe.\n\n#### Lens\n\n"
        "Soft cloth."
    )
    assert [(chunk.context, chunk.text) for chunk in chunks] == [
        ("Probe guide", "Intro."),
        ("Probe guide > Care", "Rinse."),
        ("Probe guide > Care > Daily", "Wipe.\n\nLens\n\nSoft cloth."),
    ]
    assert cut_markdown("Rinse.", title="Notes")[0].context == "Notes"
    assert cut_markdown("# One\n\n## Two")[0].text == "One\n\nTwo"


def test_chunks_of_a_table_repeat_its_header():
    rows = "\n".join(
        f"| P{number} | measures from 0 to {number} in clean water | {number * 10} EUR |"
        for number in range(60)
    )
    chunks = cut_markdown(
        f"# Prices\n\n| Probe | Range | Price |\n|---|---|---|\n{rows}", title="Prices"
    )
    assert len(chunks) > 3
    assert "Probe | Range | Price" not in chunks[0].context
    assert all(chunk.context == "Prices\nProbe | Range | Price" for chunk in chunks[1:])
    assert all(chunk.text.startswith("P") for chunk in chunks)


def test_location_has_the_rows_of_a_sheet():
    builder = TextBuilder()
    builder.start_sheet("Stock")
    builder.add_table(
        [["Part", "Count"]] + [[f"part number {n}", str(n)] for n in range(100)], first_row=1
    )
    chunks = load_chunker("structure")(builder.build(), "Stock list", token_offsets, MAX_TOKENS)
    assert chunks[0].location.rows is not None
    assert [chunk.location.rows[0] for chunk in chunks[1:]] == [
        chunk.location.rows[1] + 1 for chunk in chunks[:-1]
    ]
    assert chunks[-1].location.rows[1] == 101
    assert chunks[1].context == "Stock list > Stock\nPart | Count"


def test_long_section_is_cut_evenly_between_sentences():
    sentence = "The gateway raises an alarm when a probe has sent nothing for ten minutes."
    chunks = cut_markdown("# Alarms\n\n" + " ".join([sentence] * 21))
    sizes = [chunk.tokens for chunk in chunks]
    assert max(sizes) - min(sizes) <= 2 * len(token_offsets(sentence))
    assert all(chunk.text.endswith("minutes.") for chunk in chunks)


def test_overlong_sentence_is_cut_at_clauses_then_words_then_letters():
    clauses = ", ".join(f"part {number} holds water that is clean" for number in range(120)) + "."
    assert all(chunk.text.endswith((",", ".")) for chunk in cut_markdown(clauses))
    words = " ".join(["water"] * 900)
    assert all(chunk.text.endswith("water") for chunk in cut_markdown(words))
    assert len(cut_markdown("x" * 50_000)) > 10


def test_line_before_a_list_stays_with_it():
    prose = " ".join(["The gateway keeps the readings of each probe for ninety days."] * 14)
    items = "\n".join(
        f"- one part of kind {number} for each of the probes that are in use" for number in range(8)
    )
    chunks = cut_markdown(f"{prose}\n\nYou need:\n\n{items}")
    assert any("You need:\n\n- one part" in chunk.text for chunk in chunks)


def test_sentences_items_rows_and_short_code_can_be_quoted():
    source = "One. Two.\n\n- a\n- b\n\n```\nx = 1\n\ny = 2\n```\n\n| k | v |\n|---|---|\n| a | 1 |"
    (chunk,) = cut_markdown(source)
    texts = [
        chunk.text[start - chunk.span.start : end - chunk.span.start]
        for start, end in chunk.sentences
    ]
    assert texts == ["One.", "Two.", "- a", "- b", "x = 1\n\ny = 2", "k | v", "a | 1"]


def test_chunks_have_about_the_target_size():
    source = "# Guide\n\n" + " ".join(
        f"Step {number} takes the cover off and puts it back." for number in range(120)
    )
    parsed = parse_file("guide.md", source.encode())[1]
    for target in (40, 90, 180):
        chunks = structure.chunk_document(parsed, "Guide", token_offsets, MAX_TOKENS, target)
        check_chunks(parsed, "Guide", chunks)
        check_coverage(parsed, chunks)
        assert all(abs(len(token_offsets(chunk.text)) - target) <= target // 3 for chunk in chunks)
