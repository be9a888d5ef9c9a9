"""Which documents a search may find, as a small tree of typed conditions.

    And((Prefix("path", "policies/"), Range("metadata.year", ge=2024), Not(Equals("language", "de"))))

The same as JSON, which `parse_filter` reads:

    {"and": [{"field": "path", "prefix": "policies/"}, {"field": "metadata.year", "gte": 2024},
             {"not": {"field": "language", "equals": "de"}}]}

A condition looks at a document's own fields, or at a key of its metadata by `metadata.<key>`. Types never mix: the text
"5" is not the number 5, and a condition on what a document lacks, or has as another type, does not hold (so its `Not`
does). A date stands for its whole day in UTC, a time without a zone for UTC. retrieval/filter_sql.py turns a tree into
SQL in which nothing of it is ever text.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, TypeAlias

from core.errors import InvalidInput

Value: TypeAlias = str | bool | int | float | date  # a datetime is a date too
FieldKind = Literal["text", "number", "date", "metadata"]

FIELDS: Mapping[str, FieldKind] = {
    "title": "text",
    "path": "text",
    "uri": "text",
    "document_id": "text",
    "media_type": "text",
    "language": "text",
    "version": "number",
    "ingested_at": "date",
}
METADATA_PREFIX = "metadata."

MAX_NESTING_LEVELS = 10  # levels of and, or, not
MAX_CONDITIONS = 100
MAX_VALUES = 1_000
MAX_VALUE_CHARACTERS = 1_000  # characters
MAX_KEY_CHARACTERS = 200
MAX_INTEGER = 2**63  # of a whole number
VALID_YEARS = range(1000, 9999)


@dataclass(frozen=True, slots=True)
class Equals:
    """The field has this value."""

    field: str
    value: Value

    def __post_init__(self) -> None:
        _check_value(self.field, self.value)


@dataclass(frozen=True, slots=True)
class In:
    """The field has one of these values."""

    field: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _check_several(self.field, self.values)
        for value in self.values:
            _check_value(self.field, value)


@dataclass(frozen=True, slots=True)
class Range:
    """The field lies within bounds of one type; texts are ordered by code point."""

    field: str
    ge: Value | None = None
    gt: Value | None = None
    le: Value | None = None
    lt: Value | None = None

    def __post_init__(self) -> None:
        for value in self.bounds.values():
            _check_value(self.field, value)
        kinds = {_kind_of(value) for value in self.bounds.values()}
        if len(kinds) != 1 or kinds == {"truth"}:
            raise InvalidInput(
                f"A range on {self.field} needs bounds of one type: numbers, dates or texts."
            )

    @property
    def bounds(self) -> dict[str, Value]:
        """The bounds that are given, by name."""
        given = {"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Prefix:
    """The field is a text that begins so."""

    field: str
    text: str

    def __post_init__(self) -> None:
        _check_text_field(self.field)
        _check_text(self.field, self.text)


@dataclass(frozen=True, slots=True)
class Contains:
    """The field is a text that has this in it; without regard to case, letter by letter as the database lowers them."""

    field: str
    text: str
    ignore_case: bool = False

    def __post_init__(self) -> None:
        _check_text_field(self.field)
        _check_text(self.field, self.text)


@dataclass(frozen=True, slots=True)
class Holds:
    """The field is a list in the metadata that has any (or all) of these values."""

    field: str
    values: tuple[str | bool | int | float, ...]
    match_all: bool = False

    def __post_init__(self) -> None:
        if field_kind(self.field) != "metadata":
            raise InvalidInput(f"Only a metadata.<key> can hold a list; {self.field} is none.")
        _check_several(self.field, self.values)
        for value in self.values:
            _check_value(self.field, value)
            if _kind_of(value) == "date":
                raise InvalidInput(
                    f"A list in {self.field} is searched for texts and numbers; give the date as text."
                )


@dataclass(frozen=True, slots=True)
class Exists:
    """There is something in the field: it is not missing, null, an empty text or an empty list."""

    field: str

    def __post_init__(self) -> None:
        field_kind(self.field)


@dataclass(frozen=True, slots=True)
class And:
    """All of these hold."""

    parts: tuple["Filter", ...]

    def __post_init__(self) -> None:
        _check_parts(self.parts, "and")


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of these holds."""

    parts: tuple["Filter", ...]

    def __post_init__(self) -> None:
        _check_parts(self.parts, "or")


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold."""

    part: "Filter"

    def __post_init__(self) -> None:
        _check_parts((self.part,), "not")


Condition: TypeAlias = Equals | In | Range | Prefix | Contains | Holds | Exists
Filter: TypeAlias = Condition | And | Or | Not
_CONDITIONS = (Equals, In, Range, Prefix, Contains, Holds, Exists)


def field_kind(field: str) -> FieldKind:
    """What a field holds.

    Raises:
        InvalidInput: it is not one that can be filtered by.
    """
    if field in FIELDS:
        return FIELDS[field]
    if not field.startswith(METADATA_PREFIX):
        raise InvalidInput(
            f"There is no field {field[:40]!r} to filter by; use metadata.<key> or {', '.join(FIELDS)}."
        )
    key = field.removeprefix(METADATA_PREFIX)
    if not key or not key.isprintable() or len(key) > MAX_KEY_CHARACTERS:
        raise InvalidInput(
            f"A metadata key is 1 to {MAX_KEY_CHARACTERS} printable characters; {key[:40]!r} is not."
        )
    return "metadata"


def check_filter_size(tree: Filter) -> Filter:
    """The tree itself, refused where it is too deep or too large to be anything but an attack.

    Raises:
        InvalidInput: more than 10 levels or 100 conditions.
    """
    level: Sequence[Filter] = (tree,)
    conditions = 0
    for _ in range(MAX_NESTING_LEVELS):
        conditions += sum(isinstance(node, _CONDITIONS) for node in level)
        level = [part for node in level for part in _parts(node)]
        if conditions + len(level) > MAX_CONDITIONS:
            raise InvalidInput(
                f"A filter has at most {MAX_CONDITIONS} conditions; this one has more."
            )
        if not level:
            return tree
    raise InvalidInput(
        f"A filter is nested at most {MAX_NESTING_LEVELS} levels deep; this one goes deeper."
    )


def _parts(node: Filter) -> tuple[Filter, ...]:
    match node:
        case And(parts) | Or(parts):
            return parts
        case Not(part):
            return (part,)
    return ()


def _check_parts(parts: object, name: str) -> None:
    if (
        not isinstance(parts, tuple)
        or not parts
        or not all(isinstance(p, (*_CONDITIONS, And, Or, Not)) for p in parts)
    ):
        raise InvalidInput(f"The parts of {name!r} are one or more filters; these are not.")


def _check_several(field: str, values: object) -> None:
    if not isinstance(values, tuple) or not 1 <= len(values) <= MAX_VALUES:
        raise InvalidInput(f"Give 1 to {MAX_VALUES:,} values to look for in {field[:40]!r}.")


def _kind_of(value: object) -> Literal["text", "truth", "number", "date"] | None:
    match value:
        case bool():
            return "truth"
        case str():
            return "text"
        case int() | float():
            return "number"
        case date():
            return "date"
    return None


def _check_value(field: str, value: object) -> None:
    kind, given = field_kind(field), _kind_of(value)
    if given is None or kind not in ("metadata", given):
        wanted = "text, a number, a date, true or false" if kind == "metadata" else f"a {kind}"
        raise InvalidInput(
            f"The field {field} is compared with {wanted}; what was given is no such thing."
        )
    if isinstance(value, str):
        _check_text(field, value)
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise InvalidInput(f"The number for {field} is too large; stay within 64 bits.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"The number for {field} is not finite; give an ordinary number.")
    elif isinstance(value, date) and value.year not in VALID_YEARS:
        raise InvalidInput(
            f"The year for {field} must be {VALID_YEARS.start} to {VALID_YEARS.stop - 1}; {value.year} is not."
        )


def _check_text_field(field: str) -> None:
    if field_kind(field) not in ("text", "metadata"):
        raise InvalidInput(f"The field {field} is no text; compare it with equals, in or a range.")


def _check_text(field: str, text: object) -> None:
    if not isinstance(text, str):
        raise InvalidInput(f"The field {field} is compared with a text; what was given is none.")
    if len(text) > MAX_VALUE_CHARACTERS:
        raise InvalidInput(
            f"The text for {field} is longer than {MAX_VALUE_CHARACTERS:,} characters; shorten it."
        )
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput(
            f"The text for {field} holds a character that no document can hold; remove it."
        )


# --- as JSON --------------------------------------------------------------------------------------------------------

_BOUNDS = {"gte": "ge", "gt": "gt", "lte": "le", "lt": "lt"}
_TESTS = ("equals", "in", "prefix", "contains", "holds_any", "holds_all", "exists", *_BOUNDS)
_OPTIONS = ("field", "ignore_case")
_FORM = 'a condition is an object such as {"field": "metadata.year", "gte": 2024}'


def parse_filter(data: object) -> Filter:
    """A filter from JSON, already loaded.

    Inner nodes are {"and": [...]}, {"or": [...]} and {"not": ...}. A condition has a "field" and one test: "equals",
    "in", "prefix", "contains" (with "ignore_case": true or without), "holds_any", "holds_all", "exists", or one or more
    of "gt", "gte", "lt", "lte". A date for a metadata key is {"date": "2025-01-31"}; for ingested_at the text suffices.

    Raises:
        InvalidInput: with a sentence that says what is wrong.
    """
    return check_filter_size(_parse(data, MAX_NESTING_LEVELS))


def _parse(given: object, levels: int) -> Filter:
    if levels == 0:
        raise InvalidInput(
            f"A filter is nested at most {MAX_NESTING_LEVELS} levels deep; this one goes deeper."
        )
    if not isinstance(given, dict) or not given:
        raise InvalidInput(f"The filter can't be read: {_FORM}.")
    if "field" in given:
        return _parse_condition(given)
    if len(given) > 1:
        raise InvalidInput(
            'Only one of "and", "or", "not" may stand in an object; nest the others.'
        )
    [(name, inner)] = given.items()
    if name == "not":
        return Not(_parse(inner, levels - 1))
    if name not in ("and", "or") or not isinstance(inner, list):
        raise InvalidInput(
            f'The filter can\'t be read: use "and", "or" (with a list) and "not"; {_FORM}.'
        )
    if len(inner) > MAX_CONDITIONS:
        raise InvalidInput(f"A filter has at most {MAX_CONDITIONS} conditions; this one has more.")
    parts = tuple(_parse(part, levels - 1) for part in inner)
    return And(parts) if name == "and" else Or(parts)


def _parse_condition(given: dict[str, Any]) -> Filter:
    field = given["field"]
    if not isinstance(field, str):
        raise InvalidInput(f"The field of a condition is a name; {str(field)[:40]!r} is none.")
    if unknown := [name for name in given if name not in (*_TESTS, *_OPTIONS)]:
        raise InvalidInput(
            f"A condition has no {str(unknown[0])[:40]!r}; its tests are {', '.join(_TESTS)}."
        )
    tests = [name for name in given if name not in _OPTIONS]
    ignore_case = given.get("ignore_case", False)
    if not isinstance(ignore_case, bool) or (ignore_case and tests != ["contains"]):
        raise InvalidInput('"ignore_case" is true or false, and goes with "contains" only.')
    if tests and all(name in _BOUNDS for name in tests):
        return Range(field, **{_BOUNDS[name]: _parse_value(field, given[name]) for name in tests})
    if len(tests) != 1:
        raise InvalidInput(
            f"The condition on {field[:40]!r} needs exactly one test of {', '.join(_TESTS)}."
        )
    [name] = tests
    value = given[name]
    match name:
        case "equals":
            return Equals(field, _parse_value(field, value))
        case "in":
            return In(field, tuple(_parse_value(field, one) for one in _list(field, value)))
        case "prefix":
            return Prefix(field, value)
        case "contains":
            return Contains(field, value, ignore_case)
        case "exists":
            if not isinstance(value, bool):
                raise InvalidInput(f'"exists" on {field[:40]!r} is true or false.')
            return Exists(field) if value else Not(Exists(field))
    return Holds(field, tuple(_list(field, value)), match_all=name == "holds_all")


def _list(field: str, given: object) -> list[Any]:
    if not isinstance(given, list) or len(given) > MAX_VALUES:
        raise InvalidInput(
            f"Give a list of 1 to {MAX_VALUES:,} values to look for in {field[:40]!r}."
        )
    return given


def _parse_value(field: str, given: object) -> Value:
    if isinstance(given, dict) and given.keys() == {"date"}:
        return parse_date(given["date"])
    if isinstance(given, str) and field_kind(field) == "date":
        return parse_date(given)
    _check_value(field, given)
    assert isinstance(given, str | bool | int | float)
    return given


def parse_date(text: object) -> date:
    """A day (2025-01-31) or a moment (2025-01-31T09:30:00+01:00) as ISO 8601 writes them."""
    try:
        if isinstance(text, str) and len(text) <= MAX_KEY_CHARACTERS:
            return (
                date.fromisoformat(text)
                if len(text) == len("2025-01-31")
                else datetime.fromisoformat(text)
            )
    except ValueError:
        pass
    raise InvalidInput(
        "A date is written as 2025-01-31 or 2025-01-31T09:30:00Z; what was given is neither."
    )


def filter_json(tree: Filter) -> dict[str, Any]:
    """A filter as the JSON that `parse_filter` reads back."""
    match tree:
        case And(parts):
            return {"and": [filter_json(part) for part in parts]}
        case Or(parts):
            return {"or": [filter_json(part) for part in parts]}
        case Not(part):
            return {"not": filter_json(part)}
        case Equals(field, value):
            return {"field": field, "equals": _value_json(value)}
        case In(field, values):
            return {"field": field, "in": [_value_json(value) for value in values]}
        case Range(field):
            names = {ours: name for name, ours in _BOUNDS.items()}
            return {"field": field} | {
                names[name]: _value_json(value) for name, value in tree.bounds.items()
            }
        case Prefix(field, text):
            return {"field": field, "prefix": text}
        case Contains(field, text, ignore_case):
            return {"field": field, "contains": text} | (
                {"ignore_case": True} if ignore_case else {}
            )
        case Holds(field, values, every):
            return {"field": field, "holds_all" if every else "holds_any": list(values)}
        case Exists(field):
            return {"field": field, "exists": True}


def _value_json(value: Value) -> Any:
    return {"date": value.isoformat()} if isinstance(value, date) else value


# --- at the prompt --------------------------------------------------------------------------------------------------

_EXPRESSION_PATTERN = re.compile(
    r"\s*(?P<field>[^\s=!<>^~]+)\s*(?:(?P<sign>!=|>=|<=|[=<>^~])\s*(?P<value>.*?)\s*)?", re.DOTALL
)
_DATE_LIKE_PATTERN = re.compile(r"\d{4}-\d\d-\d\d(?:T\S+)?")
_RANGE_OPERATORS = {">=": "ge", ">": "gt", "<=": "le", "<": "lt"}


def parse_where(expressions: Sequence[str]) -> Filter | None:
    """What `--where` is given, all of which must hold; None for nothing.

    `FIELD=VALUE`, `!=`, `<`, `<=`, `>`, `>=`, `^` (begins with), `~` (has in it, whatever the case), or a FIELD alone
    (there is something in it). Several values of `=` and `!=` are separated by commas. A metadata value that looks like
    a date, a number, true or false is taken for one; in quotes it is text.

    Raises:
        InvalidInput: with a sentence that says what is wrong.
    """
    parts = tuple(_parse_expression(expression) for expression in expressions)
    if not parts:
        return None
    return check_filter_size(parts[0] if len(parts) == 1 else And(parts))


def _parse_expression(expression: str) -> Filter:
    found = _EXPRESSION_PATTERN.fullmatch(expression)
    if found is None:
        raise InvalidInput(
            f"A condition is written as metadata.year>=2024 is; {expression[:40]!r} is not."
        )
    field, sign, written = found["field"], found["sign"], found["value"]
    if sign is None:
        return Exists(field)
    if sign == "^":
        return Prefix(field, written)
    if sign == "~":
        return Contains(field, written, ignore_case=True)
    if sign in _RANGE_OPERATORS:
        return Range(field, **{_RANGE_OPERATORS[sign]: _parse_typed_value(field, written)})
    values = tuple(_parse_typed_value(field, one) for one in _split_values(written))
    same = Equals(field, values[0]) if len(values) == 1 else In(field, values)
    return Not(same) if sign == "!=" else same


def _split_values(text: str) -> Iterator[str]:
    """Values between commas; within quotes a comma is part of the text."""
    for found in re.finditer(r'\s*("[^"]*"|[^,]*?)\s*(?:,|$)', text):
        if found.start() < len(text) or not text:
            yield found[1]


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
