"""Embedding models that run in this process, by sentence-transformers."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.embedding import Vectors
from core.model_files import (
    configure_model_libraries,
    create_load_error,
    describe_model_files,
    find_model,
)
from core.types import EmbeddingModel

T = TypeVar("T")

CPU_BATCH_TOKENS = 1_024  # so that the intermediate results of a batch fit into a core's cache
GPU_BATCH_TOKENS = 32_768
MAX_PARALLEL_BATCHES = 8  # threads; with more of them, Python's lock becomes the bottleneck
DEFAULT_MAX_TOKENS = 512


class SentenceTransformerEmbedder:
    """An `Embedder` on sentence-transformers. Loading takes seconds, a question milliseconds."""

    def __init__(self, name: str, dtype: str = "auto") -> None:
        source = find_model(name)
        configure_model_libraries(source)
        import torch
        from sentence_transformers import SentenceTransformer

        try:
            self._model = SentenceTransformer(str(source))
        except (OSError, ValueError) as error:
            raise create_load_error(name) from error
        device = self._model.device.type
        if dtype == "bfloat16" or (dtype == "auto" and _supports_bfloat16(device)):
            self._model = self._model.to(torch.bfloat16)
        self.model = self.describe(name)
        self.encoded_tokens = 0
        """Number of tokens that were encoded, including special tokens. For measurements."""
        self._executor = _BatchExecutor(device)
        self._prompt = self._model.prompts.get(self._model.default_prompt_name or "") or ""
        self._prepare_tokenizers()

    def _prepare_tokenizers(self) -> None:
        """Copy the tokenizer: the original changes its truncation when another thread encodes."""
        original: Any = self._model.tokenizer
        backend = original.backend_tokenizer
        max_tokens = int(self._model.max_seq_length or DEFAULT_MAX_TOKENS)
        self.max_input_tokens = max_tokens - backend.num_special_tokens_to_add(is_pair=False)
        self._tokenizer = _copy_tokenizer(backend)
        self._input_tokenizer = _copy_tokenizer(backend)
        self._input_tokenizer.enable_truncation(max_tokens, direction=original.truncation_side)
        self._padder = _BatchPadder(original.pad_token_id or 0, original.padding_side == "left")

    @classmethod
    def describe(cls, name: str) -> EmbeddingModel:
        """See `EmbedderClass`."""
        return describe_model_files(name)

    def token_starts(self, text: str) -> Sequence[int]:
        """See `Embedder`."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [start for start, _ in encoding.offsets]

    def encode(
        self, texts: Sequence[str], on_progress: Callable[[float], None] = lambda fraction: None
    ) -> Vectors:
        """See `Embedder`. Equal texts are encoded once; texts of similar length share a batch."""
        rows: dict[str, int] = {}
        text_rows = [rows.setdefault(text, len(rows)) for text in texts]
        tokens = self._tokenize_texts(list(rows))
        total = max(1, sum(map(len, tokens)))
        self.encoded_tokens += total
        vectors = np.empty((len(rows), self.model.dimension), dtype=np.float32)
        batches = _group_into_batches(tokens, self._executor.max_batch_tokens)
        inputs = [[tokens[row] for row in batch] for batch in batches]
        results = self._executor.map(self._encode_batch, inputs)
        for batch, batch_tokens, result in zip(batches, inputs, results, strict=True):
            vectors[batch] = result
            on_progress(sum(map(len, batch_tokens)) / total)
        return vectors[text_rows]

    def _tokenize_texts(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._input_tokenizer.encode_batch_fast([self._prompt + text for text in texts])
        return [encoding.ids for encoding in encodings]

    def _encode_batch(self, tokens: Sequence[Sequence[int]]) -> Vectors:
        import torch

        inputs = {}
        for name, values in self._padder.pad(tokens).items():
            inputs[name] = torch.from_numpy(values).to(self._model.device)
        with torch.inference_mode():
            embeddings = self._model(inputs)["sentence_embedding"].float()
            vectors: Vectors = torch.nn.functional.normalize(embeddings, dim=1).cpu().numpy()
        return vectors


@dataclass(frozen=True, slots=True)
class _BatchPadder:
    """Pads the texts of a batch to the same length."""

    pad_token_id: int
    pads_left: bool

    def pad(self, texts: Sequence[Sequence[int]]) -> dict[str, NDArray[np.int64]]:
        """Return the inputs of the model, each of shape (texts, tokens of the longest text)."""
        longest = max(map(len, texts))
        tokens = np.full((len(texts), longest), self.pad_token_id, dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, text in enumerate(texts):
            columns = slice(longest - len(text), None) if self.pads_left else slice(len(text))
            tokens[row, columns] = text
            mask[row, columns] = 1
        return {"input_ids": tokens, "attention_mask": mask}


class _BatchExecutor:
    """Runs batches in parallel: on a CPU one on each core, on a GPU one after the other.

    If cores shared one batch, they would wait for each other after each multiplication.
    """

    def __init__(self, device: str) -> None:
        import torch

        on_cpu = device == "cpu"
        cores = torch.get_num_threads()
        threads = min(cores, MAX_PARALLEL_BATCHES) if on_cpu else 1
        self.max_batch_tokens = CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS
        self._threads = ThreadPoolExecutor(
            threads,
            "embedding",
            initializer=torch.set_num_threads,
            initargs=(max(1, cores // threads),),
        )

    def map(self, compute: Callable[[T], Vectors], batches: Sequence[T]) -> Iterator[Vectors]:
        """Return the results in order. A single batch, such as a question, uses all cores."""
        return self._threads.map(compute, batches) if len(batches) > 1 else map(compute, batches)


def _group_into_batches(tokens: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """Return row numbers, longest text first, in batches of at most `max_tokens` with padding."""
    batches: list[list[int]] = []
    longest = 0
    for row in sorted(range(len(tokens)), key=lambda row: -len(tokens[row])):
        if not batches or (len(batches[-1]) + 1) * longest > max_tokens:
            batches.append([])
            longest = len(tokens[row])
        batches[-1].append(row)
    return batches


def _copy_tokenizer(tokenizer: Any) -> Any:
    copied = type(tokenizer).from_str(tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    return copied


def _supports_bfloat16(device: str) -> bool:
    """Return whether the processor computes in bfloat16; emulated, it is slower than float32."""
    import torch

    if device != "cpu":
        return True
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
