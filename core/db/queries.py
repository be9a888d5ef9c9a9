"""Named SQL statements: one `.sql` file for each subject, one block for each statement.

-- name: claim
-- Lease the next files of a run to one worker.
update run_item ...

QUERIES = load_queries(Path(__file__).with_name("queue.sql"))
connection.execute(QUERIES["claim"], values)
"""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import LiteralString, cast

from psycopg import sql

QUERY_BLOCK_PATTERN = re.compile(
    r"^-- name: (?P<name>\w+)\n(?P<text>.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL
)
PLACEHOLDER_PATTERN = re.compile(r"%(?:\((?P<name>\w+)\)s|%)")


def read_statement(path: Path) -> LiteralString:
    """Return the text of a `.sql` file that holds one statement.

    The file ships with the code and never holds user input, so its text counts as a literal.
    """
    return path.read_text(encoding="utf-8")


@cache
def load_queries(path: Path) -> Mapping[str, LiteralString]:
    """Return the blocks of a `.sql` file by name, each with its leading comment.

    Raises:
        ValueError: two blocks share a name.
    """
    queries: dict[str, LiteralString] = {}
    for block in QUERY_BLOCK_PATTERN.finditer(read_statement(path)):
        if block["name"] in queries:
            raise ValueError(
                f"{path.name} has two blocks named {block['name']}. Rename one of them."
            )
        queries[block["name"]] = cast(LiteralString, block["text"].strip())
    return MappingProxyType(queries)


def compose_query(query: LiteralString, **identifiers: str) -> sql.Composed:
    """Return a statement with its {names} replaced by quoted identifiers.

    Identifiers are the only part of a statement that is ever composed; values are always bound.
    """
    return sql.SQL(query).format(
        **{name: sql.Identifier(value) for name, value in identifiers.items()}
    )


@lru_cache(maxsize=128)
def number_placeholders(query: str) -> tuple[LiteralString, tuple[str, ...]]:
    """Return a query for `psycopg.RawCursor` and the names of its parameters in order.

    %(name)s becomes $1, $2, ... psycopg does the same, but repeats it at each call for a query of
    more than 4,096 characters.
    """
    numbers: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        return "%" if name is None else numbers.setdefault(name, f"${len(numbers) + 1}")

    text = PLACEHOLDER_PATTERN.sub(replace, query)
    return text, tuple(numbers)
