"""Filters: a small tree of typed conditions that selects documents.

    And((Prefix("path", "policies/"), Range("metadata.year", gte=2024),
         Not(Equals("language", "de"))))

The same as JSON, which `parse_filter` reads and `filter_json` writes:

    {"and": [{"field": "path", "prefix": "policies/"}, {"field": "metadata.year", "gte": 2024},
             {"not": {"field": "language", "equals": "de"}}]}

A condition tests a field of the document, or a key of its metadata by `metadata.<key>`. Types never
mix: the text "5" is not the number 5. A condition on a missing field, or on a value of another
type, does not hold (so its `Not` does). A date means its whole day in UTC; a time without a zone is
in UTC. In JSON the date of a metadata key is {"date": "2025-01-31"}; for `ingested_at` the text is
enough.

Every class checks itself when it is built and raises InvalidInput. retrieval/filter_sql.py compiles
a tree to SQL.
"""

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self, TypeAlias, cast

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    StrictStr,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.dataclasses import dataclass, rebuild_dataclass

from core.errors import InvalidInput

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

MAX_NESTING_LEVELS = 10  # levels of and, or, not, and of the conditions below them
MAX_CONDITIONS = 100
MAX_VALUES = 1_000  # of one condition
MAX_VALUE_CHARACTERS = 1_000
MAX_KEY_CHARACTERS = 200
MAX_INTEGER = 2**63
VALID_YEARS = range(1000, 9999)

# --- fields and values

_VALUE_TYPES: tuple[tuple[Any, str], ...] = (
    (bool, "boolean"),
    (str, "text"),
    ((int, float), "number"),
    (date, "date"),
)


def field_kind(field: str) -> FieldKind:
    """Return the type of a field's values.

    Raises:
        InvalidInput: a filter can't use this field.
    """
    if field in FIELDS:
        return FIELDS[field]
    if not field.startswith(METADATA_PREFIX):
        raise InvalidInput(
            f"There is no field {field[:40]!r} to filter by."
            f" Use metadata.<key> or one of {', '.join(FIELDS)}."
        )
    key = field.removeprefix(METADATA_PREFIX)
    if not key or not key.isprintable() or len(key) > MAX_KEY_CHARACTERS:
        raise InvalidInput(
            f"{key[:40]!r} is not a metadata key."
            f" Use 1 to {MAX_KEY_CHARACTERS} printable characters."
        )
    return "metadata"


def parse_date(text: object) -> date:
    """Return a day (2025-01-31) or a moment (2025-01-31T09:30:00+01:00) in ISO 8601."""
    try:
        if isinstance(text, str) and len(text) == len("2025-01-31"):
            return date.fromisoformat(text)
        if isinstance(text, str) and len(text) <= MAX_KEY_CHARACTERS:
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidInput("This is not a date. Write it as 2025-01-31 or 2025-01-31T09:30:00Z.")


def _type_of(value: object) -> str | None:
    return next((name for types, name in _VALUE_TYPES if isinstance(value, types)), None)


def _check_field(field: str) -> str:
    field_kind(field)
    return field


def _check_part_of_text(text: str, info: ValidationInfo) -> str:
    field = info.data.get("field")  # None: pydantic reports the field
    if field and field_kind(field) not in ("text", "metadata"):
        raise InvalidInput(f"The field {field} is not a text. Use equals, in or a range.")
    return _check_text(text)


def _check_text(text: str) -> str:
    if len(text) > MAX_VALUE_CHARACTERS:
        raise InvalidInput(f"The text is longer than {MAX_VALUE_CHARACTERS:,} characters. Cut it.")
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput("The text has a character that no document can contain. Remove it.")
    return text


def _check_value(value: Any, info: ValidationInfo) -> "Value":
    """Return a value that the condition's field can have; dates of JSON become dates."""
    if "field" not in info.data:
        return cast(Value, value)  # pydantic reports the field
    field = info.data["field"]
    kind = field_kind(field)
    if isinstance(value, dict) and value.keys() == {"date"}:
        value = parse_date(value["date"])
    elif isinstance(value, str) and kind == "date":
        value = parse_date(value)
    value_type = _type_of(value)
    if value_type is None or kind not in ("metadata", value_type):
        expected = "a text, a number, a date, true or false" if kind == "metadata" else f"a {kind}"
        raise InvalidInput(f"The field {field} can't be compared with this value. Use {expected}.")
    if value_type == "text":
        return _check_text(value)
    if value_type == "date" and value.year not in VALID_YEARS:
        raise InvalidInput(f"The year {value.year} for {field} is too far away. Use 1000 to 9998.")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise InvalidInput(f"The number for {field} is too large. Stay within 64 bits.")
    if value_type == "number" and not math.isfinite(value):
        raise InvalidInput(f"The number for {field} is not finite. Use an ordinary number.")
    return cast(Value, value)


def _check_list_value(value: object, info: ValidationInfo) -> "Value":
    field = info.data.get("field")
    if field and field_kind(field) != "metadata":
        raise InvalidInput(f"The field {field} is not a list. Use equals or in.")
    checked = _check_value(value, info)
    if isinstance(checked, date):
        raise InvalidInput("A list can't be searched for a date. Write the date as a text.")
    return checked


def _write_value(value: "Value") -> object:
    return {"date": value.isoformat()} if isinstance(value, date) else value


_SCALAR_SCHEMAS: list[dict[str, Any]] = [{"type": t} for t in ("string", "number", "boolean")]
_DATE_SCHEMA = {"type": "object", "properties": {"date": {"type": "string"}}}

FieldName = Annotated[StrictStr, AfterValidator(_check_field)]
Text = Annotated[StrictStr, AfterValidator(_check_part_of_text)]
Value = Annotated[
    str | bool | int | float | date,  # a datetime is a date as well
    PlainValidator(_check_value),
    PlainSerializer(_write_value),
    WithJsonSchema({"anyOf": [*_SCALAR_SCHEMAS, _DATE_SCHEMA]}),
]
ListValue = Annotated[
    str | bool | int | float,
    PlainValidator(_check_list_value),
    WithJsonSchema({"anyOf": _SCALAR_SCHEMAS}),
]
Values = Annotated[tuple[Value, ...], Field(min_length=1, max_length=MAX_VALUES)]
ListValues = Annotated[tuple[ListValue, ...], Field(min_length=1, max_length=MAX_VALUES)]
Bound = Annotated[Value | None, Field(exclude_if=lambda bound: bound is None)]

# --- conditions

_STRICT = ConfigDict(extra="forbid", serialize_by_alias=True)


class _Node:
    __slots__ = ()

    @model_validator(mode="wrap")
    @classmethod
    def _raise_invalid_input(cls, data: object, build: Callable[[object], Self]) -> Self:
        try:
            return build(data)
        except ValidationError as error:
            raise _invalid_filter(error) from error


@dataclass(frozen=True, slots=True, config=_STRICT)
class Equals(_Node):
    """The field has this value."""

    field: FieldName
    equals: Value


@dataclass(frozen=True, slots=True, config=_STRICT)
class In(_Node):
    """The field has one of these values."""

    field: FieldName
    in_: Values = Field(alias="in")


@dataclass(frozen=True, slots=True, config=_STRICT)
class Range(_Node):
    """The field lies within bounds of one type; texts are ordered by code point."""

    field: FieldName
    gte: Bound = None
    gt: Bound = None
    lte: Bound = None
    lt: Bound = None

    def __post_init__(self) -> None:
        types = {_type_of(bound) for bound in self.bounds.values()}
        if len(types) != 1 or types == {"boolean"}:
            raise InvalidInput(
                f"The bounds of {self.field} are not of one type. Use numbers, dates or texts."
            )

    @property
    def bounds(self) -> dict[str, Value]:
        """The bounds that are set, by name."""
        bounds = {"gte": self.gte, "gt": self.gt, "lte": self.lte, "lt": self.lt}
        return {name: bound for name, bound in bounds.items() if bound is not None}


@dataclass(frozen=True, slots=True, config=_STRICT)
class Prefix(_Node):
    """The field is a text that begins with this one."""

    field: FieldName
    prefix: Text


@dataclass(frozen=True, slots=True, config=_STRICT)
class Contains(_Node):
    """The field is a text that contains this one. PostgreSQL's lower() removes the case."""

    field: FieldName
    contains: Text
    ignore_case: Annotated[StrictBool, Field(exclude_if=lambda ignored: not ignored)] = False


@dataclass(frozen=True, slots=True, config=_STRICT)
class HoldsAny(_Node):
    """The field is a list in the metadata with at least one of these values."""

    field: FieldName
    holds_any: ListValues


@dataclass(frozen=True, slots=True, config=_STRICT)
class HoldsAll(_Node):
    """The field is a list in the metadata with all of these values."""

    field: FieldName
    holds_all: ListValues


@dataclass(frozen=True, slots=True, config=_STRICT)
class Exists(_Node):
    """The field is not missing, null or empty; with `exists` false, it is one of these."""

    field: FieldName
    exists: StrictBool = True


# --- trees


class _Tree(_Node):
    __slots__ = ()

    def __post_init__(self) -> None:
        levels, conditions = _measure(cast(Any, self))
        if levels > MAX_NESTING_LEVELS:
            raise InvalidInput(
                f"The filter is nested too deep. Use at most {MAX_NESTING_LEVELS} levels."
            )
        if conditions > MAX_CONDITIONS:
            raise InvalidInput(f"The filter is too large. Use at most {MAX_CONDITIONS} conditions.")


@dataclass(frozen=True, slots=True, config=_STRICT)
class And(_Tree):
    """All parts hold."""

    and_: "Parts" = Field(alias="and")


@dataclass(frozen=True, slots=True, config=_STRICT)
class Or(_Tree):
    """At least one part holds."""

    or_: "Parts" = Field(alias="or")


@dataclass(frozen=True, slots=True, config=_STRICT)
class Not(_Tree):
    """The part does not hold."""

    not_: "Filter" = Field(alias="not")


def _measure(node: "Filter") -> tuple[int, int]:
    """Return the levels and the conditions of a tree."""
    match node:
        case And(parts) | Or(parts):
            measured = [_measure(part) for part in parts]
        case Not(part):
            measured = [_measure(part)]
        case _:
            return 1, 1
    return 1 + max(levels for levels, _ in measured), sum(count for _, count in measured)


_CLASS_BY_KEY = {
    "and": "And",
    "or": "Or",
    "not": "Not",
    "equals": "Equals",
    "in": "In",
    **dict.fromkeys(("gt", "gte", "lt", "lte"), "Range"),
    "prefix": "Prefix",
    "contains": "Contains",
    "holds_any": "HoldsAny",
    "holds_all": "HoldsAll",
    "exists": "Exists",
}


def _class_name(node: object) -> str | None:
    if not isinstance(node, dict):
        return type(node).__name__
    return next((name for key, name in _CLASS_BY_KEY.items() if key in node), None)


def _invalid_filter(error: ValidationError) -> InvalidInput:
    """Return pydantic's first error in the words of JSON."""
    first = error.errors()[0]
    message = first["msg"].replace("tuple", "list").replace("Tuple", "The list")
    message = message.replace("keyword argument", "key")
    where = f" at {str(first['loc'][-1])[:40]!r}" if first["loc"] else ""
    return InvalidInput(
        f"The filter can't be read{where}: {message}."
        ' Use {"field": "metadata.year", "gte": 2024} or another object'
        f" with {', '.join(_CLASS_BY_KEY)}."
    )


Condition: TypeAlias = Equals | In | Range | Prefix | Contains | HoldsAny | HoldsAll | Exists
Filter = Annotated[
    Annotated[And, Tag("And")]
    | Annotated[Or, Tag("Or")]
    | Annotated[Not, Tag("Not")]
    | Annotated[Equals, Tag("Equals")]
    | Annotated[In, Tag("In")]
    | Annotated[Range, Tag("Range")]
    | Annotated[Prefix, Tag("Prefix")]
    | Annotated[Contains, Tag("Contains")]
    | Annotated[HoldsAny, Tag("HoldsAny")]
    | Annotated[HoldsAll, Tag("HoldsAll")]
    | Annotated[Exists, Tag("Exists")],
    Discriminator(_class_name, "filter", "This is not a filter"),
]
Parts = Annotated[tuple[Filter, ...], Field(min_length=1, max_length=MAX_CONDITIONS)]
for _node in (And, Or, Not):
    rebuild_dataclass(cast(Any, _node))
_ADAPTER: TypeAdapter[Filter] = TypeAdapter(Filter)


def parse_filter(data: object) -> Filter:
    """Return the filter that JSON, already loaded, describes.

    Raises:
        InvalidInput: the JSON is not a filter, or the filter is too large.
    """
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        raise _invalid_filter(error) from error


def filter_json(tree: Filter) -> dict[str, Any]:
    """Return a filter as JSON that `parse_filter` reads back."""
    return cast(dict[str, Any], _ADAPTER.dump_python(tree, mode="json", by_alias=True))
