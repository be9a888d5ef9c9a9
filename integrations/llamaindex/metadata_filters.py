"""LlamaIndex's metadata filters as Groundwork filters."""

from collections.abc import Callable
from typing import Any

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from core.errors import InvalidInput
from integrations.llamaindex.nodes import DOCUMENT_FIELDS, NODE_URI_PREFIX
from retrieval.filters import (
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
    Or,
    Prefix,
    Range,
)

# LlamaIndex's stores use these keys for the document that a node comes from.
SOURCE_DOCUMENT_KEYS = ("ref_doc_id", "doc_id", "document_id")
NEGATED_OPERATORS = (FilterOperator.NE, FilterOperator.NIN, FilterOperator.IS_EMPTY)
RANGE_BOUNDS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}

ConditionBuilder = Callable[[str], Filter]
"""Builds a condition on a field."""


def convert_filters(filters: MetadataFilters | None) -> Filter | None:
    """Return LlamaIndex's filters as one filter. A key names an entry of a node's metadata.

    Raises:
        InvalidInput: a filter has a value that its operator can't use.
    """
    parts = []
    for inner in filters.filters if filters else ():
        part = (
            convert_filters(inner) if isinstance(inner, MetadataFilters) else _convert_filter(inner)
        )
        if part is not None:
            parts.append(part)
    if filters is None or not parts:
        return None
    match filters.condition:
        case FilterCondition.OR:
            return Or(tuple(parts))
        case FilterCondition.NOT:
            return Not(Or(tuple(parts)))
    return And(tuple(parts))


def _convert_filter(metadata_filter: MetadataFilter) -> Filter:
    build = _select_builder(metadata_filter)
    key = metadata_filter.key
    is_source_key = key in SOURCE_DOCUMENT_KEYS
    tree = build(METADATA_PREFIX + ("ref_doc_id" if is_source_key else key))
    try:
        if is_source_key:  # only the passages of a file belong to the document itself
            tree = Or((tree, And((_lacks("ref_doc_id"), build("document_id")))))
        elif key in DOCUMENT_FIELDS:  # in a node, metadata takes precedence over document fields
            is_passage = Not(Prefix("uri", NODE_URI_PREFIX))
            tree = Or((tree, And((_lacks(key), is_passage, build(key)))))
    except InvalidInput:
        pass  # the document's field never has a value of this type; some metadata may
    return Not(tree) if metadata_filter.operator in NEGATED_OPERATORS else tree


def _lacks(key: str) -> Filter:
    return Not(Exists(METADATA_PREFIX + key))


def _select_builder(metadata_filter: MetadataFilter) -> ConditionBuilder:
    """Return the builder of a condition; negated operators get that of their opposite."""
    value: Any = metadata_filter.value
    operator = metadata_filter.operator
    match operator:
        case FilterOperator.IS_EMPTY:
            return Exists
        case FilterOperator.IN | FilterOperator.NIN:
            values = _require_list(metadata_filter)
            return lambda field: In(field, values)
        case FilterOperator.ANY:
            values = _require_list(metadata_filter)
            return lambda field: HoldsAny(field, values)
        case FilterOperator.ALL:
            values = _require_list(metadata_filter)
            return lambda field: HoldsAll(field, values)
        case FilterOperator.TEXT_MATCH | FilterOperator.TEXT_MATCH_INSENSITIVE:
            _require(metadata_filter, isinstance(value, str), "a text")
            ignore_case = operator == FilterOperator.TEXT_MATCH_INSENSITIVE
            return lambda field: Contains(field, value, ignore_case)
    _require(metadata_filter, isinstance(value, str | int | float), "one text or number")
    match operator:
        case FilterOperator.EQ | FilterOperator.NE:
            return lambda field: Equals(field, value)
        case FilterOperator.CONTAINS:
            return lambda field: HoldsAny(field, (value,))
        case FilterOperator.GT | FilterOperator.GTE | FilterOperator.LT | FilterOperator.LTE:
            bound = RANGE_BOUNDS[operator.value]
            return lambda field: Range(field, **{bound: value})
    raise InvalidInput(f"Groundwork has no filter {operator.value!r}. Use another operator.")


def _require_list(metadata_filter: MetadataFilter) -> tuple[Any, ...]:
    value = metadata_filter.value
    _require(metadata_filter, isinstance(value, list), "a list")
    return tuple(value) if isinstance(value, list) else ()


def _require(metadata_filter: MetadataFilter, is_valid: bool, expected: str) -> None:
    if not is_valid:
        raise InvalidInput(
            f"The filter {metadata_filter.operator.value!r} on {metadata_filter.key[:40]!r}"
            f" needs {expected}. Use is_empty to find missing values."
        )
