"""A model that reads a passage and a sentence together and says whether one follows from the other; none by default.

GROUNDWORK_ENTAILMENT names a cross-encoder trained on natural language inference. It can only forbid what the checks in
serving/answering/verification/verifier.py have let pass.
"""

import math
from typing import Protocol

from core.cross_encoder import load_cross_encoder
from core.errors import Unavailable
from core.settings import Settings


class EntailmentModel(Protocol):
    """Whatever judges whether a passage says a sentence."""

    def probability(self, passage: str, sentence: str) -> float:
        """How likely it does, 0 to 1."""


class CrossEncoderEntailment:
    """An `Entailment` on sentence-transformers' CrossEncoder, with one output or with a label named entailment.

    Raises:
        Unavailable: there is no such model, or none of its labels is entailment.
    """

    def __init__(self, name: str) -> None:
        self._model = load_cross_encoder(name, "GROUNDWORK_ENTAILMENT")
        labels = {
            str(label).lower(): int(place) for place, label in self._model.config.id2label.items()
        }
        place = 0 if self._model.num_labels == 1 else labels.get("entailment")
        if place is None:
            raise Unavailable(
                f"No label of the entailment model {name!r} is called entailment; set GROUNDWORK_ENTAILMENT to a"
                " cross-encoder that was trained on natural language inference."
            )
        self._place = place

    def probability(self, passage: str, sentence: str) -> float:
        """See `Entailment`. What is beyond the model's window is cut off."""
        from torch.nn import Identity

        raw = self._model.predict(
            [(passage, sentence)], activation_fn=Identity(), show_progress_bar=False
        )[0]
        scores = [float(score) for score in (raw if self._model.num_labels > 1 else [raw])]
        if len(scores) == 1:
            return 1 / (1 + math.exp(-scores[0]))
        odds = [math.exp(score - max(scores)) for score in scores]
        return odds[self._place] / sum(odds)


def load_entailment_model(settings: Settings) -> EntailmentModel | None:
    """The entailment model of the settings, loaded once; None where there is none.

    Raises:
        Unavailable: it can't be loaded.
    """
    return CrossEncoderEntailment(settings.entailment) if settings.entailment else None
