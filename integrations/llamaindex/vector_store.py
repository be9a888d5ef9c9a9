"""Groundwork's store as a LlamaIndex vector store: nodes in, nodes found, on the same tables as everything else.

    store = GroundworkVectorStore(services, Principal("alder"))
    index = VectorStoreIndex.from_vector_store(store, embed_model=GroundworkEmbedding(services))
    index.insert_nodes(nodes)
    index.as_query_engine(vector_store_query_mode="hybrid", llm=llm)

A node becomes a document of one chunk, whose metadata is the node's, so that filters see each node. A search finds
nodes and the passages of ingested files alike. docs/guides/from-pgvectorstore.md says what differs from PGVectorStore.
"""

import asyncio
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from core.db.database import Database
from core.embedding import Embedder, Vectors
from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from core.text.sentences import split_sentences
from core.types import Block, Chunk, Document, Location, Span
from ingest.runs.pipeline_version import compute_pipeline_hash
from ingest.store import documents
from integrations.llamaindex.retriever import (
    NODE_URI_PREFIX,
    PASSAGE_ID_PATTERN,
    GroundworkEmbedding,
    GroundworkRetriever,
    build_node,
    check_vector,
    convert_filters,
    encode_truncated,
    read_nodes,
)
from retrieval.filters import (
    MAX_VALUE_CHARACTERS,
    MAX_VALUES,
    METADATA_PREFIX,
    And,
    Filter,
    In,
    Or,
    Prefix,
)
from retrieval.retriever import retrieve
from retrieval.types import Hit, SearchMode

__all__ = ["GroundworkEmbedding", "GroundworkRetriever", "GroundworkVectorStore"]

SEARCH_MODES: dict[VectorStoreQueryMode, SearchMode] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SPARSE: "lexical",
    VectorStoreQueryMode.TEXT_SEARCH: "lexical",
}
MIN_SAME_MODEL_COSINE = (
    0.9  # cosine of a node's vector to what our model makes of its text; another model's is near 0
)


class GroundworkVectorStore(BasePydanticVectorStore):
    """A tenant's documents as a vector store. What is added may be read by `readers` (nobody named: the whole tenant).

    A search finds, and a deletion removes, only what the principal may see.
    """

    stores_text: bool = True
    flat_metadata: bool = False
    _services: Services = PrivateAttr()
    _principal: Principal = PrivateAttr()
    _allowed_groups: tuple[str, ...] = PrivateAttr()

    def __init__(
        self, services: Services, principal: Principal, *, allowed_groups: Sequence[str] = ()
    ) -> None:
        super().__init__(stores_text=True)
        self._services = services
        self._principal = principal
        self._allowed_groups = tuple(sorted(set(allowed_groups)))

    @classmethod
    def class_name(cls) -> str:
        """See `BaseComponent`."""
        return "GroundworkVectorStore"

    @property
    def client(self) -> Database:
        """The database that the nodes lie in."""
        return self._services.database

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Store nodes, all of them or none; one whose id is there already is replaced. Returns their ids.

        Raises:
            InvalidInput: a node that PostgreSQL can't hold, or a vector that is not of the index's model.
        """
        latest = list({node.node_id: node for node in nodes}.values())
        if not latest:
            return []
        embedder, recipe, run_id = (
            self._services.embedder(),
            compute_pipeline_hash(self._services),
            uuid.uuid4(),
        )
        items = list(_embed_nodes(embedder, latest, self._allowed_groups))
        with self._services.database.writing(self._principal.tenant) as connection:
            documents.store_documents(connection, self._principal.tenant, run_id, items, recipe)
        return [node.node_id for node in nodes]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The nodes that fit best: by cosine (default), by BM25 (sparse, text_search), or by both (hybrid).

        Raises:
            InvalidInput: a mode, filter or number of nodes that Groundwork does not have.
        """
        mode = SEARCH_MODES.get(query.mode)
        if mode is None:
            raise InvalidInput(
                f"Groundwork has no query mode {query.mode.value!r}; use default, sparse or hybrid."
            )
        if query.alpha is not None:
            raise InvalidInput(
                "Groundwork's weights are measured, not given; leave alpha out, or choose another mode."
            )
        hits = retrieve(
            self._services,
            self._principal,
            query.query_str or "",
            limit=_result_limit(query, mode),
            mode=mode,
            where=_build_query_filter(query),
            vector=check_vector(self._services.embedder(), query.query_embedding)
            if query.query_embedding
            else None,
            collapse=False,  # a vector store is asked for nodes, each of them
        ).hits
        nodes = [build_node(hit) for hit in hits]
        return VectorStoreQueryResult(
            nodes, [_result_score(hit, mode) for hit in hits], [node.node_id for node in nodes]
        )

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """`query`, without holding up the event loop."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """The nodes with these ids, or that filters let pass, or both.

        Raises:
            InvalidInput: neither is given.
        """
        found = []
        with self._services.database.reading(self._principal) as connection:
            for where in _build_node_filters(node_ids, filters):
                found += read_nodes(connection, self._principal.tenant, where)
        return (
            found if node_ids is None else [node for node in found if node.node_id in set(node_ids)]
        )

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document that was added.

        Raises:
            InvalidInput: the document came from a file.
        """
        self._delete_matching(_build_document_filter([ref_doc_id]))

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete the nodes with these ids, or that filters let pass, or both.

        Raises:
            InvalidInput: neither is given, or one of them is a passage of a file.
        """
        for where in _build_node_filters(node_ids, filters):
            self._delete_matching(where)

    def clear(self) -> None:
        """Delete every node that was added. What was ingested from files stays."""
        self._delete_matching(Prefix("uri", NODE_URI_PREFIX))

    def _delete_matching(self, where: Filter) -> None:
        with self._services.database.reading(self._principal) as connection:
            nodes = read_nodes(connection, self._principal.tenant, where)
        if any(PASSAGE_ID_PATTERN.fullmatch(node.node_id) for node in nodes):
            raise InvalidInput(
                "A passage of a file can't be deleted as a node; delete the file and ingest its folder."
            )
        run_id = uuid.uuid4()
        with self._services.database.writing(self._principal.tenant) as connection:
            uris = [NODE_URI_PREFIX + node.node_id for node in nodes]
            documents.delete_documents(connection, self._principal.tenant, uris, run_id)


# --- what is asked for ----------------------------------------------------------------------------------------------


def _result_limit(query: VectorStoreQuery, mode: SearchMode) -> int:
    own = {"dense": None, "lexical": query.sparse_top_k, "hybrid": query.hybrid_top_k}[mode]
    return query.similarity_top_k if own is None else own


def _result_score(hit: Hit, mode: SearchMode) -> float:
    score = {"dense": hit.dense.score, "lexical": hit.lexical.score, "hybrid": hit.score}[mode]
    return 0.0 if score is None else score


def _build_query_filter(query: VectorStoreQuery) -> Filter | None:
    parts = [convert_filters(query.filters)]
    if query.doc_ids:
        parts.append(_build_document_filter(query.doc_ids))
    if query.node_ids:
        if any(PASSAGE_ID_PATTERN.fullmatch(node_id) for node_id in query.node_ids):
            raise InvalidInput(
                "A search can't be narrowed to passages of a file by their ids; use doc_ids."
            )
        parts.append(In("uri", tuple(NODE_URI_PREFIX + node_id for node_id in query.node_ids)))
    given = tuple(part for part in parts if part is not None)
    return And(given) if given else None


def _build_document_filter(ids: Sequence[str]) -> Filter:
    return Or((In(METADATA_PREFIX + "ref_doc_id", tuple(ids)), In("document_id", tuple(ids))))


def _build_node_filters(
    node_ids: Sequence[str] | None, filters: MetadataFilters | None
) -> Iterator[Filter]:
    """Filters for these ids and filters, none with too many values."""
    where = convert_filters(filters)
    if node_ids is None:
        if where is None:
            raise InvalidInput("Say which nodes are meant, by node_ids or by filters.")
        yield where
        return
    for start in range(0, len(node_ids), MAX_VALUES):
        some = node_ids[start : start + MAX_VALUES]
        documents = [
            found[1] for node_id in some if (found := PASSAGE_ID_PATTERN.fullmatch(node_id))
        ]
        named: Filter = In("uri", tuple(NODE_URI_PREFIX + node_id for node_id in some))
        if documents:
            named = Or((named, In("document_id", tuple(documents))))
        yield named if where is None else And((named, where))


# --- nodes to store -------------------------------------------------------------------------------------------------


def _embed_nodes(
    embedder: Embedder, nodes: Sequence[BaseNode], allowed_groups: tuple[str, ...]
) -> Iterator[documents.EmbeddedDocument]:
    made = [_build_document(node, allowed_groups) for node in nodes]
    chunks = [
        _build_chunk(embedder, node, document.text)
        for node, document in zip(nodes, made, strict=True)
    ]
    vectors = _node_vectors(embedder, nodes)
    spoken = [chunk.text[span.start : span.end] for chunk in chunks for span in chunk.sentences]
    sentence_vectors = encode_truncated(embedder, spoken)
    at = 0
    for place, (document, chunk) in enumerate(zip(made, chunks, strict=True)):
        own = sentence_vectors[at : at + len(chunk.sentences)]
        yield documents.EmbeddedDocument(document, [chunk], vectors[place : place + 1], own)
        at += len(chunk.sentences)


def _build_document(node: BaseNode, allowed_groups: tuple[str, ...]) -> Document:
    text = node.get_content(MetadataMode.NONE).replace("\x00", " ")
    metadata = _node_metadata(node)
    path = str(metadata.get("file_path") or metadata.get("path") or node.ref_doc_id or node.node_id)
    title = str(metadata.get("title") or metadata.get("file_name") or path)
    return Document(
        uri=NODE_URI_PREFIX + node.node_id,
        path=path,
        title=title,
        media_type="text/plain",
        text=text,
        blocks=(Block("paragraph", Span(0, len(text))),),
        content_hash=node.hash,
        allowed_groups=allowed_groups,
        metadata=metadata,
    )


def _node_metadata(node: BaseNode) -> dict[str, Any]:
    """A node but for its text, as LlamaIndex writes it down, refused where PostgreSQL can't hold it."""
    name = node.node_id[:40]
    if not node.node_id or len(NODE_URI_PREFIX + node.node_id) > MAX_VALUE_CHARACTERS:
        raise InvalidInput(
            f"A node's id has 1 to {MAX_VALUE_CHARACTERS - len(NODE_URI_PREFIX)} characters; {name!r} has not."
        )
    try:
        metadata = node_to_metadata_dict(node, remove_text=True) | {"ref_doc_id": node.ref_doc_id}
        (node.node_id + node.get_content() + json.dumps(metadata, ensure_ascii=False)).encode()
    except ValueError as error:
        raise InvalidInput(
            f"Node {name!r} holds half a character, or an object that is no JSON; remove it."
        ) from error
    if "\x00" in node.node_id or _holds_nul(metadata):
        raise InvalidInput(f"The id or metadata of node {name!r} holds a NUL character; remove it.")
    return metadata


def _holds_nul(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_holds_nul(inner) for pair in value.items() for inner in pair)
        case list():
            return any(map(_holds_nul, value))
    return False


def _build_chunk(embedder: Embedder, node: BaseNode, text: str) -> Chunk:
    context = node.get_metadata_str(MetadataMode.EMBED).replace("\x00", " ")
    tokens = len(embedder.token_starts(f"{context}\n{text}"))
    spans = tuple(split_sentences(text, Span(0, len(text))))
    return Chunk(0, Span(0, len(text)), text, context, Location(), spans, tokens)


def _node_vectors(embedder: Embedder, nodes: Sequence[BaseNode]) -> Vectors:
    """A vector for each node: its own, if it has one of our model, else what the model makes of it."""
    missing = [place for place, node in enumerate(nodes) if node.embedding is None]
    vectors = np.empty((len(nodes), embedder.model.dimension), dtype=np.float32)
    vectors[missing] = encode_truncated(
        embedder, [nodes[place].get_content(MetadataMode.EMBED) for place in missing]
    )
    given = [
        (place, node.embedding) for place, node in enumerate(nodes) if node.embedding is not None
    ]
    for place, vector in given:
        vectors[place] = check_vector(embedder, vector)
    if given:
        _check_same_model(embedder, nodes[given[0][0]], vectors[given[0][0]])
    return vectors


def _check_same_model(embedder: Embedder, node: BaseNode, vector: Any) -> None:
    """One node tells for all: vectors of two models in one index would make every search wrong, and nobody notice."""
    ours = encode_truncated(
        embedder, [node.get_content(mode) for mode in (MetadataMode.EMBED, MetadataMode.NONE)]
    )
    if (ours @ vector).max() < MIN_SAME_MODEL_COSINE * np.linalg.norm(vector):
        raise InvalidInput(
            f"The vector of node {node.node_id[:40]!r} is not by the index's model {embedder.model.name!r};"
            " embed with GroundworkEmbedding."
        )
