"""What docker-compose.yml, the image and .env.example promise, read from the files; no Docker needed."""

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings
from ops import passwords
from tests.conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
TEXT = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"secrets", "migrate", "sample"}
LONG_LIVED = set(SERVICES) - ONCE
each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def variables(text: str) -> dict[str, str]:
    """The variables that a compose file reads, with the defaults it gives them."""
    return dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))


def mounted(service: dict[str, Any]) -> list[str]:
    """The volumes and folders that a service mounts."""
    mounts = service.get("volumes", [])
    return [
        mount["source"] if isinstance(mount, dict) else mount.rsplit(":/", 1)[0] for mount in mounts
    ]


def offered() -> dict[str, str]:
    """The variables that .env.example shows, all of them commented out."""
    return dict(re.findall(r"^# ([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))


@each_service
def test_ports_are_published_on_loopback_only(name):
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@each_service
def test_containers_are_sealed(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in service
    assert service["logging"]["options"]["max-size"]


@each_service
def test_no_setting_holds_a_password(name):
    for key, given in SERVICES[name].get("environment", {}).items():
        value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(given))
        assert not re.search(r"://[^/@]*:[^/@]*@", value), f"{key} has a password in its address"
        if re.search("PASSWORD|SECRET|TOKEN|KEY", key) and not key.endswith("_FILE"):
            assert value == "", f"{key} has a value of its own"


@each_service
def test_what_lives_long_is_watched_and_restarted_and_what_runs_once_is_not(name):
    service = SERVICES[name]
    if name in LONG_LIVED:
        assert service["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries", "start_period"} <= service[
            "healthcheck"
        ].keys()
    else:
        assert service["restart"] == "no"
        assert "healthcheck" not in service


@each_service
def test_dependencies_wait_for_what_they_need(name):
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if needed in ONCE else "service_healthy"
        assert how["condition"] == expected, needed


def test_one_image_is_built_once_for_everything_of_ours():
    ours = {name for name, service in SERVICES.items() if service["image"].startswith("groundwork")}
    assert ours == set(SERVICES) - {"database"}
    assert len({SERVICES[name]["image"] for name in ours}) == 1
    assert [name for name, service in SERVICES.items() if "build" in service] == ["secrets"]
    assert all(SERVICES[name]["init"] is True for name in ours)


def test_other_images_are_pinned():
    for image in [
        SERVICES["database"]["image"],
        *re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE),
    ]:
        tag = image.partition(":")[2]
        assert re.search(r"\d", tag), image
        assert tag != "latest"


def test_what_must_last_is_in_named_volumes():
    sources = {source for service in SERVICES.values() for source in mounted(service)}
    assert sources - COMPOSE["volumes"].keys() == {
        "${DOCUMENTS:-./sample}",
        "${MODELS_FILE:-./models.example.yaml}",
    }
    assert COMPOSE["volumes"].keys() <= sources
    assert "database:/var/lib/postgresql" in SERVICES["database"]["volumes"]
    assert "docker.sock" not in TEXT


def test_the_superusers_password_reaches_only_the_database_and_the_migrations():
    def holders(volume: str) -> set[str]:
        return {name for name, service in SERVICES.items() if volume in mounted(service)}

    assert holders("database-secrets") == {"secrets", "database"}
    assert holders("admin-secrets") == {"secrets", "migrate"}
    assert holders("application-secrets") == {"secrets", "service", "worker"}


def test_the_database_is_reached_by_nobody_but_those_who_need_it():
    on_data = {name for name, service in SERVICES.items() if "data" in service.get("networks", [])}
    assert on_data == {"database", "migrate", "service", "worker"}
    assert SERVICES["database"]["networks"] == ["data"]
    assert COMPOSE["networks"]["data"]["internal"] is True
    assert "ports" not in SERVICES["database"]


def test_the_example_names_every_setting_with_its_default():
    for name, field in Settings.model_fields.items():
        shown = offered().get(f"GROUNDWORK_{name.upper()}")
        default = (
            field.default.get_secret_value()
            if hasattr(field.default, "get_secret_value")
            else field.default
        )
        expected = str(default).lower() if isinstance(default, bool) else str(default)
        assert shown == expected, f"GROUNDWORK_{name.upper()}"


def test_the_example_names_what_compose_reads_and_changes_nothing():
    for name, default in variables(TEXT).items():
        assert name in offered()
        if default and not name.endswith("_URL"):  # addresses default to the container `database`
            assert offered()[name] == default
    assert all(line.startswith("#") for line in EXAMPLE.splitlines() if line)


def test_every_setting_reaches_its_container_or_is_the_containers_own():
    passed = {key for service in SERVICES.values() for key in service.get("environment", {})}
    own = {"GROUNDWORK_HOST", "GROUNDWORK_PORT", "GROUNDWORK_HOME", "GROUNDWORK_TENANT"}
    assert {f"GROUNDWORK_{name.upper()}" for name in Settings.model_fields} - passed == own


def test_the_image_gets_all_packages_and_nothing_private():
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "packages"
    ]["find"]["include"]
    assert {name.rstrip("*") for name in packages} <= allowed
    assert {
        "requirements.lock",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "sample",
        "ops",
    } <= allowed
    assert not allowed & {".env", ".git", ".venv", ".groundwork"}


def test_the_image_runs_as_nobody_in_particular_and_names_no_host():
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert not DOCKERFILE.startswith("# syntax")
    assert "://" not in DOCKERFILE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("database", "admin", "application"):
        (tmp_path / name).mkdir()
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_passwords_are_made_once_and_anew_when_asked(folder):
    passwords.write_passwords(folder)
    first = contents(folder)
    assert len(first) == 5
    passwords.write_passwords(folder)
    assert contents(folder) == first
    passwords.write_passwords(folder, new=True)
    assert all(first[name] != text for name, text in contents(folder).items())


def test_a_run_cut_short_is_made_good(folder):
    passwords.write_passwords(folder)
    whole = contents(folder)
    (folder / "admin" / "pgpass").unlink()
    (folder / "database" / "passwords.sql").unlink()
    (folder / "application" / ".pgpass").write_text("half a li")
    passwords.write_passwords(folder)
    assert contents(folder) == whole


def test_passwords_are_long_and_mean_nothing_to_a_pgpass_file(folder):
    passwords.write_passwords(folder)
    for role, file in (("postgres", "admin"), ("groundwork_app", "application")):
        line = (folder / file / "pgpass").read_text()
        assert re.fullmatch(rf"database:5432:\*:{role}:[A-Za-z0-9_-]{{43}}\n", line)
    assert (folder / "admin" / "pgpass").read_text()[-44:] != (
        folder / "application" / "pgpass"
    ).read_text()[-44:]


def test_pgpass_files_are_for_their_owner_only(folder):
    before = os.umask(0)
    try:
        passwords.write_passwords(folder)
    finally:
        os.umask(before)
    for name in ("admin", "application"):
        assert stat.S_IMODE((folder / name / "pgpass").stat().st_mode) == 0o600
