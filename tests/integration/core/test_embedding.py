"""Refusal of an embedding model that is not installed."""

import pytest

from core.embedding import describe_model
from core.errors import Unavailable


def test_a_model_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Unavailable, match=r"'/nowhere/x' can't be loaded\. Set GROUNDWORK_EMBED"):
        describe_model("/nowhere/x")
