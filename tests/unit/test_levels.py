"""Unit tests start nothing: no database, no model, no Prefect and no language model."""

import re

import pytest

from tests.conftest import ROOT

CHEAP_FIXTURES = {"_own_settings", "data"}


def test_unit_tests_use_only_cheap_fixtures(request: pytest.FixtureRequest) -> None:
    """Every other fixture in tests/conftest.py starts a server or loads a model."""
    code = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    expensive = set(re.findall(r"^@pytest\.fixture.*\ndef (\w+)", code, re.MULTILINE))
    expensive -= CHEAP_FIXTURES
    assert {"server", "services", "embedder", "engine", "language_model"} <= expensive
    unit_tests = [test for test in request.session.items if "tests/unit/" in test.nodeid]
    assert request.node in unit_tests
    assert [test.nodeid for test in unit_tests if expensive & set(test.fixturenames)] == []
