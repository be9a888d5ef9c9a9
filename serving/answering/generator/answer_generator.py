"""Interface of answer generators. To add one, write a class and name it in registry.py."""

from abc import ABC, abstractmethod
from collections.abc import Generator

from retrieval.types import SearchResult
from serving.answering.types import DraftSentence, FaultCode


class AnswerGenerator(ABC):
    """Writes draft sentences from evidence, for one question of one caller.

    Nothing that it writes is trusted: guardrails and verification decide which sentences reach the
    reader. Only `name` and `generate` must be defined. The rest describes generators that call a
    language model.
    """

    name: str  # shown with the answer
    model: str | None = None  # the language model that wrote the sentences, once known
    prompt: str = ""  # SHA-256 of the rendered prompt, once known

    @property
    def prompt_version(self) -> str:
        """Name and version of the prompt, such as `answer 1`."""
        return ""

    @property
    def instructions(self) -> str:
        """The prompt's own words, which no answer may repeat."""
        return ""

    @property
    def fingerprint(self) -> str | None:
        """Hash of prompts, models and limits; None if answers must not be cached."""
        return None

    @abstractmethod
    def generate(self, evidence: SearchResult) -> Generator[DraftSentence]:
        """Yield sentences that answer `evidence.question`, if any. Closing cancels the work.

        Raises:
            NoModelAvailable, ModelFailed: the language model does not answer, or broke off.
        """

    def repair_sentence(
        self, evidence: SearchResult, sentence: DraftSentence, fault: FaultCode
    ) -> DraftSentence | None:
        """Return another wording of a sentence that its evidence does not support, or None."""
        return None
