"""Fixtures of the tests of ingest."""

from collections.abc import Iterator

import pytest

from tests.support.web import WATCH, Site, serve_site


@pytest.fixture
def attempts() -> Iterator[list[object]]:
    """Connections and look-ups of names during the test."""
    with WATCH.record() as attempts:
        yield attempts


@pytest.fixture
def site() -> Iterator[Site]:
    """A site with one page, /guide."""
    with serve_site() as site:
        yield site
