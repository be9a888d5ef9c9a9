"""Edition of a document: it distinguishes the versions of a text, and orders them.

An edition is a sequence of numbers, `7.4` or `2024-05-31`, and is compared number by number, so
that 7.10 is newer than 7.4. The first of these places that has one decides:

1. the metadata's `edition`, `version` or `revision`: front matter, or properties of the file;
2. the path, from its end: a file name that ends in a version or a date (`guide-2.1.pdf`,
   `prices_2024-05.xlsx`), or a folder that is one, alone or after a name (`7.4`, `v2`, `2024`,
   `powershell-7.4`);
3. the metadata's dates of change: `ms.date`, `updated`, `lastmod`, `last_updated`, `modified`,
   `date`.

A version comes before a date, because an old version may be the one that was edited last.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

VERSION_KEYS = ("edition", "version", "revision")
DATE_KEYS = ("ms.date", "updated", "lastmod", "last_updated", "modified", "date")
MONTH_FIRST_KEYS = ("ms.date",)  # Microsoft writes 06/07/2023 for 7 June

_NUMBERS_PATTERN = r"\d{1,9}(?:\.\d{1,9}){0,5}"
_DATE_PATTERN = r"(?:19|20)\d\d-\d\d(?:-\d\d)?"
_STATED_VERSION = re.compile(
    rf"(?:version |v)?({_DATE_PATTERN}|{_NUMBERS_PATTERN})(?:[-+ ].*)?", re.IGNORECASE
)
_DATE_OR_VERSION = rf"{_DATE_PATTERN}|\d{{1,9}}(?:\.\d{{1,9}}){{1,5}}"
_YEAR = r"(?:19|20)\d\d"
_FOLDER_EDITION = re.compile(
    rf"(?:.*[-_ ])?v?({_DATE_OR_VERSION})|(?:.*[-_ ])?v(\d{{1,9}})|({_YEAR})", re.IGNORECASE
)
_FILE_NAME_EDITION = re.compile(
    rf".*[-_ ]v?({_DATE_OR_VERSION})|.*[-_ ]v(\d{{1,9}})|.*[-_ ]({_YEAR})", re.IGNORECASE
)
_ISO_DATE = re.compile(rf"({_DATE_PATTERN})(?:[T ].*)?|((?:19|20)\d\d)")
_SLASH_DATE = re.compile(r"(\d\d?)/(\d\d?)/((?:19|20)\d\d)")


def detect_edition(path: str, metadata: Mapping[str, object]) -> str | None:
    """Return a document's edition from its metadata and path; None if neither names one."""
    editions = [
        *_find_stated_editions(metadata),
        *_find_path_editions(path),
        *_find_change_dates(metadata),
    ]
    return editions[0] if editions else None


def _find_stated_editions(metadata: Mapping[str, object]) -> Iterator[str]:
    for key in VERSION_KEYS:
        value = metadata.get(key)
        if isinstance(value, str | int | float):
            match = _STATED_VERSION.fullmatch(str(value).strip())
            if match:
                yield match[1]


def _find_path_editions(path: str) -> Iterator[str]:
    parts = PurePosixPath(path)
    name = parts.name
    if re.fullmatch(r"\.[A-Za-z]\w*", parts.suffix):
        name = name.removesuffix(parts.suffix)
    matches = [_FILE_NAME_EDITION.fullmatch(name)]
    matches += [_FOLDER_EDITION.fullmatch(folder) for folder in reversed(parts.parts[:-1])]
    for match in matches:
        if match:
            yield next(group for group in match.groups() if group)


def _find_change_dates(metadata: Mapping[str, object]) -> Iterator[str]:
    for key in DATE_KEYS:
        value = metadata.get(key)
        if isinstance(value, str | int):
            date = _parse_date(str(value).strip(), key)
            if date:
                yield date


def _parse_date(text: str, key: str) -> str | None:
    if match := _ISO_DATE.fullmatch(text):
        return match[1] or match[2]
    if match := _SLASH_DATE.fullmatch(text):
        return _parse_slash_date(int(match[1]), int(match[2]), match[3], key)
    return None


def _parse_slash_date(first: int, second: int, year: str, key: str) -> str | None:
    """Return a date with slashes as ISO date; None if day and month can't be told apart."""
    if key in MONTH_FIRST_KEYS or second > 12 >= first:
        month, day = first, second
    elif first > 12 >= second:
        month, day = second, first
    else:
        return None
    return f"{year}-{month:02}-{day:02}" if month <= 12 and day <= 31 else None
