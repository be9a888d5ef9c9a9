"""Which edition of a text a document is: what tells its versions apart, and which of them is newer.

An edition is numbers in order, `7.4` or `2024-05-31`, and is compared number by number, so that 7.10 is newer than 7.4.
The first of these that says one decides:

1. the metadata's `edition`, `version` or `revision`: front matter, or a file's own properties;
2. the path, from its end: a file's name that ends in a version or a date (`guide-2.1.pdf`, `prices_2024-05.xlsx`), or a
   folder that is one, alone or after a name (`7.4`, `v2`, `2024`, `powershell-7.4`);
3. the metadata's dates of change: `ms.date`, `updated`, `lastmod`, `last_updated`, `modified`, `date`.

A version stands before a date because an old version may be the one that was edited last.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

VERSIONS = ("edition", "version", "revision")
DATES = ("ms.date", "updated", "lastmod", "last_updated", "modified", "date")
MONTH_FIRST = ("ms.date",)  # Microsoft's convention, which the text itself doesn't tell: 06/07/2023 is of June

_NUMBERS = r"\d{1,9}(?:\.\d{1,9}){0,5}"
_DATE = r"(?:19|20)\d\d-\d\d(?:-\d\d)?"
_VERSION = re.compile(rf"(?:version |v)?({_DATE}|{_NUMBERS})(?:[-+ ].*)?", re.IGNORECASE)
_FOLDER = re.compile(
    rf"(?:.*[-_ ])?v?({_DATE}|\d{{1,9}}(?:\.\d{{1,9}}){{1,5}})|(?:.*[-_ ])?v(\d{{1,9}})|((?:19|20)\d\d)", re.IGNORECASE
)
_STEM = re.compile(
    rf".*[-_ ]v?({_DATE}|\d{{1,9}}(?:\.\d{{1,9}}){{1,5}})|.*[-_ ]v(\d{{1,9}})|.*[-_ ]((?:19|20)\d\d)", re.IGNORECASE
)
_DAY = re.compile(rf"({_DATE})(?:[T ].*)?|((?:19|20)\d\d)")
_SLASHED = re.compile(r"(\d\d?)/(\d\d?)/((?:19|20)\d\d)")


def edition(path: str, metadata: Mapping[str, object]) -> str | None:
    """A document's edition by its path and metadata; None where neither says."""
    found = [*_stated(metadata), *_in_path(path), *_dated(metadata)]
    return found[0] if found else None


def _stated(metadata: Mapping[str, object]) -> Iterator[str]:
    for name in VERSIONS:
        value = metadata.get(name)
        if isinstance(value, str | int | float) and (found := _VERSION.fullmatch(str(value).strip())):
            yield found[1]


def _in_path(path: str) -> Iterator[str]:
    parts = PurePosixPath(path)
    name = parts.name.removesuffix(parts.suffix) if re.fullmatch(r"\.[A-Za-z]\w*", parts.suffix) else parts.name
    matches = [_STEM.fullmatch(name), *(_FOLDER.fullmatch(folder) for folder in reversed(parts.parts[:-1]))]
    for found in matches:
        if found:
            yield next(group for group in found.groups() if group)


def _dated(metadata: Mapping[str, object]) -> Iterator[str]:
    for name in DATES:
        value = metadata.get(name)
        if isinstance(value, str | int):
            text = str(value).strip()
            if found := _DAY.fullmatch(text):
                yield found[1] or found[2]
            elif (found := _SLASHED.fullmatch(text)) and (day := _day(int(found[1]), int(found[2]), found[3], name)):
                yield day


def _day(first: int, second: int, year: str, name: str) -> str | None:
    """A date with slashes; None where it could be either of two."""
    if name in MONTH_FIRST or second > 12 >= first:
        month, day = first, second
    elif first > 12 >= second:
        month, day = second, first
    else:
        return None
    return f"{year}-{month:02}-{day:02}" if month <= 12 and day <= 31 else None
