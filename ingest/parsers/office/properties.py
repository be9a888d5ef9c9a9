"""Document properties of Office files, as their libraries represent them."""

from typing import Any

from ingest.parsers.builder import to_json_value

_NAMES = "author created modified subject keywords category language version".split()


def read_properties(properties: Any) -> dict[str, object]:
    """Return the properties that have a value."""
    values = {name: getattr(properties, name, None) for name in _NAMES}
    values["author"] = values["author"] or getattr(properties, "creator", None)  # openpyxl
    return {name: to_json_value(value) for name, value in values.items() if value}
