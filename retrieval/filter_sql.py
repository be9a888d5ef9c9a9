"""A filter as a condition on rows of `document d`. Names of columns come from this file, and every value is bound.

Metadata keys are values as well (`d.metadata -> key`). None of jsonb's operators, nor starts_with or strpos, is
leakproof, so under row-level security PostgreSQL looks at a document's policy first and at the condition last, and uses
no index for it: a filter is read row by row. That is right for separation, and fast enough for as many documents as a
tenant has; retrieval/retriever.py sees to it that the vector index is not starved by it.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from retrieval.filters import (
    METADATA_PREFIX,
    And,
    Contains,
    Equals,
    Exists,
    Filter,
    Holds,
    In,
    Not,
    Or,
    Prefix,
    Range,
    Value,
    check_filter_size,
    field_kind,
)

_COLUMNS: dict[str, LiteralString] = {
    "title": "d.title",
    "path": "d.path",
    "uri": "d.uri",
    "document_id": "d.document_id::text",
    "media_type": "d.media_type",
    "version": "d.version",
    "ingested_at": "d.ingested_at",
}
# What counts as a date in a metadata text; a stricter form than PostgreSQL's, so that no setting changes its meaning.
_ISO_DATE_PATTERN = (
    "^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
    "([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?)?$"
)
_TIME_ZONE_PATTERN = "(Z|[+-][0-9]{2}:[0-9]{2})$"
GE, GT, LE, LT = (sql.SQL("{} " + sign + " {}::{}") for sign in (">=", ">", "<=", "<"))
_TIMESTAMP_RESOLUTION = timedelta(microseconds=1)  # the resolution of timestamptz


@dataclass(frozen=True, slots=True)
class FilterClause:
    """A condition on `document d`, and the values of its placeholders, all of whose names begin with `filter_`."""

    condition: sql.Composable
    values: dict[str, Any]


def compile_filter(tree: Filter) -> FilterClause:
    """A filter in SQL; it is true or false for every document, never null.

    Raises:
        InvalidInput: the tree is too deep or too large.
    """
    writer = _ClauseBuilder()
    return FilterClause(writer.compile_node(check_filter_size(tree)), writer.values)


@dataclass(slots=True)
class _ClauseBuilder:
    values: dict[str, Any] = field(default_factory=dict)

    def bind_value(self, value: object) -> sql.Placeholder:
        name = f"filter_{len(self.values)}"
        self.values[name] = value
        return sql.Placeholder(name)

    def compile_node(self, tree: Filter) -> sql.Composable:
        match tree:
            case And(parts):
                return _join_conditions(" and ", [self.compile_node(part) for part in parts])
            case Or(parts):
                return _join_conditions(" or ", [self.compile_node(part) for part in parts])
            case Not(part):
                return sql.SQL("(not {})").format(self.compile_node(part))
        return sql.SQL("coalesce({}, false)").format(self.compile_condition(tree))

    def compile_condition(
        self, tree: Filter
    ) -> sql.Composable:  # null where the field is missing or of another type
        match tree:
            case Equals(name, value):
                return self.compile_membership(name, (value,))
            case In(name, values):
                return self.compile_membership(name, values)
            case Range(name):
                return _join_conditions(
                    " and ",
                    [self.compile_bound(name, sign, value) for sign, value in tree.bounds.items()],
                )
            case Prefix(name, text):
                return sql.SQL("starts_with({}, {}::text)").format(
                    self.select_text(name), self.bind_value(text)
                )
            case Contains(name, text, ignore_case):
                form = sql.SQL(
                    "strpos(lower({}), lower({}::text)) > 0"
                    if ignore_case
                    else "strpos({}, {}::text) > 0"
                )
                return form.format(self.select_text(name), self.bind_value(text))
            case Holds(name, values, every):
                held = [list(values)] if every else [[value] for value in values]
                return sql.SQL("{} @> any ({}::jsonb[])").format(
                    self.select_metadata(name), self.bind_value([Jsonb(one) for one in held])
                )
            case Exists(name):
                return self.compile_exists(name)
        raise AssertionError(tree)

    def compile_membership(self, name: str, values: tuple[Value, ...]) -> sql.Composable:
        days = [_to_instant_range(value) for value in values if isinstance(value, date)]
        others = [value for value in values if not isinstance(value, date)]
        tests = [self.compile_date_spans(name, days)] if days else []
        if others and field_kind(name) == "text":
            tests.append(
                sql.SQL("{} = any ({}::text[])").format(
                    self.select_text(name), self.bind_value(others)
                )
            )
        elif others and field_kind(name) == "number":
            numbers = [_to_decimal(value) for value in others]
            tests.append(
                sql.SQL("{} = any ({}::numeric[])").format(
                    self.select_number(name), self.bind_value(numbers)
                )
            )
        elif others:  # jsonb compares type and value at once
            jsons = [Jsonb(value) for value in others]
            tests.append(
                sql.SQL("{} = any ({}::jsonb[])").format(
                    self.select_metadata(name), self.bind_value(jsons)
                )
            )
        return _join_conditions(" or ", tests)

    def compile_date_spans(
        self, name: str, spans: list[tuple[datetime, datetime]]
    ) -> sql.Composable:
        form = sql.SQL(
            "(select bool_or(m.at >= s.first and m.at < s.after) from (select {}) as m (at),"
            " unnest({}::timestamptz[], {}::timestamptz[]) as s (first, after))"
        )
        starts, ends = [first for first, _ in spans], [after for _, after in spans]
        return form.format(
            self.select_timestamp(name), self.bind_value(starts), self.bind_value(ends)
        )

    def compile_bound(self, name: str, sign: str, value: Value) -> sql.Composable:
        if isinstance(value, date):
            first, after = _to_instant_range(value)
            form, edge = {
                "ge": (GE, first),
                "gt": (GE, after),
                "le": (LT, after),
                "lt": (LT, first),
            }[sign]
            return form.format(
                self.select_timestamp(name), self.bind_value(edge), sql.SQL("timestamptz")
            )
        form = {"ge": GE, "gt": GT, "le": LE, "lt": LT}[sign]
        if isinstance(value, str):
            by_code_point = sql.SQL('({}) collate "C"').format(self.select_text(name))
            return form.format(by_code_point, self.bind_value(value), sql.SQL("text"))
        return form.format(
            self.select_number(name), self.bind_value(_to_decimal(value)), sql.SQL("numeric")
        )

    def compile_exists(self, name: str) -> sql.Composable:
        if name not in _COLUMNS:
            return sql.SQL("""{} not in ('null', '""', '[]')""").format(self.select_metadata(name))
        return sql.SQL("({})::text <> ''").format(sql.SQL(_COLUMNS[name]))

    def select_metadata(self, name: str) -> sql.Composable:
        return sql.SQL("(d.metadata -> {}::text)").format(
            self.bind_value(name.removeprefix(METADATA_PREFIX))
        )

    def select_text(self, name: str) -> sql.Composable:
        if name in _COLUMNS:
            return sql.SQL(_COLUMNS[name])
        value = self.select_metadata(name)
        return sql.SQL("case when jsonb_typeof({0}) = 'string' then {0} #>> '{{}}' end").format(
            value
        )

    def select_number(self, name: str) -> sql.Composable:
        if name in _COLUMNS:
            return sql.SQL(_COLUMNS[name])
        return sql.SQL("case when jsonb_typeof({0}) = 'number' then {0}::numeric end").format(
            self.select_metadata(name)
        )

    def select_timestamp(self, name: str) -> sql.Composable:
        if name in _COLUMNS:
            return sql.SQL(_COLUMNS[name])
        return sql.SQL(
            "(select case when t.text ~ {iso} and pg_input_is_valid(z.text, 'timestamptz') then z.text::timestamptz end"
            " from (select {text}) as t (text),"
            " lateral (select t.text || case when t.text ~ {zoned} then '' else ' UTC' end) as z (text))"
        ).format(
            iso=sql.Literal(_ISO_DATE_PATTERN),
            zoned=sql.Literal(_TIME_ZONE_PATTERN),
            text=self.select_text(name),
        )


def _join_conditions(word: LiteralString, parts: list[sql.Composable]) -> sql.Composable:
    return sql.SQL("({})").format(sql.SQL(word).join(parts))


def _to_decimal(value: Value) -> Decimal:
    """A number as JSON writes it: 0.1 is a tenth, as it is in the stored metadata."""
    return Decimal(repr(value))


def _to_instant_range(value: date) -> tuple[datetime, datetime]:
    """The first instant of a day or moment, and the first after it."""
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        return moment, moment + _TIMESTAMP_RESOLUTION
    start = datetime.combine(value, time(), UTC)
    return start, start + timedelta(days=1)
