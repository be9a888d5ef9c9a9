"""The registry creates the configured answer generator."""

import pytest

from core.errors import InvalidInput
from core.principal import Principal
from core.settings import Settings
from serving.answering.extractive import ExtractiveGenerator
from serving.answering.generator.llm import LLMGenerator
from serving.answering.generator.registry import create_generator
from tests.support.scripted import ScriptedModels

ALDER = Principal("alder")


def settings(generator: str = "") -> Settings:
    return Settings(_env_file=None, generator=generator)


def test_by_default_a_language_model_writes_if_there_is_one() -> None:
    assert isinstance(create_generator(settings(), None, ALDER), ExtractiveGenerator)
    assert isinstance(create_generator(settings(), ScriptedModels(), ALDER), LLMGenerator)


def test_the_setting_selects_a_generator() -> None:
    generator = create_generator(settings("extractive"), ScriptedModels(), ALDER)
    assert isinstance(generator, ExtractiveGenerator)


@pytest.mark.parametrize(
    ("name", "message"),
    [("poet", "Use one of: extractive, model."), ("model", "Set GROUNDWORK_MODELS.")],
)
def test_a_wrong_setting_is_refused_with_a_sentence(name: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        create_generator(settings(name), None, ALDER)
