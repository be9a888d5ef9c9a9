"""Properties of docker-compose.yml, the image and .env.example, read without Docker."""

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


def compose_variables(text: str) -> dict[str, str]:
    """Return the variables that a compose file reads, with their defaults."""
    return dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))


def mounted_sources(service: dict[str, Any]) -> list[str]:
    """Return the volumes and folders that a service mounts."""
    mounts = service.get("volumes", [])
    return [
        mount["source"] if isinstance(mount, dict) else mount.rsplit(":/", 1)[0] for mount in mounts
    ]


def example_variables() -> dict[str, str]:
    """Return the variables in .env.example, all of them commented out."""
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
    for key, setting in SERVICES[name].get("environment", {}).items():
        value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(setting))
        assert not re.search(r"://[^/@]*:[^/@]*@", value), f"{key} has a password in its address"
        if re.search("PASSWORD|SECRET|TOKEN|KEY", key) and not key.endswith("_FILE"):
            assert value == "", f"{key} has a value of its own"


@each_service
def test_only_long_lived_services_are_checked_and_restarted(name):
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
def test_a_service_waits_for_its_dependencies(name):
    for dependency, options in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if dependency in ONCE else "service_healthy"
        assert options["condition"] == expected, dependency


def test_all_own_services_use_one_image_that_is_built_once():
    own = {name for name, service in SERVICES.items() if service["image"].startswith("groundwork")}
    assert own == set(SERVICES) - {"database"}
    assert len({SERVICES[name]["image"] for name in own}) == 1
    assert [name for name, service in SERVICES.items() if "build" in service] == ["secrets"]
    assert all(SERVICES[name]["init"] is True for name in own)


def test_other_images_are_pinned():
    for image in [
        SERVICES["database"]["image"],
        *re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE),
    ]:
        tag = image.partition(":")[2]
        assert re.search(r"\d", tag), image
        assert tag != "latest"


def test_lasting_data_is_in_named_volumes():
    sources = {source for service in SERVICES.values() for source in mounted_sources(service)}
    assert sources - COMPOSE["volumes"].keys() == {
        "${DOCUMENTS:-./sample}",
        "${MODELS_FILE:-./models.example.yaml}",
    }
    assert COMPOSE["volumes"].keys() <= sources
    assert "database:/var/lib/postgresql" in SERVICES["database"]["volumes"]
    assert "docker.sock" not in TEXT


def test_only_the_database_and_the_migration_get_the_superusers_password():
    def holders(volume: str) -> set[str]:
        return {name for name, service in SERVICES.items() if volume in mounted_sources(service)}

    assert holders("database-secrets") == {"secrets", "database"}
    assert holders("admin-secrets") == {"secrets", "migrate"}
    assert holders("application-secrets") == {"secrets", "service", "worker"}


def test_only_services_that_need_the_database_reach_it():
    on_data = {name for name, service in SERVICES.items() if "data" in service.get("networks", [])}
    assert on_data == {"database", "migrate", "service", "worker"}
    assert SERVICES["database"]["networks"] == ["data"]
    assert COMPOSE["networks"]["data"]["internal"] is True
    assert "ports" not in SERVICES["database"]


def test_the_example_lists_every_setting_with_its_default():
    for name, field in Settings.model_fields.items():
        default_in_example = example_variables().get(f"GROUNDWORK_{name.upper()}")
        default = (
            field.default.get_secret_value()
            if hasattr(field.default, "get_secret_value")
            else field.default
        )
        expected = str(default).lower() if isinstance(default, bool) else str(default)
        assert default_in_example == expected, f"GROUNDWORK_{name.upper()}"


def test_the_example_lists_all_variables_of_compose_as_comments():
    for name, default in compose_variables(TEXT).items():
        assert name in example_variables()
        if default and not name.endswith("_URL"):  # addresses default to the container `database`
            assert example_variables()[name] == default
    assert all(line.startswith("#") for line in EXAMPLE.splitlines() if line)


def test_every_setting_is_passed_to_a_container_or_set_by_it():
    passed = {key for service in SERVICES.values() for key in service.get("environment", {})}
    own = {"GROUNDWORK_HOST", "GROUNDWORK_PORT", "GROUNDWORK_HOME", "GROUNDWORK_TENANT"}
    assert {f"GROUNDWORK_{name.upper()}" for name in Settings.model_fields} - passed == own


def test_the_image_contains_all_packages_and_no_private_files():
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


def test_the_image_runs_unprivileged_and_names_no_host():
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


def test_passwords_are_created_once_or_on_request(folder):
    passwords.write_passwords(folder)
    first = contents(folder)
    assert len(first) == 5
    passwords.write_passwords(folder)
    assert contents(folder) == first
    passwords.write_passwords(folder, new=True)
    assert all(first[name] != text for name, text in contents(folder).items())


def test_an_interrupted_run_is_completed(folder):
    passwords.write_passwords(folder)
    complete = contents(folder)
    (folder / "admin" / "pgpass").unlink()
    (folder / "database" / "passwords.sql").unlink()
    (folder / "application" / ".pgpass").write_text("half a li")
    passwords.write_passwords(folder)
    assert contents(folder) == complete


def test_passwords_are_long_and_need_no_escape_in_a_pgpass_file(folder):
    passwords.write_passwords(folder)
    for role, file in (("postgres", "admin"), ("groundwork_app", "application")):
        line = (folder / file / "pgpass").read_text()
        assert re.fullmatch(rf"database:5432:\*:{role}:[A-Za-z0-9_-]{{43}}\n", line)
    assert (folder / "admin" / "pgpass").read_text()[-44:] != (
        folder / "application" / "pgpass"
    ).read_text()[-44:]


def test_only_the_owner_may_read_a_pgpass_file(folder):
    before = os.umask(0)
    try:
        passwords.write_passwords(folder)
    finally:
        os.umask(before)
    for name in ("admin", "application"):
        assert stat.S_IMODE((folder / name / "pgpass").stat().st_mode) == 0o600
