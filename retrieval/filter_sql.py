"""Compile a filter to a condition on `document d`.

Column names come from this file; every value is bound, and so are metadata keys
(`d.metadata -> key`). The jsonb operators, starts_with and strpos are not leakproof, so under
row-level security PostgreSQL checks a document's policy first and the condition last, and uses no
index for it: a filter is evaluated row by row. That keeps tenants apart, and is fast enough for the
documents of one tenant. retrieval/filter_plan.py keeps the vector index from running out of
candidates.
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
    Condition,
    Contains,
    Equals,
    Exists,
    Filter,
    HoldsAll,
    HoldsAny,
    In,
    Not,
    Or,
    Prefix,
    Range,
    Value,
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
# A metadata text in this form is a date. It is stricter than PostgreSQL, so that no setting changes
# its meaning.
_ISO_DATE_PATTERN = (
    "^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
    "([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?"
    "(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?)?$"
)
_TIME_ZONE_PATTERN = "(Z|[+-][0-9]{2}:[0-9]{2})$"
GE, GT, LE, LT = (sql.SQL("{} " + sign + " {}::{}") for sign in (">=", ">", "<=", "<"))
_TIMESTAMP_RESOLUTION = timedelta(microseconds=1)  # the resolution of timestamptz


@dataclass(frozen=True, slots=True)
class FilterClause:
    """A condition on `document d`, and the values of its placeholders, all named `filter_...`."""

    condition: sql.Composable
    values: dict[str, Any]


def compile_filter(tree: Filter) -> FilterClause:
    """Compile a filter to SQL that is true or false for every document, never null."""
    builder = _ClauseBuilder()
    return FilterClause(builder.compile_node(tree), builder.values)


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
            case Exists(name, False):
                return self.compile_node(Not(Exists(name)))
        # The condition is null where the field is missing or of another type.
        return sql.SQL("coalesce({}, false)").format(self.compile_condition(tree))

    def compile_condition(self, condition: Condition) -> sql.Composable:
        match condition:
            case Equals(name, value):
                return self.compile_membership(name, (value,))
            case In(name, values):
                return self.compile_membership(name, values)
            case Range(name):
                bounds = condition.bounds.items()
                bound_conditions = [self.compile_bound(name, sign, bound) for sign, bound in bounds]
                return _join_conditions(" and ", bound_conditions)
            case Prefix(name, text):
                form = sql.SQL("starts_with({}, {}::text)")
                return form.format(self.select_text(name), self.bind_value(text))
            case Contains(name, text, ignore_case):
                form = sql.SQL(
                    "strpos(lower({}), lower({}::text)) > 0"
                    if ignore_case
                    else "strpos({}, {}::text) > 0"
                )
                return form.format(self.select_text(name), self.bind_value(text))
            case HoldsAny(name, values):
                return self.compile_list(name, [[value] for value in values])
            case HoldsAll(name, values):
                return self.compile_list(name, [list(values)])
            case Exists(name):
                return self.compile_exists(name)

    def compile_list(self, name: str, alternatives: list[list[Value]]) -> sql.Composable:
        """Test whether a list in the metadata has all values of one of the alternatives."""
        form = sql.SQL("{} @> any ({}::jsonb[])")
        jsons = [Jsonb(values) for values in alternatives]
        return form.format(self.select_metadata(name), self.bind_value(jsons))

    def compile_membership(self, name: str, values: tuple[Value, ...]) -> sql.Composable:
        spans = [_to_instant_range(value) for value in values if isinstance(value, date)]
        scalars = [value for value in values if not isinstance(value, date)]
        tests = [self.compile_date_spans(name, spans)] if spans else []
        if scalars:
            tests.append(self.compile_scalars(name, scalars))
        return _join_conditions(" or ", tests)

    def compile_scalars(self, name: str, values: list[str | bool | int | float]) -> sql.Composable:
        match field_kind(name):
            case "text":
                form = sql.SQL("{} = any ({}::text[])")
                return form.format(self.select_text(name), self.bind_value(values))
            case "number":
                form = sql.SQL("{} = any ({}::numeric[])")
                numbers = [_to_decimal(value) for value in values]
                return form.format(self.select_number(name), self.bind_value(numbers))
        form = sql.SQL("{} = any ({}::jsonb[])")  # jsonb compares type and value at once
        jsons = [Jsonb(value) for value in values]
        return form.format(self.select_metadata(name), self.bind_value(jsons))

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
            edges = {"gte": (GE, first), "gt": (GE, after), "lte": (LT, after), "lt": (LT, first)}
            form, edge = edges[sign]
            column = self.select_timestamp(name)
            return form.format(column, self.bind_value(edge), sql.SQL("timestamptz"))
        form = {"gte": GE, "gt": GT, "lte": LE, "lt": LT}[sign]
        if isinstance(value, str):
            by_code_point = sql.SQL('({}) collate "C"').format(self.select_text(name))
            return form.format(by_code_point, self.bind_value(value), sql.SQL("text"))
        column = self.select_number(name)
        return form.format(column, self.bind_value(_to_decimal(value)), sql.SQL("numeric"))

    def compile_exists(self, name: str) -> sql.Composable:
        if name not in _COLUMNS:
            return sql.SQL("""{} not in ('null', '""', '[]')""").format(self.select_metadata(name))
        return sql.SQL("({})::text <> ''").format(sql.SQL(_COLUMNS[name]))

    def select_metadata(self, name: str) -> sql.Composable:
        key = name.removeprefix(METADATA_PREFIX)
        return sql.SQL("(d.metadata -> {}::text)").format(self.bind_value(key))

    def select_text(self, name: str) -> sql.Composable:
        if name in _COLUMNS:
            return sql.SQL(_COLUMNS[name])
        form = sql.SQL("case when jsonb_typeof({0}) = 'string' then {0} #>> '{{}}' end")
        return form.format(self.select_metadata(name))

    def select_number(self, name: str) -> sql.Composable:
        if name in _COLUMNS:
            return sql.SQL(_COLUMNS[name])
        form = sql.SQL("case when jsonb_typeof({0}) = 'number' then {0}::numeric end")
        return form.format(self.select_metadata(name))

    def select_timestamp(self, name: str) -> sql.Composable:
        if name in _COLUMNS:
            return sql.SQL(_COLUMNS[name])
        return sql.SQL(
            "(select case when t.text ~ {iso} and pg_input_is_valid(z.text, 'timestamptz')"
            " then z.text::timestamptz end"
            " from (select {text}) as t (text),"
            " lateral (select t.text || case when t.text ~ {zoned} then '' else ' UTC' end)"
            " as z (text))"
        ).format(
            iso=sql.Literal(_ISO_DATE_PATTERN),
            zoned=sql.Literal(_TIME_ZONE_PATTERN),
            text=self.select_text(name),
        )


def _join_conditions(operator: LiteralString, parts: list[sql.Composable]) -> sql.Composable:
    return sql.SQL("({})").format(sql.SQL(operator).join(parts))


def _to_decimal(value: Value) -> Decimal:
    """Return a number as JSON writes it: 0.1 is a tenth, as in the stored metadata."""
    return Decimal(repr(value))


def _to_instant_range(value: date) -> tuple[datetime, datetime]:
    """Return the first instant of a day or moment, and the first instant after it."""
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        return moment, moment + _TIMESTAMP_RESOLUTION
    start = datetime.combine(value, time(), UTC)
    return start, start + timedelta(days=1)
