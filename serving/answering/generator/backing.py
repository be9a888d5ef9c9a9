"""What answers are written and paid with, beside the services; built once at start-up and passed in."""

from dataclasses import dataclass

from core.settings import Settings
from serving.answering.guardrails.redaction import behind, wrap_models
from serving.gateway.gateway import Gateway, open_gateway
from serving.gateway.types import Meter, Models


@dataclass(frozen=True, slots=True)
class Backing:
    """`models` is the way to language models; None where no models file is named, so that answers only quote."""

    models: Models | None = None

    def close(self) -> None:
        """Close what was opened."""
        models = behind(self.models)
        if isinstance(models, Gateway):
            models.close()


def open_backing(settings: Settings, meter: Meter | None = None) -> Backing:
    """What the settings name.

    Raises:
        InvalidInput: the models file can't be used, or a key is not set.
    """
    return Backing(wrap_models(open_gateway(settings, meter), settings))
