"""Filters as JSON and as command-line expressions, and the SQL they become."""

import os
import re
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput
from retrieval.filter_expressions import parse_where
from retrieval.filter_sql import compile_filter
from retrieval.filters import (
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
    HoldsAll,
    HoldsAny,
    In,
    Not,
    Prefix,
    Range,
    parse_filter,
)
from tests.support.filter_values import HOSTILE, any_field, scalars, texts

TREES = int(os.environ.get("FILTER_TREES", settings.default.max_examples))
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
def test_any_json_is_parsed_or_refused(body: object) -> None:
    """No other error occurs."""
    try:
        compile_filter(parse_filter(body))
    except InvalidInput as refused:
        assert re.fullmatch(r"[A-Z\"'].+[.]", str(refused), re.DOTALL)  # noqa: PT017 - optional


@settings(max_examples=TREES, deadline=None)
@given(
    expression=st.text(max_size=12)
    | st.tuples(any_field, st.sampled_from(SIGNS), texts).map("".join)
)
def test_any_where_expression_is_parsed_or_refused(expression: str) -> None:
    """No other error occurs."""
    try:
        tree = parse_where([expression])
    except InvalidInput:
        return
    assert tree is not None
    compile_filter(tree)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_value_of_a_filter_is_in_the_sql_text(text: str) -> None:
    """Filters that differ only in values compile to the same SQL; the values are bound."""
    written = set()
    for value in ("harmless", text):
        field = METADATA_PREFIX + (value if value.isprintable() else "key")
        tree = And(
            (
                Equals(field, value),
                In("title", (value,)),
                Range(field, gte=value),
                Prefix("path", value),
                Contains(field, value, True),
                HoldsAny(field, (value,)),
                HoldsAll(field, (value,)),
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
            >= 7
        )
    assert len(written) == 1


def nest(levels: int) -> Filter:
    tree: Filter = Exists("title")
    for _ in range(levels - 1):
        tree = Not(tree)
    return tree


def double(levels: int) -> Filter:
    """Return a small tree with 2**levels conditions: both parts are one object."""
    tree: Filter = Exists("title")
    for _ in range(levels):
        tree = And((tree, tree))
    return tree


def nest_json(levels: int) -> object:
    tree: object = {"field": "title", "exists": True}
    for _ in range(levels - 1):
        tree = {"not": tree}
    return tree


def test_a_filter_at_the_limits_is_accepted() -> None:
    """Levels, conditions and values have a limit each."""
    compile_filter(nest(MAX_NESTING_LEVELS))
    compile_filter(And(tuple(Exists("title") for _ in range(MAX_CONDITIONS))))
    In("title", tuple("x" * MAX_VALUES))


@pytest.mark.parametrize(
    "build",
    [
        lambda: nest(MAX_NESTING_LEVELS + 1),
        lambda: nest(100_000),
        lambda: And(tuple(Exists("title") for _ in range(MAX_CONDITIONS + 1))),
        lambda: double(60),
        lambda: parse_filter(nest_json(MAX_NESTING_LEVELS + 1)),
        lambda: parse_filter(nest_json(300)),
        lambda: parse_filter({"and": [{"field": "title", "exists": True}] * (MAX_CONDITIONS + 1)}),
        lambda: parse_filter({"and": [{"or": [{"field": "title", "exists": True}] * 60}] * 60}),
        lambda: In("title", tuple("x" * (MAX_VALUES + 1))),
        lambda: Equals("title", "x" * (MAX_VALUE_CHARACTERS + 1)),
    ],
)
def test_a_filter_beyond_a_limit_is_refused(build: Callable[[], Filter]) -> None:
    """In JSON and in Python, without taking long."""
    with pytest.raises(InvalidInput, match=r"at most|longer than|maximum"):
        build()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"field": "text", "equals": "x"}, "no field 'text' to filter by"),
        ({"field": "tenant_id", "equals": "brightwater"}, "no field 'tenant_id'"),
        ({"field": "d.title", "equals": "x"}, "no field 'd.title'"),
        ({"field": "metadata.", "equals": "x"}, "Use 1 to 200 printable"),
        ({"field": "metadata.a\x00", "equals": "x"}, "printable"),
        ({"field": "metadata." + "k" * 201, "equals": "x"}, "Use 1 to 200"),
        ({"field": 5, "equals": "x"}, "at 'field': Input should be a valid string"),
        ({"equals": "x"}, "at 'field': Field required"),
        ({"field": "title", "equals": 5}, "can't be compared with this value. Use a text."),
        ({"field": "version", "equals": "5"}, "Use a number."),
        ({"field": "version", "equals": True}, "Use a number."),
        ({"field": "version", "prefix": "1"}, "is not a text"),
        ({"field": "version", "gte": 10**30}, "too large"),
        ({"field": "version", "gte": 10**400}, "too large"),
        ({"field": "metadata.x", "gte": float("inf")}, "not finite"),
        ({"field": "metadata.x", "gte": float("nan")}, "not finite"),
        ({"field": "metadata.x", "gte": 1, "lt": "b"}, "not of one type"),
        ({"field": "metadata.x", "gte": True}, "not of one type"),
        ({"field": "metadata.x", "equals": None}, "Use a text, a number"),
        ({"field": "metadata.x", "equals": ["a"]}, "Use a text, a number"),
        ({"field": "metadata.x", "equals": {"date": "yesterday"}}, "is not a date"),
        ({"field": "ingested_at", "gte": "2024-02-30"}, "is not a date"),
        ({"field": "ingested_at", "gte": "0001-01-01"}, "Use 1000 to 9998"),
        ({"field": "title", "equals": "a\x00b"}, "no document can contain"),
        ({"field": "title", "equals": "\ud800"}, "no document can contain"),
        ({"field": "title", "in": []}, "at 'in': The list should have at least 1 item"),
        ({"field": "title", "in": "abc"}, "at 'in': Input should be a valid list"),
        ({"field": "title", "holds_any": ["a"]}, "is not a list"),
        ({"field": "metadata.x", "holds_any": [{"date": "2024-01-31"}]}, "date as a text"),
        ({"field": "title", "contains": 5}, "at 'contains': Input should be a valid string"),
        ({"field": "title", "equals": "a", "prefix": "b"}, "at 'prefix': Unexpected key"),
        ({"field": "title"}, "This is not a filter"),
        ({"field": "title", "like": "%"}, "This is not a filter"),
        ({"field": "title", "exists": "yes"}, "at 'exists': Input should be a valid boolean"),
        ({"field": "title", "equals": "a", "ignore_case": True}, "at 'ignore_case'"),
        ({"and": []}, "at 'and': The list should have at least 1 item"),
        ({"and": {}}, "at 'and': Input should be a valid list"),
        ({"and": [{"field": "title", "exists": True}], "or": []}, "at 'or': Unexpected key"),
        ({"xor": []}, "can't be read"),
        ({}, "can't be read"),
        ([], "can't be read"),
        ("title = 'x'", "can't be read"),
    ],
)
def test_an_invalid_filter_is_refused_with_one_sentence(body: object, sentence: str) -> None:
    """The sentence says what is wrong."""
    with pytest.raises(InvalidInput, match=re.escape(sentence)):
        parse_filter(body)


@pytest.mark.parametrize(
    ("expressions", "tree"),
    [
        ([], None),
        (["title=Leave policy"], Equals("title", "Leave policy")),
        (["title = 5"], Equals("title", "5")),
        (
            ["metadata.year>=2024", "path^hr/"],
            And((Range("metadata.year", gte=2024), Prefix("path", "hr/"))),
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
def test_where_expressions(expressions: list[str], tree: Filter | None) -> None:
    """Each expression becomes a condition."""
    assert parse_where(expressions) == tree
