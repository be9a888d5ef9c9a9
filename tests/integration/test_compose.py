"""The SQL that creates the roles of the compose stack runs on a real database."""

from pathlib import Path

import psycopg
import pytest

from ops import passwords


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("database", "admin", "application"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_the_roles_can_be_created_twice(folder, server):
    passwords.write_passwords(folder)
    roles = (folder / "database" / "passwords.sql").read_text()
    with psycopg.connect(server.conninfo(dbname="postgres")) as connection:
        connection.execute(roles)
        connection.execute(roles)
        row = connection.execute(
            "select rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls"
            " from pg_roles where rolname = 'groundwork_app'"
        ).fetchone()
        connection.rollback()
    assert row == (True, False, False, False, False, False)
