"""Cross-encoders: models that read two texts together and score the pair."""

import os
import threading
from functools import cache
from typing import TYPE_CHECKING

from core.errors import Unavailable
from core.model_files import configure_model_libraries

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

MAX_PAIR_TOKENS = 512  # the window of BERT models; longer pairs are cut off

_load_lock = threading.Lock()


def load_cross_encoder(name: str, setting: str) -> "CrossEncoder":
    """Return a cross-encoder from a folder, the cache or the hub. A process loads each model once.

    `setting` is the environment variable that named the model.

    Raises:
        Unavailable: the model can't be loaded.
    """
    with _load_lock:
        return _load_once(name, setting)


@cache
def _load_once(name: str, setting: str) -> "CrossEncoder":
    configure_model_libraries(name)
    from sentence_transformers import CrossEncoder

    try:
        model = CrossEncoder(os.path.expanduser(name))
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"The cross-encoder {name!r} can't be loaded. Set {setting} to a folder with a"
            " cross-encoder, or leave it empty to work without one."
        ) from error
    model.max_length = min(model.max_length or MAX_PAIR_TOKENS, MAX_PAIR_TOKENS)
    return model
