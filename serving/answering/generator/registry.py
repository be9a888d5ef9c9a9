"""Answer generators by name.

To add one, write a subclass of `AnswerGenerator` and add a line to `GENERATORS`.
"""

from collections.abc import Callable, Mapping

from core.errors import InvalidInput
from core.principal import Principal
from core.settings import Settings
from serving.answering.extractive import ExtractiveGenerator
from serving.answering.generator.answer_generator import AnswerGenerator
from serving.answering.generator.llm import LLMGenerator
from serving.gateway.types import Models

GeneratorFactory = Callable[[Models | None, Principal], AnswerGenerator]


def create_generator(
    settings: Settings, models: Models | None, principal: Principal
) -> AnswerGenerator:
    """Return the configured generator; by default a language model if there is one.

    Raises:
        InvalidInput: there is no generator of that name, or it lacks a language model.
    """
    name = settings.generator or ("model" if models else "extractive")
    if name not in GENERATORS:
        raise InvalidInput(
            f"GROUNDWORK_GENERATOR={name} is not a known generator."
            f" Use one of: {', '.join(GENERATORS)}."
        )
    return GENERATORS[name](models, principal)


def _create_llm_generator(models: Models | None, principal: Principal) -> AnswerGenerator:
    if models is None:
        raise InvalidInput("GROUNDWORK_GENERATOR=model needs a models file. Set GROUNDWORK_MODELS.")
    return LLMGenerator(models, principal, context_tokens=models.context_size(principal))


GENERATORS: Mapping[str, GeneratorFactory] = {
    "extractive": lambda models, principal: ExtractiveGenerator(),
    "model": _create_llm_generator,
}
