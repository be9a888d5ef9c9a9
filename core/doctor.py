"""Is this machine fit, and the configuration right? Each finding says what was seen and, if it is wrong, what to do."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.db.database import check_isolation, check_ready
from core.db.migrate import check_pgvector
from core.embedding import describe_model
from core.errors import GroundworkError
from core.services import open_services
from core.settings import Settings

MIN_MEMORY_BYTES = (
    2 * 2**30
)  # bytes: the model, PyTorch and PostgreSQL together take about half of it
MIN_FREE_DISK_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: what was found, and the fix where it is not as it should be ("" where it is)."""

    check: str
    detail: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to mend."""
        return not self.fix


def run_checks(settings: Settings) -> Iterator[CheckResult]:
    """Every check in turn; none of them changes anything but starting the embedded database."""
    yield _check_memory()
    yield _check_disk_space(settings.home)
    yield _check_port(settings.host, settings.port)
    yield _run_check("model", lambda: _check_model(settings))
    yield _run_check("database", lambda: _check_database(settings))


def _check_memory() -> CheckResult:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fix = (
        ""
        if size >= MIN_MEMORY_BYTES
        else f"Use a machine with at least {MIN_MEMORY_BYTES / 2**30:.0f} GiB."
    )
    return CheckResult("memory", f"{size / 2**30:.1f} GiB", fix)


def _check_disk_space(home: Path) -> CheckResult:
    folder = next(path for path in (home.resolve(), *home.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    fix = (
        ""
        if free >= MIN_FREE_DISK_BYTES
        else f"Free some space below {folder}, or point GROUNDWORK_HOME elsewhere."
    )
    return CheckResult("disk", f"{free / 2**30:.1f} GiB free", fix)


def _check_port(host: str, port: int) -> CheckResult:
    try:
        with socket.create_server((host, port)):
            return CheckResult("port", f"{host}:{port} is free")
    except OSError as error:
        return CheckResult(
            "port", f"{host}:{port} {error.strerror}", "Set GROUNDWORK_PORT to a free port."
        )


def _check_model(settings: Settings) -> str:
    model = describe_model(settings.embedding_model)
    return f"{model.name} {model.revision}, {model.dimension} dimensions"


def _check_database(settings: Settings) -> str:
    with open_services(settings) as services, services.database.connection() as connection:
        check_ready(connection)
        check_isolation(connection)
        version = connection.execute("show server_version").fetchone()
        kind = "embedded" if services.embedded_postgres else "configured"
        return f"{kind} PostgreSQL {version[0] if version else '?'}, pgvector {check_pgvector(connection)}, tenants apart"


def _run_check(check: str, probe: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(check, probe())
    except GroundworkError as error:
        return CheckResult(check, "not usable", str(error))
