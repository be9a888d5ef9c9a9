"""Filters: the same rows as the same filter in Python, nothing of them in SQL's text, and k hits where k exist."""

import os
import re
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput
from retrieval.filter_sql import compile_filter
from retrieval.filters import (
    FIELDS,
    MAX_CONDITIONS,
    MAX_NESTING_LEVELS,
    MAX_VALUE_CHARACTERS,
    MAX_VALUES,
    METADATA_PREFIX,
    And,
    Contains,
    Equals,
    Exists,
    Filter,
    Holds,
    In,
    Not,
    Prefix,
    Range,
    parse_filter,
    parse_where,
)

TREES = int(os.environ.get("FILTER_TREES", "600"))
# What documents hold and filters ask for; drawn from one list, so that they meet.
HOSTILE = (
    "x') OR 1=1 --",
    "'; drop table document; --",
    '"quoted"',
    "100%",
    "%(tenant)s",
    "%s",
    "{vectors}",
    "{}",
    "\\",
    "$1",
    "$$x$$",
    "E'\\047'",
    "line\nbreak",
    "naïve café",
    "Ωmega",
    "日本語",
    "🦦",
    "\u202eright to left",
    "a_b",
    "\x7f",
)
TEXTS = (
    "",
    "a",
    "A",
    "ab",
    "abc",
    "b",
    "B",
    "en",
    "de",
    "5",
    "5.0",
    "true",
    "null",
    "[]",
    *HOSTILE,
)
NUMBERS = (0, -1, 1, 5, 5.0, 0.1, 0.30000000000000004, 1e20, -2.5, 2**53 + 1, 2**62, 1e-9)
DATES = (
    "2024-02-29",
    "2024-03-01",
    "2024-03-01T00:00:00Z",
    "2024-03-01T09:30",
    "2024-03-01T09:30:00.000001",
    "2024-03-01T23:30:00-02:00",
    "2024-03-02 01:00:00+14:00",
    "1999-12-31",
    "9998-12-31",
)
NOT_DATES = (
    "2024-02-30",
    "2024-13-01",
    "2024-3-1",
    "20240301",
    "2024-03-01T25:00",
    "0000-01-01",
    "2024-03-01T10:00:60Z",
    "now",
)
KEYS = ("a", "b", "tags", "it's", 'say "x"', "{0}", "%s", "a.b", "日本")
WORDS = (
    "and",
    "or",
    "not",
    "field",
    "equals",
    "in",
    "prefix",
    "contains",
    "holds_any",
    "holds_all",
    "exists",
    "gt",
    "gte",
    "lt",
    "lte",
    "ignore_case",
    "date",
    "title",
    "metadata.a",
    "version",
)
SIGNS = ("=", "!=", ">=", "<=", ">", "<", "^", "~", "", " = ")
scalars = st.sampled_from((*TEXTS, *NUMBERS, *DATES, *NOT_DATES, True, False))
texts = st.sampled_from((*TEXTS, *DATES)) | st.text(
    st.characters(exclude_characters="\x00İ", exclude_categories=("Cs", "Cn")), max_size=3
)
metadata_fields = st.sampled_from([METADATA_PREFIX + key for key in KEYS])
any_field = st.sampled_from([*FIELDS]) | metadata_fields
garbage = st.recursive(
    st.none() | scalars | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=TREES, deadline=None)
@given(body=garbage | st.dictionaries(st.sampled_from(WORDS), garbage, min_size=1))
def test_any_json_is_a_filter_or_refused(body: object) -> None:
    """Never another error."""
    try:
        compile_filter(parse_filter(body))
    except InvalidInput as refused:
        assert re.fullmatch(r"[A-Z\"].+[.]", str(refused), re.DOTALL)


@settings(max_examples=TREES // 4, deadline=None)
@given(
    expression=st.text(max_size=12)
    | st.tuples(any_field, st.sampled_from(SIGNS), texts).map("".join)
)
def test_anything_at_the_prompt_is_a_filter_or_refused(expression: str) -> None:
    """Never another error."""
    try:
        tree = parse_where([expression])
    except InvalidInput:
        return
    assert tree is not None
    compile_filter(tree)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_filter_is_in_the_text_of_the_statement(text: str) -> None:
    """Two filters that differ only in values are one statement; the values lie beside it."""
    written = set()
    for value in ("harmless", text):
        field = METADATA_PREFIX + (value if value.isprintable() else "key")
        tree = And(
            (
                Equals(field, value),
                In("title", (value,)),
                Range(field, ge=value),
                Prefix("path", value),
                Contains(field, value, True),
                Holds(field, (value,)),
                Exists(field),
            )
        )
        made = compile_filter(tree)
        written.add(made.condition.as_string(None))
        assert (
            sum(
                value in repr(bound) or repr(value)[1:-1] in repr(bound)
                for bound in made.values.values()
            )
            >= 6
        )
    assert len(written) == 1


def deep(levels: int) -> Filter:
    tree: Filter = Exists("title")
    for _ in range(levels - 1):
        tree = Not(tree)
    return tree


def test_a_filter_has_limits() -> None:
    """At the limit it works; beyond it is refused, in JSON and in code, without taking long."""
    compile_filter(deep(MAX_NESTING_LEVELS))
    compile_filter(And(tuple(Exists("title") for _ in range(MAX_CONDITIONS))))
    In("title", tuple("x" * MAX_VALUES))
    nested: object = {"field": "title", "exists": True}
    for _ in range(300):
        nested = {"not": nested}
    doubled: Filter = Exists("title")
    for _ in range(60):  # as a tree it would have 2**60 leaves
        doubled = And((doubled, doubled))
    for refused in (
        lambda: compile_filter(deep(MAX_NESTING_LEVELS + 1)),
        lambda: compile_filter(And(tuple(Exists("title") for _ in range(MAX_CONDITIONS + 1)))),
        lambda: compile_filter(doubled),
        lambda: parse_filter(nested),
        lambda: parse_filter({"and": [{"field": "title", "exists": True}] * (MAX_CONDITIONS + 1)}),
        lambda: parse_filter({"and": [{"or": [{"field": "title", "exists": True}] * 60}] * 60}),
        lambda: In("title", tuple("x" * (MAX_VALUES + 1))),
        lambda: Equals("title", "x" * (MAX_VALUE_CHARACTERS + 1)),
        lambda: deep(100_000) and compile_filter(deep(100_000)),
    ):
        with pytest.raises(InvalidInput, match=r"at most|Give 1 to|longer than"):
            refused()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"field": "text", "equals": "x"}, "no field 'text' to filter by"),
        ({"field": "tenant_id", "equals": "brightwater"}, "no field 'tenant_id'"),
        ({"field": "d.title", "equals": "x"}, "no field 'd.title'"),
        ({"field": "metadata.", "equals": "x"}, "key is 1 to 200 printable"),
        ({"field": "metadata.a\x00", "equals": "x"}, "printable"),
        ({"field": "metadata." + "k" * 201, "equals": "x"}, "key is 1 to 200"),
        ({"field": 5, "equals": "x"}, "is a name"),
        ({"field": "title", "equals": 5}, "compared with a text; what was given is no"),
        ({"field": "version", "equals": "5"}, "compared with a number"),
        ({"field": "version", "equals": True}, "compared with a number"),
        ({"field": "version", "prefix": "1"}, "is no text"),
        ({"field": "version", "gte": 10**30}, "too large"),
        ({"field": "metadata.x", "gte": float("inf")}, "not finite"),
        ({"field": "metadata.x", "gte": float("nan")}, "not finite"),
        ({"field": "metadata.x", "gte": 1, "lt": "b"}, "bounds of one type"),
        ({"field": "metadata.x", "gte": True}, "bounds of one type"),
        ({"field": "metadata.x", "equals": None}, "compared with text, a number"),
        ({"field": "metadata.x", "equals": ["a"]}, "compared with text, a number"),
        ({"field": "metadata.x", "equals": {"date": "yesterday"}}, "A date is written as"),
        ({"field": "ingested_at", "gte": "2024-02-30"}, "A date is written as"),
        ({"field": "ingested_at", "gte": "0001-01-01"}, "year for ingested_at"),
        ({"field": "title", "equals": "a\x00b"}, "no document can hold"),
        ({"field": "title", "equals": "\ud800"}, "no document can hold"),
        ({"field": "title", "in": []}, "Give 1 to"),
        ({"field": "title", "in": "abc"}, "Give a list"),
        ({"field": "title", "holds_any": ["a"]}, "Only a metadata"),
        ({"field": "title", "contains": 5}, "compared with a text"),
        ({"field": "title", "equals": "a", "prefix": "b"}, "exactly one test"),
        ({"field": "title"}, "exactly one test"),
        ({"field": "title", "like": "%"}, "has no 'like'"),
        ({"field": "title", "exists": "yes"}, "true or false"),
        ({"field": "title", "equals": "a", "ignore_case": True}, "ignore_case"),
        ({"and": []}, "one or more filters"),
        ({"and": {}}, "can't be read"),
        ({"and": [], "or": []}, "Only one of"),
        ({"xor": []}, "can't be read"),
        ({}, "can't be read"),
        ([], "can't be read"),
        ("title = 'x'", "can't be read"),
    ],
)
def test_what_is_no_filter_is_refused_with_a_sentence(body: object, sentence: str) -> None:
    """It says what is wrong."""
    with pytest.raises(InvalidInput, match=re.escape(sentence)):
        parse_filter(body)


@pytest.mark.parametrize(
    ("given", "tree"),
    [
        ([], None),
        (["title=Leave policy"], Equals("title", "Leave policy")),
        (["title = 5"], Equals("title", "5")),
        (
            ["metadata.year>=2024", "path^hr/"],
            And((Range("metadata.year", ge=2024), Prefix("path", "hr/"))),
        ),
        (["metadata.year = 2024,2025"], In("metadata.year", (2024, 2025))),
        (["language != de, fr"], Not(In("language", ("de", "fr")))),
        (['metadata.name="a, b", 5, "5"'], In("metadata.name", ("a, b", 5, "5"))),
        (["metadata.draft=true"], Equals("metadata.draft", True)),
        (["metadata.share<0.5"], Range("metadata.share", lt=0.5)),
        (["ingested_at<2025-01-31"], Range("ingested_at", lt=date(2025, 1, 31))),
        (["metadata.valid>2025-01-31"], Range("metadata.valid", gt=date(2025, 1, 31))),
        (["title~Leave"], Contains("title", "Leave", ignore_case=True)),
        (["metadata.owner"], Exists("metadata.owner")),
        (["title="], Equals("title", "")),
        (["title=a=b"], Equals("title", "a=b")),
    ],
)
def test_conditions_at_the_prompt(given: list[str], tree: Filter | None) -> None:
    """As `--where` takes them."""
    assert parse_where(given) == tree
