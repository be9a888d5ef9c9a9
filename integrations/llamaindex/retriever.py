"""The hybrid search as a LlamaIndex retriever.

    retriever = GroundworkRetriever(services, Principal("alder"), limit=5)
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm)

vector_store.py also stores nodes. Nothing in this folder reads LlamaIndex's global Settings.
"""

import asyncio
from collections.abc import Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle

from core.principal import Principal
from core.services import Services
from integrations.llamaindex.embedding import check_vector, encode_truncated
from integrations.llamaindex.nodes import build_node
from retrieval.filters import Filter
from retrieval.retriever import check_limit, check_question, retrieve
from retrieval.types import SearchMode


class GroundworkRetriever(BaseRetriever):
    """The search as a `BaseRetriever`; nodes have offsets, title, path and metadata.

    A node's score is the hit's, 0 to 1.
    """

    def __init__(
        self,
        services: Services,
        principal: Principal,
        *,
        limit: int = 10,
        mode: SearchMode = "hybrid",
        where: Filter | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self._services = services
        self._principal = principal
        self._limit = check_limit(limit)
        self._mode: SearchMode = mode
        self._where = where
        super().__init__(callback_manager=callback_manager)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        vector = self._query_vector(query_bundle)
        result = retrieve(
            self._services,
            self._principal,
            check_query(query_bundle.query_str, self._mode, vector),
            limit=self._limit,
            mode=self._mode,
            where=self._where,
            vector=vector,
        )
        return [NodeWithScore(node=build_node(hit), score=hit.score) for hit in result.hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _query_vector(self, query_bundle: QueryBundle) -> list[float] | None:
        """Return the vector of a query transformation such as HyDE; None without one."""
        if query_bundle.embedding is not None:
            return check_vector(self._services.embedder(), query_bundle.embedding)
        if not query_bundle.custom_embedding_strs or self._mode == "lexical":
            return None
        vectors = encode_truncated(self._services.embedder(), query_bundle.custom_embedding_strs)
        return [float(number) for number in vectors.mean(axis=0)]


def check_query(query: str, mode: SearchMode, vector: Sequence[float] | None) -> str:
    """Return a query that can be searched for; a dense search by a vector needs no words.

    Raises:
        InvalidInput: the query is empty or too long.
    """
    return query if mode == "dense" and vector is not None else check_question(query)
