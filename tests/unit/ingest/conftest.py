"""Fixtures of the tests of ingest."""

from collections.abc import Iterator

import pytest

from tests.support.web import WATCH


@pytest.fixture
def attempts() -> Iterator[list[object]]:
    """Connections and look-ups of names during the test."""
    with WATCH.record() as attempts:
        yield attempts
