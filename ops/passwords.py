"""Make the passwords of the compose stack once, and put each where the one container that needs it reads it.

python ops/passwords.py            keep the passwords that are there; what docker-compose.yml's `secrets` runs
python ops/passwords.py --new      make new ones; then the database must be told (docs/guides/deploy.md)

    database/superuser-password    )  read by the database's image, whichever user it runs as
    database/application-password  )
    database/passwords.sql         )  creates the application's role, sets both passwords; may be repeated
    admin/pgpass                   the superuser's, for the migrations
    application/pgpass             the application's, for the service and the worker

libpq itself reads the pgpass files (PGPASSFILE), so no setting and no environment variable holds a password.
"""

import os
import secrets
import sys
from pathlib import Path

SUPERUSER = "postgres"
APPLICATION_ROLE = "groundwork_app"
SERVER_ADDRESS = "database:5432"
PASSWORD_BYTES = (
    32  # 43 letters, digits, - and _: none of them means anything to SQL or to a pgpass file
)

# The attributes are those of core/db/schema/01_roles.sql.
ROLES_SQL = """\
do $$
begin
    if to_regrole('{application}') is null then
        create role {application} login noinherit nosuperuser nocreatedb nocreaterole nobypassrls;
    end if;
end
$$;
alter role {application} password '{application_password}';
alter role {superuser} password '{superuser_password}';
"""


def write_passwords(folder: Path, *, new: bool = False) -> None:
    """Write the five files below `folder`; a run that was cut short is made good by the next."""
    superuser = _read_or_create_password(folder / "database" / "superuser-password", new)
    application = _read_or_create_password(folder / "database" / "application-password", new)
    roles = ROLES_SQL.format(
        superuser=SUPERUSER,
        superuser_password=superuser,
        application=APPLICATION_ROLE,
        application_password=application,
    )
    _write_atomically(folder / "database" / "passwords.sql", roles, 0o444)
    _write_atomically(
        folder / "admin" / "pgpass", f"{SERVER_ADDRESS}:*:{SUPERUSER}:{superuser}\n", 0o600
    )
    _write_atomically(
        folder / "application" / "pgpass",
        f"{SERVER_ADDRESS}:*:{APPLICATION_ROLE}:{application}\n",
        0o600,
    )


def _read_or_create_password(file: Path, new: bool) -> str:
    if new or not file.exists():
        _write_atomically(file, secrets.token_urlsafe(PASSWORD_BYTES), 0o444)
    return file.read_text()


def _write_atomically(file: Path, text: str, mode: int) -> None:
    """All of the file or nothing of it; libpq refuses a pgpass file that others may read."""
    draft = file.with_name(f".{file.name}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as opened:
        opened.write(text)
    draft.chmod(mode)
    draft.replace(file)


if __name__ == "__main__":
    write_passwords(Path("/secrets"), new="--new" in sys.argv[1:])
