"""Document builder: exact blocks and clean text for any input."""

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ingest.parsers.builder import ListItem, TextBuilder, to_json_value
from tests.support.parsing import list_blocks

ANY_TEXT = st.text(st.characters(codec=None), max_size=60)
CALLS = st.one_of(
    st.tuples(st.just("add_heading"), st.integers(0, 9), ANY_TEXT),
    st.tuples(st.just("add_paragraph"), ANY_TEXT),
    st.tuples(st.just("add_lines"), st.lists(ANY_TEXT, max_size=4)),
    st.tuples(
        st.just("add_list"), st.lists(st.builds(ListItem, ANY_TEXT, st.integers(0, 3)), max_size=5)
    ),
    st.tuples(st.just("add_table"), st.lists(st.lists(ANY_TEXT, max_size=4), max_size=5)),
    st.tuples(
        st.just("add_table"),
        st.lists(st.lists(ANY_TEXT, max_size=3), max_size=5),
        st.integers(1, 50),
    ),
    st.tuples(st.just("add_code"), ANY_TEXT),
    st.tuples(st.just("start_page"), st.integers(1, 9)),
)


@given(st.lists(CALLS, max_size=12))
def test_blocks_are_exact_and_text_is_clean(calls):
    builder = TextBuilder()
    for name, *arguments in calls:
        getattr(builder, name)(*arguments)
    parsed = builder.build()

    assert "\n\n".join(text for _, text in list_blocks(parsed)) == parsed.text
    assert unicodedata.is_normalized("NFC", parsed.text)
    assert not [
        c for c in parsed.text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"
    ]
    assert not re.search(
        "[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]", parsed.text
    )
    parsed.text.encode()
    path: list[tuple[int, str]] = []
    for block, (kind, text) in zip(parsed.blocks, list_blocks(parsed), strict=True):
        assert text
        assert text.rstrip() == text
        assert kind == "code" or text.strip() == text
        assert (kind == "heading") == (1 <= block.level <= 6)
        if kind == "heading":
            path = [above for above in path if above[0] < block.level]
        assert block.location.headings == tuple(name for _, name in path)
        if kind == "heading":
            assert "\n" not in text
            path.append((block.level, text))
        if block.location.rows:
            assert text.count("\n") == block.location.rows[1] - block.location.rows[0]


def test_empty_rows_end_numbered_tables_and_vanish_from_others():
    builder = TextBuilder()
    rows = [["a", "b"], ["1", "2"], ["", ""], ["c", ""]]
    builder.add_table(rows)
    builder.add_table(rows, first_row=3)
    parsed = builder.build()
    assert list_blocks(parsed) == [
        ("table", "a | b\n1 | 2\nc"),
        ("table", "a | b\n1 | 2"),
        ("table", "c"),
    ]
    assert [block.location.rows for block in parsed.blocks] == [None, (3, 4), (6, 6)]


def test_joiners_stay_only_between_non_ascii_characters():
    builder = TextBuilder()
    builder.add_paragraph("می\u200cخواهم 👩\u200d💻 pass\u200dword")
    assert builder.build().text == "می\u200cخواهم 👩\u200d💻 password"


def test_metadata_becomes_json_values():
    assert to_json_value({"a": (1, None, {"b": "x\u200b "})}) == {"a": [1, None, {"b": "x"}]}
