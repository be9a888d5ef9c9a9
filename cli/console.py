"""Parts that all commands share: the two consoles, common options, and output."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from core.errors import InvalidInput
from core.principal import Principal
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    from core.services import Services

# Without markup: names of files and tenants may contain square brackets.
out = Console(highlight=False, soft_wrap=True, markup=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
TenantOption = Annotated[
    str, typer.Option(help="Tenant; default: GROUNDWORK_TENANT.", show_default=False)
]
GroupsOption = Annotated[
    str, typer.Option(help="Your groups, separated by commas.", show_default=False)
]
ModeOption = Annotated[
    Literal["hybrid", "dense", "lexical"], typer.Option(help="Retrievers to use.")
]


def open_configured_services(settings: Settings) -> "Services":
    """Open the services of the configured database.

    Raises:
        InvalidInput: a setting names a part that is not registered, also one that the command at
            hand does not use.
        Unavailable, UnsafeDatabase: see `open_services`.
    """
    from core import logs
    from core.services import open_services

    _check_registered_names(settings)
    logs.configure_cli_logging()
    return open_services(settings)


def _check_registered_names(settings: Settings) -> None:
    from ingest.chunkers.registry import check_chunker_name

    check_chunker_name(settings.chunker)
    if settings.identity != Settings.model_fields["identity"].default:
        from serving.api.identity import check_provider_name

        check_provider_name(settings.identity)


def load_admin_settings() -> Settings:
    """Return the settings, with an address whose role may change the schema.

    Raises:
        InvalidInput: there is no such address.
    """
    settings = load_settings()
    if settings.database_url and not settings.admin_database_url:
        raise InvalidInput(
            "Set GROUNDWORK_ADMIN_DATABASE_URL to a role that may create roles and tables."
        )
    return settings


@contextmanager
def open_admin_conninfo() -> Iterator[str]:
    """Yield the address of the role that owns the tables. An embedded server runs meanwhile."""
    from core.services import start_embedded_postgres

    settings = load_admin_settings()
    if settings.admin_database_url:
        yield settings.admin_database_url
        return
    embedded, _ = start_embedded_postgres(settings)
    try:
        yield embedded.conninfo()
    finally:
        embedded.stop()


def build_principal(settings: Settings, tenant: str, groups: str) -> Principal:
    """Return the caller that the options of a command describe."""
    return Principal(tenant or settings.tenant, split_names(groups))


def split_names(separated: str) -> tuple[str, ...]:
    """Return names that are separated by commas."""
    return tuple(name.strip() for name in separated.split(",") if name.strip())


def print_json(value: Any) -> None:
    """Print a result as JSON on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows with the same columns as a table."""
    table = Table(*rows[0], title=title, box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values())
        )
    Console(highlight=False).print(table)


def flatten_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with nested values as columns of their own, such as `search_ms p50`."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{name} {key}": part for key, part in value.items()}
        else:
            flat[name] = value
    return flat


def print_facts(facts: dict[str, Any]) -> None:
    """Print named values, one per line."""
    for name, value in facts.items():
        out.print(f"{name.replace('_', ' ')}: {value}")


def print_error(sentence: str) -> int:
    """Print an error without secrets to standard error, and return the exit code."""
    from core.redaction import ERROR_REDACTED_KINDS, redact

    sentence = redact(sentence, ERROR_REDACTED_KINDS).text
    err.print(Text("error: ", style="red").append(sentence, style="default"))
    return 1


class _RateColumn(ProgressColumn):
    """Column with the rate per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


def create_progress_bar(*more: str) -> Progress:
    """Return a progress bar on standard error with a rate and the remaining time."""
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
    ]
    return Progress(
        *columns, _RateColumn(), *map(TextColumn, more), TimeRemainingColumn(), console=err
    )


def create_progress_callback(progress: Progress, bar: TaskID) -> Callable[[int], None]:
    """Return a function that advances a bar by a number of steps."""
    return lambda done: progress.advance(bar, done)
