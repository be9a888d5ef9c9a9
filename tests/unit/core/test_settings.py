"""Settings: read from the environment, with defaults; invalid values are refused by name."""

import pytest

from core.errors import InvalidInput
from core.settings import Settings, load_settings
from tests.conftest import ROOT


def test_the_example_file_changes_nothing() -> None:
    """A copy as `.env` keeps all defaults."""
    assert Settings(_env_file=ROOT / ".env.example") == Settings(_env_file=None)


def test_a_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name with the prefix; an empty variable counts as missing."""
    monkeypatch.setenv("GROUNDWORK_TENANT", "acme")
    monkeypatch.setenv("GROUNDWORK_HOST", "")
    assert (load_settings().tenant, load_settings().host) == ("acme", "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "abc"), ("PORT", "70000"), ("REDACT", "nothing"), ("EMBEDDING_DTYPE", "int4")],
)
def test_an_invalid_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The error names the variable and the page with the valid values."""
    monkeypatch.setenv(f"GROUNDWORK_{name}", value)
    with pytest.raises(InvalidInput, match=rf"GROUNDWORK_{name} .*docs/reference/settings.md"):
        load_settings()


def test_a_key_is_not_in_a_printed_setting() -> None:
    """Neither in repr nor in a dump."""
    settings = Settings(_env_file=None, jwt_key="0123456789abcdef0123456789abcdef")  # type: ignore[arg-type]
    assert "0123456789abcdef" not in repr(settings) + str(settings.model_dump())
