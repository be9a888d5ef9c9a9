"""LlamaIndex nodes as documents of one chunk, ready to be stored."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.utils import node_to_metadata_dict
from numpy.typing import NDArray

from core.embedding import Embedder, Vectors
from core.errors import InvalidInput
from core.text.sentences import split_sentences
from core.types import Block, Chunk, Document, Location, Span
from ingest.store.documents import EmbeddedDocument
from integrations.llamaindex.embedding import check_vector, encode_truncated
from integrations.llamaindex.nodes import NODE_URI_PREFIX
from retrieval.filters import MAX_VALUE_CHARACTERS

# The cosine of a node's vector to our model's vector of its text; the vector of another model is
# near 0.
MIN_SAME_MODEL_COSINE = 0.9
MAX_ID_CHARACTERS = MAX_VALUE_CHARACTERS - len(NODE_URI_PREFIX)


def embed_nodes(
    embedder: Embedder, nodes: Sequence[BaseNode], allowed_groups: tuple[str, ...]
) -> Iterator[EmbeddedDocument]:
    """Yield each node as a document with its vectors.

    Raises:
        InvalidInput: PostgreSQL can't store a node, or a vector is not of this model.
    """
    node_documents = [_build_document(node, allowed_groups) for node in nodes]
    chunks = []
    for node, document in zip(nodes, node_documents, strict=True):
        chunks.append(_build_chunk(embedder, node, document.text))
    vectors = _node_vectors(embedder, nodes)
    sentences = []
    for chunk in chunks:
        sentences += [chunk.text[span.start : span.end] for span in chunk.sentences]
    sentence_vectors = encode_truncated(embedder, sentences)
    start = 0
    for number, (document, chunk) in enumerate(zip(node_documents, chunks, strict=True)):
        end = start + len(chunk.sentences)
        yield EmbeddedDocument(
            document, [chunk], vectors[number : number + 1], sentence_vectors[start:end]
        )
        start = end


def _build_document(node: BaseNode, allowed_groups: tuple[str, ...]) -> Document:
    text = node.get_content(MetadataMode.NONE).replace("\x00", " ")
    metadata = _node_metadata(node)
    path = str(metadata.get("file_path") or metadata.get("path") or node.ref_doc_id or node.node_id)
    return Document(
        uri=NODE_URI_PREFIX + node.node_id,
        path=path,
        title=str(metadata.get("title") or metadata.get("file_name") or path),
        media_type="text/plain",
        text=text,
        blocks=(Block("paragraph", Span(0, len(text))),),
        content_hash=node.hash,
        allowed_groups=allowed_groups,
        metadata=metadata,
    )


def _node_metadata(node: BaseNode) -> dict[str, Any]:
    """Return a node without its text as LlamaIndex writes it, if PostgreSQL can store it."""
    name = node.node_id[:40]
    if not 1 <= len(node.node_id) <= MAX_ID_CHARACTERS:
        raise InvalidInput(
            f"The id {name!r} is empty or too long. Use 1 to {MAX_ID_CHARACTERS} characters."
        )
    try:
        metadata = node_to_metadata_dict(node, remove_text=True) | {"ref_doc_id": node.ref_doc_id}
        (node.node_id + node.get_content() + json.dumps(metadata, ensure_ascii=False)).encode()
    except ValueError as error:
        raise InvalidInput(
            f"Node {name!r} has half a character, or an object that is not JSON. Remove it."
        ) from error
    if "\x00" in node.node_id or _has_nul(metadata):
        raise InvalidInput(f"The id or metadata of node {name!r} has a NUL character. Remove it.")
    return metadata


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(map(_has_nul, [*value, *value.values()]))
        case list():
            return any(map(_has_nul, value))
    return False


def _build_chunk(embedder: Embedder, node: BaseNode, text: str) -> Chunk:
    context = node.get_metadata_str(MetadataMode.EMBED).replace("\x00", " ")
    span = Span(0, len(text))
    tokens = len(embedder.token_starts(f"{context}\n{text}"))
    return Chunk(0, span, text, context, Location(), tuple(split_sentences(text, span)), tokens)


def _node_vectors(embedder: Embedder, nodes: Sequence[BaseNode]) -> Vectors:
    """Return a vector for each node: its own, or else the model's vector of its text."""
    vectors = np.empty((len(nodes), embedder.model.dimension), dtype=np.float32)
    without = [number for number, node in enumerate(nodes) if node.embedding is None]
    texts = [nodes[number].get_content(MetadataMode.EMBED) for number in without]
    vectors[without] = encode_truncated(embedder, texts)
    first_own: int | None = None
    for number, node in enumerate(nodes):
        if node.embedding is not None:
            vectors[number] = check_vector(embedder, node.embedding)
            first_own = number if first_own is None else first_own
    if first_own is not None:
        _check_same_model(embedder, nodes[first_own], vectors[first_own])
    return vectors


def _check_same_model(embedder: Embedder, node: BaseNode, vector: NDArray[np.float32]) -> None:
    """Refuse the vector of another model, which would silently make searches wrong."""
    texts = [node.get_content(mode) for mode in (MetadataMode.EMBED, MetadataMode.NONE)]
    own_vectors = encode_truncated(embedder, texts)
    if (own_vectors @ vector).max() < MIN_SAME_MODEL_COSINE * np.linalg.norm(vector):
        raise InvalidInput(
            f"The vector of node {node.node_id[:40]!r} is not by the index's model"
            f" {embedder.model.name!r}. Embed with GroundworkEmbedding."
        )
