"""Filters as `--where` expressions on the command line, such as metadata.year>=2024."""

import re
from collections.abc import Iterator, Sequence

from core.errors import InvalidInput
from retrieval.filters import (
    And,
    Contains,
    Equals,
    Exists,
    Filter,
    In,
    Not,
    Prefix,
    Range,
    Value,
    field_kind,
    parse_date,
)

_EXPRESSION_PATTERN = re.compile(
    r"\s*(?P<field>[^\s=!<>^~]+)\s*(?:(?P<sign>!=|>=|<=|[=<>^~])\s*(?P<value>.*?)\s*)?", re.DOTALL
)
_DATE_LIKE_PATTERN = re.compile(r"\d{4}-\d\d-\d\d(?:T\S+)?")
_RANGE_OPERATORS = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}


def parse_where(expressions: Sequence[str]) -> Filter | None:
    """Return the filter that all `--where` expressions form; None without an expression.

    An expression is FIELD=VALUE, or has another sign: `!=`, `<`, `<=`, `>`, `>=`, `^` (begins with)
    or `~` (contains, in upper or lower case). A FIELD alone means that it has content. Commas
    separate several values of `=` and `!=`. A metadata value that looks like a date, a number, true
    or false is one; in quotes it is a text.

    Raises:
        InvalidInput: an expression is not a condition.
    """
    parts = tuple(_parse_expression(expression) for expression in expressions)
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else And(parts)


def _parse_expression(expression: str) -> Filter:
    match = _EXPRESSION_PATTERN.fullmatch(expression)
    if match is None:
        raise InvalidInput(
            f"{expression[:40]!r} is not a condition. Write it like metadata.year>=2024."
        )
    field, sign, text = match["field"], match["sign"], match["value"]
    if sign is None:
        return Exists(field)
    if sign == "^":
        return Prefix(field, text)
    if sign == "~":
        return Contains(field, text, ignore_case=True)
    if sign in _RANGE_OPERATORS:
        return Range(field, **{_RANGE_OPERATORS[sign]: _parse_typed_value(field, text)})
    values = tuple(_parse_typed_value(field, part) for part in _split_values(text))
    condition = Equals(field, values[0]) if len(values) == 1 else In(field, values)
    return Not(condition) if sign == "!=" else condition


def _split_values(text: str) -> Iterator[str]:
    """Yield the values between commas; within quotes a comma is part of the text."""
    for match in re.finditer(r'\s*("[^"]*"|[^,]*?)\s*(?:,|$)', text):
        if match.start() < len(text) or not text:
            yield match[1]


def _parse_typed_value(field: str, text: str) -> Value:
    kind = field_kind(field)
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return parse_date(text[1:-1]) if kind == "date" else text[1:-1]
    if kind == "date" or (kind == "metadata" and _DATE_LIKE_PATTERN.fullmatch(text)):
        return parse_date(text)
    if kind == "metadata" and text in ("true", "false"):
        return text == "true"
    if kind != "text" and re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if kind != "text" and re.fullmatch(r"[+-]?\d{1,18}\.\d{1,18}", text):
        return float(text)
    return text
