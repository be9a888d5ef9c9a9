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

VERSION_KEYS = ("edition", "version", "revision")
DATE_KEYS = ("ms.date", "updated", "lastmod", "last_updated", "modified", "date")
MONTH_FIRST_KEYS = (
    "ms.date",
)  # Microsoft's convention, which the text itself doesn't tell: 06/07/2023 is of June

_NUMBERS_PATTERN = r"\d{1,9}(?:\.\d{1,9}){0,5}"
_DATE_PATTERN = r"(?:19|20)\d\d-\d\d(?:-\d\d)?"
_STATED_VERSION = re.compile(
    rf"(?:version |v)?({_DATE_PATTERN}|{_NUMBERS_PATTERN})(?:[-+ ].*)?", re.IGNORECASE
)
_FOLDER_EDITION = re.compile(
    rf"(?:.*[-_ ])?v?({_DATE_PATTERN}|\d{{1,9}}(?:\.\d{{1,9}}){{1,5}})|(?:.*[-_ ])?v(\d{{1,9}})|((?:19|20)\d\d)",
    re.IGNORECASE,
)
_FILE_NAME_EDITION = re.compile(
    rf".*[-_ ]v?({_DATE_PATTERN}|\d{{1,9}}(?:\.\d{{1,9}}){{1,5}})|.*[-_ ]v(\d{{1,9}})|.*[-_ ]((?:19|20)\d\d)",
    re.IGNORECASE,
)
_ISO_DATE = re.compile(rf"({_DATE_PATTERN})(?:[T ].*)?|((?:19|20)\d\d)")
_SLASH_DATE = re.compile(r"(\d\d?)/(\d\d?)/((?:19|20)\d\d)")


def detect_edition(path: str, metadata: Mapping[str, object]) -> str | None:
    """A document's edition by its path and metadata; None where neither says."""
    found = [
        *_find_stated_editions(metadata),
        *_find_path_editions(path),
        *_find_change_dates(metadata),
    ]
    return found[0] if found else None


def _find_stated_editions(metadata: Mapping[str, object]) -> Iterator[str]:
    for name in VERSION_KEYS:
        value = metadata.get(name)
        if isinstance(value, str | int | float) and (
            found := _STATED_VERSION.fullmatch(str(value).strip())
        ):
            yield found[1]


def _find_path_editions(path: str) -> Iterator[str]:
    parts = PurePosixPath(path)
    name = (
        parts.name.removesuffix(parts.suffix)
        if re.fullmatch(r"\.[A-Za-z]\w*", parts.suffix)
        else parts.name
    )
    matches = [
        _FILE_NAME_EDITION.fullmatch(name),
        *(_FOLDER_EDITION.fullmatch(folder) for folder in reversed(parts.parts[:-1])),
    ]
    for found in matches:
        if found:
            yield next(group for group in found.groups() if group)


def _find_change_dates(metadata: Mapping[str, object]) -> Iterator[str]:
    for name in DATE_KEYS:
        value = metadata.get(name)
        if isinstance(value, str | int):
            text = str(value).strip()
            if found := _ISO_DATE.fullmatch(text):
                yield found[1] or found[2]
            elif (found := _SLASH_DATE.fullmatch(text)) and (
                day := _parse_slash_date(int(found[1]), int(found[2]), found[3], name)
            ):
                yield day


def _parse_slash_date(first: int, second: int, year: str, key: str) -> str | None:
    """A date with slashes; None where it could be either of two."""
    if key in MONTH_FIRST_KEYS or second > 12 >= first:
        month, day = first, second
    elif first > 12 >= second:
        month, day = second, first
    else:
        return None
    return f"{year}-{month:02}-{day:02}" if month <= 12 and day <= 31 else None
