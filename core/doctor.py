"""Checks of the machine and the configuration, for `groundwork doctor`."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.db.checks import check_isolation, check_ready
from core.db.migrate import check_pgvector
from core.embedding import describe_model
from core.errors import GroundworkError
from core.services import open_services
from core.settings import Settings

GIBIBYTE = 2**30
MIN_MEMORY_BYTES = 2 * GIBIBYTE  # the model, PyTorch and PostgreSQL use about half of it
MIN_FREE_DISK_BYTES = 2 * GIBIBYTE


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one check: the state found, and how to correct it ("" if it is fine)."""

    check: str
    detail: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        """True if there is nothing to correct."""
        return not self.fix


def run_checks(settings: Settings) -> Iterator[CheckResult]:
    """Run all checks. They change nothing, but start the embedded PostgreSQL if it is used."""
    yield _check_memory()
    yield _check_disk_space(settings.home)
    yield _check_port(settings.host, settings.port)
    yield _run_check("model", lambda: _check_model(settings))
    yield _run_check("database", lambda: _check_database(settings))


def _check_memory() -> CheckResult:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = f"Use a machine with at least {MIN_MEMORY_BYTES // GIBIBYTE} GiB."
    fix = "" if size >= MIN_MEMORY_BYTES else needed
    return CheckResult("memory", f"{size / GIBIBYTE:.1f} GiB", fix)


def _check_disk_space(home: Path) -> CheckResult:
    folder = next(path for path in (home.resolve(), *home.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    needed = f"Free some space in {folder}, or set GROUNDWORK_HOME to another folder."
    fix = "" if free >= MIN_FREE_DISK_BYTES else needed
    return CheckResult("disk", f"{free / GIBIBYTE:.1f} GiB free", fix)


def _check_port(host: str, port: int) -> CheckResult:
    address = f"{host}:{port}"
    try:
        with socket.create_server((host, port)):
            return CheckResult("port", f"{address} is free")
    except OSError as error:
        fix = "Set GROUNDWORK_PORT to a free port."
        return CheckResult("port", f"{address} {error.strerror}", fix)


def _check_model(settings: Settings) -> str:
    model = describe_model(settings.embedding_model)
    return f"{model.name} {model.revision}, {model.dimension} dimensions"


def _check_database(settings: Settings) -> str:
    with open_services(settings) as services, services.database.connection() as connection:
        check_ready(connection)
        check_isolation(connection)
        row = connection.execute("show server_version").fetchone()
        version = row[0] if row else "?"
        kind = "embedded" if services.embedded_postgres else "configured"
        pgvector = check_pgvector(connection)
        return f"{kind} PostgreSQL {version}, pgvector {pgvector}, tenants are isolated"


def _run_check(check: str, probe: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(check, probe())
    except GroundworkError as error:
        return CheckResult(check, "not usable", str(error))
