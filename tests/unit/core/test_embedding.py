"""The embedder factory: the setting selects a provider, and anything else is a local model."""

from typing import ClassVar

import pytest

from core.embedding import (
    DEFAULT_PROVIDER,
    PROVIDERS,
    describe_model,
    load_embedder,
    split_model_setting,
)
from core.types import EmbeddingModel


class FakeEmbedder:
    """A provider that loads nothing."""

    loaded: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, name: str, dtype: str) -> None:
        self.loaded.append((name, dtype))

    @classmethod
    def describe(cls, name: str) -> EmbeddingModel:
        return EmbeddingModel(name, "1", 8)


@pytest.fixture
def fake_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROVIDERS, "fake", f"{__name__}:FakeEmbedder")
    FakeEmbedder.loaded.clear()


def test_a_registered_provider_gets_the_model_name(fake_provider: None) -> None:
    """One class and one line in the table are enough."""
    assert isinstance(load_embedder("fake:small", "float32"), FakeEmbedder)
    assert FakeEmbedder.loaded == [("small", "float32")]


def test_a_model_is_described_under_the_name_of_the_setting(fake_provider: None) -> None:
    """The index stores that name, and a later start compares it with the setting."""
    assert describe_model("fake:small:v2") == EmbeddingModel("fake:small:v2", "1", 8)
    assert FakeEmbedder.loaded == []


@pytest.mark.parametrize(
    "setting",
    ["all-MiniLM-L6-v2", "org/model", "C:\\models\\minilm", "/models/a:b", "./fake:small", "new:x"],
)
def test_a_name_without_a_registered_provider_is_a_local_model(
    setting: str, fake_provider: None
) -> None:
    """So a path may contain a colon."""
    assert split_model_setting(setting) == (DEFAULT_PROVIDER, setting)
