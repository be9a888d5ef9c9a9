"""Groundwork's store as a LlamaIndex vector store.

    store = GroundworkVectorStore(services, Principal("alder"))
    index = VectorStoreIndex.from_vector_store(store, embed_model=GroundworkEmbedding(services))
    index.insert_nodes(nodes)
    index.as_query_engine(vector_store_query_mode="hybrid", llm=llm)

A node becomes a document of one chunk with the node's metadata, so that filters apply to each node.
A search finds nodes and passages of ingested files alike. docs/guides/from-pgvectorstore.md lists
the differences from PGVectorStore.
"""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from core.db.database import Database
from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from ingest.runs.pipeline_version import compute_pipeline_hash
from ingest.store import documents
from integrations.llamaindex.embedding import GroundworkEmbedding, check_vector
from integrations.llamaindex.metadata_filters import convert_filters
from integrations.llamaindex.nodes import (
    NODE_URI_PREFIX,
    PASSAGE_ID_PATTERN,
    build_node,
    read_nodes,
)
from integrations.llamaindex.retriever import GroundworkRetriever, check_query
from integrations.llamaindex.stored_nodes import embed_nodes
from retrieval.filters import MAX_VALUES, METADATA_PREFIX, And, Filter, In, Or, Prefix
from retrieval.retriever import check_limit, retrieve
from retrieval.types import Hit, SearchMode

__all__ = ["GroundworkEmbedding", "GroundworkRetriever", "GroundworkVectorStore"]

SEARCH_MODES: dict[VectorStoreQueryMode, SearchMode] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SPARSE: "lexical",
    VectorStoreQueryMode.TEXT_SEARCH: "lexical",
}


class GroundworkVectorStore(BasePydanticVectorStore):
    """A tenant's documents as a vector store.

    Members of `allowed_groups` may read the added nodes; without groups, the whole tenant may. A
    search finds, and a deletion removes, only what the principal may see.
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
        """The database with the nodes."""
        return self._services.database

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Store nodes, all or none, and return their ids. A node replaces one with the same id.

        Raises:
            InvalidInput: PostgreSQL can't store a node, or a vector is not of the index's model.
        """
        latest = list({node.node_id: node for node in nodes}.values())
        if not latest:
            return []
        tenant, run_id = self._principal.tenant, uuid.uuid4()
        pipeline_hash = compute_pipeline_hash(self._services)
        embedded = list(embed_nodes(self._services.embedder(), latest, self._allowed_groups))
        with self._services.database.writing(tenant) as connection:
            documents.store_documents(connection, tenant, run_id, embedded, pipeline_hash)
        return [node.node_id for node in nodes]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the best nodes by cosine (default), BM25 (sparse, text_search) or both (hybrid).

        Raises:
            InvalidInput: Groundwork does not have the mode, the filter or the number of nodes.
        """
        mode = SEARCH_MODES.get(query.mode)
        if mode is None:
            raise InvalidInput(
                f"Groundwork has no query mode {query.mode.value!r}. Use default, sparse or hybrid."
            )
        if query.alpha is not None:
            raise InvalidInput(
                "Groundwork's weights are fixed. Leave alpha out, or use another mode."
            )
        vector = None
        if query.query_embedding:
            vector = check_vector(self._services.embedder(), query.query_embedding)
        hits = retrieve(
            self._services,
            self._principal,
            check_query(query.query_str or "", mode, vector),
            limit=check_limit(_result_limit(query, mode)),
            mode=mode,
            where=_build_query_filter(query),
            vector=vector,
            collapse=False,  # the caller of a vector store expects each node
        ).hits
        nodes = [build_node(hit) for hit in hits]
        scores = [_result_score(hit, mode) for hit in hits]
        return VectorStoreQueryResult(nodes, scores, [node.node_id for node in nodes])

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Run `query` in a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return the nodes with these ids, or that pass the filters, or both.

        Raises:
            InvalidInput: there are neither ids nor filters.
        """
        nodes = []
        with self._services.database.reading(self._principal) as connection:
            for where in _build_node_filters(node_ids, filters):
                nodes += read_nodes(connection, self._principal.tenant, where)
        if node_ids is None:
            return nodes
        return [node for node in nodes if node.node_id in set(node_ids)]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the added nodes of a document.

        Raises:
            InvalidInput: the document is a file.
        """
        self._delete_matching(_build_document_filter([ref_doc_id]))

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete the nodes with these ids, or that pass the filters, or both.

        Raises:
            InvalidInput: there are neither ids nor filters, or a node is a passage of a file.
        """
        for where in _build_node_filters(node_ids, filters):
            self._delete_matching(where)

    def clear(self) -> None:
        """Delete every added node. Ingested files stay."""
        self._delete_matching(Prefix("uri", NODE_URI_PREFIX))

    def _delete_matching(self, where: Filter) -> None:
        tenant, run_id = self._principal.tenant, uuid.uuid4()
        with self._services.database.reading(self._principal) as connection:
            node_ids = [node.node_id for node in read_nodes(connection, tenant, where)]
        if any(map(PASSAGE_ID_PATTERN.fullmatch, node_ids)):
            raise InvalidInput(
                "A passage of a file can't be deleted as a node."
                " Delete the file and ingest its folder."
            )
        uris = [NODE_URI_PREFIX + node_id for node_id in node_ids]
        with self._services.database.writing(tenant) as connection:
            documents.delete_documents(connection, tenant, uris, run_id)


def _result_limit(query: VectorStoreQuery, mode: SearchMode) -> int:
    limits = {"dense": None, "lexical": query.sparse_top_k, "hybrid": query.hybrid_top_k}
    limit = limits[mode]
    return query.similarity_top_k if limit is None else limit


def _result_score(hit: Hit, mode: SearchMode) -> float:
    score = {"dense": hit.dense.score, "lexical": hit.lexical.score, "hybrid": hit.score}[mode]
    return 0.0 if score is None else score


def _build_query_filter(query: VectorStoreQuery) -> Filter | None:
    parts = [convert_filters(query.filters)]
    if query.doc_ids:
        parts.append(_build_document_filter(query.doc_ids))
    if query.node_ids:
        if any(map(PASSAGE_ID_PATTERN.fullmatch, query.node_ids)):
            raise InvalidInput(
                "A search can't select passages of a file by their ids. Use doc_ids."
            )
        parts.append(_build_uri_filter(query.node_ids))
    filters = tuple(part for part in parts if part is not None)
    return And(filters) if filters else None


def _build_document_filter(ids: Sequence[str]) -> Filter:
    return Or((In(METADATA_PREFIX + "ref_doc_id", tuple(ids)), In("document_id", tuple(ids))))


def _build_uri_filter(node_ids: Sequence[str]) -> Filter:
    return In("uri", tuple(NODE_URI_PREFIX + node_id for node_id in node_ids))


def _build_node_filters(
    node_ids: Sequence[str] | None, filters: MetadataFilters | None
) -> Iterator[Filter]:
    """Yield filters for these ids and filters, none with too many values."""
    where = convert_filters(filters)
    if node_ids is None:
        if where is None:
            raise InvalidInput("No nodes are selected. Use node_ids or filters.")
        yield where
        return
    for start in range(0, len(node_ids), MAX_VALUES):
        batch = node_ids[start : start + MAX_VALUES]
        by_id = _build_uri_filter(batch)
        passages = [match[1] for match in map(PASSAGE_ID_PATTERN.fullmatch, batch) if match]
        if passages:
            by_id = Or((by_id, In("document_id", tuple(passages))))
        yield by_id if where is None else And((by_id, where))
