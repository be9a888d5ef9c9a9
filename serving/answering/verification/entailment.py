"""Entailment model: the probability that a passage says a sentence. Off by default.

GROUNDWORK_ENTAILMENT names a cross-encoder trained on natural language inference. It can only
reject what the other checks of verification accept.
"""

import math
from typing import Protocol

from core.cross_encoder import load_cross_encoder
from core.errors import Unavailable
from core.settings import Settings


class EntailmentModel(Protocol):
    """Judges if a passage says a sentence."""

    def probability(self, passage: str, sentence: str) -> float:
        """Return the probability, 0 to 1, that the passage says the sentence."""


class CrossEncoderEntailment:
    """An entailment model on a cross-encoder with one output, or with a label named entailment.

    Raises:
        Unavailable: the model can't be loaded, or has several labels and none named entailment.
    """

    def __init__(self, name: str) -> None:
        self._model = load_cross_encoder(name, "GROUNDWORK_ENTAILMENT")
        labels = {str(label).lower(): int(i) for i, label in self._model.config.id2label.items()}
        label_index = 0 if self._model.num_labels == 1 else labels.get("entailment")
        if label_index is None:
            raise Unavailable(
                f"No label of the entailment model {name!r} is named entailment. Set"
                " GROUNDWORK_ENTAILMENT to a cross-encoder trained on natural language inference."
            )
        self._label_index = label_index

    def probability(self, passage: str, sentence: str) -> float:
        """Return the probability, 0 to 1. Text beyond the model's window is cut off."""
        from torch.nn import Identity

        pair = (passage, sentence)
        output = self._model.predict([pair], activation_fn=Identity(), show_progress_bar=False)[0]
        if self._model.num_labels == 1:
            return 1 / (1 + math.exp(-float(output)))
        logits = [float(logit) for logit in output]
        odds = [math.exp(logit - max(logits)) for logit in logits]
        return odds[self._label_index] / sum(odds)


def load_entailment_model(settings: Settings) -> EntailmentModel | None:
    """Return the entailment model of the settings, or None if they name none.

    Raises:
        Unavailable: it can't be loaded.
    """
    return CrossEncoderEntailment(settings.entailment) if settings.entailment else None
