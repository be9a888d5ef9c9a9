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

LEAST_MEMORY = 2 * 2**30  # bytes: the model, PyTorch and PostgreSQL together take about half of it
LEAST_DISK = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and the fix where it is not as it should be ("" where it is)."""

    check: str
    found: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to mend."""
        return not self.fix


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check in turn; none of them changes anything but starting the embedded database."""
    yield _memory()
    yield _disk(settings.home)
    yield _port(settings.host, settings.port)
    yield _try("model", lambda: _model(settings))
    yield _try("database", lambda: _database(settings))


def _memory() -> Finding:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fix = "" if size >= LEAST_MEMORY else f"Use a machine with at least {LEAST_MEMORY / 2**30:.0f} GiB."
    return Finding("memory", f"{size / 2**30:.1f} GiB", fix)


def _disk(home: Path) -> Finding:
    folder = next(path for path in (home.resolve(), *home.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    fix = "" if free >= LEAST_DISK else f"Free some space below {folder}, or point GROUNDWORK_HOME elsewhere."
    return Finding("disk", f"{free / 2**30:.1f} GiB free", fix)


def _port(host: str, port: int) -> Finding:
    try:
        with socket.create_server((host, port)):
            return Finding("port", f"{host}:{port} is free")
    except OSError as error:
        return Finding("port", f"{host}:{port} {error.strerror}", "Set GROUNDWORK_PORT to a free port.")


def _model(settings: Settings) -> str:
    model = describe_model(settings.embedding_model)
    return f"{model.name} {model.revision}, {model.dimension} dimensions"


def _database(settings: Settings) -> str:
    with open_services(settings) as services, services.database.connection() as connection:
        check_ready(connection)
        check_isolation(connection)
        version = connection.execute("show server_version").fetchone()
        kind = "embedded" if services.embedded else "configured"
        return (
            f"{kind} PostgreSQL {version[0] if version else '?'}, pgvector {check_pgvector(connection)}, tenants apart"
        )


def _try(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, look())
    except GroundworkError as error:
        return Finding(check, "not usable", str(error))
