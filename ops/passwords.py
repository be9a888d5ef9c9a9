"""Create the passwords of the compose stack once, each in the volume of its reader.

python ops/passwords.py            keep existing passwords (the service `secrets` runs this)
python ops/passwords.py --new      create new ones; docs/guides/deploy.md says how to activate them

    database/superuser-password    )  read by any user of the database's image
    database/application-password  )
    database/passwords.sql         )  creates the application role, sets both passwords; repeatable
    admin/pgpass                   password of the superuser, for `groundwork migrate`
    application/pgpass             password of the application role, for the service and the worker

libpq reads the pgpass files itself (PGPASSFILE), so no setting or environment variable holds a
password.
"""

import os
import secrets
import sys
from pathlib import Path

SUPERUSER = "postgres"
APPLICATION_ROLE = "groundwork_app"
SERVER_ADDRESS = "database:5432"
# 43 letters, digits, - and _, none of which is special in SQL or in a pgpass file.
PASSWORD_BYTES = 32

# Same attributes as in core/db/schema/01_roles.sql.
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
    """Write the five files below `folder`. A later run completes an interrupted one."""
    superuser = _read_or_create_password(folder / "database" / "superuser-password", new)
    application = _read_or_create_password(folder / "database" / "application-password", new)
    roles = ROLES_SQL.format(
        superuser=SUPERUSER,
        superuser_password=superuser,
        application=APPLICATION_ROLE,
        application_password=application,
    )
    _write_atomically(folder / "database" / "passwords.sql", roles, 0o444)
    _write_pgpass(folder / "admin" / "pgpass", SUPERUSER, superuser)
    _write_pgpass(folder / "application" / "pgpass", APPLICATION_ROLE, application)


def _read_or_create_password(file: Path, new: bool) -> str:
    if new or not file.exists():
        _write_atomically(file, secrets.token_urlsafe(PASSWORD_BYTES), 0o444)
    return file.read_text()


def _write_pgpass(file: Path, role: str, password: str) -> None:
    _write_atomically(file, f"{SERVER_ADDRESS}:*:{role}:{password}\n", 0o600)


def _write_atomically(file: Path, text: str, mode: int) -> None:
    """Write the file completely or not at all. libpq refuses a pgpass file that others may read."""
    draft = file.with_name(f".{file.name}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as opened:
        opened.write(text)
    draft.chmod(mode)
    draft.replace(file)


if __name__ == "__main__":
    write_passwords(Path("/secrets"), new="--new" in sys.argv[1:])
