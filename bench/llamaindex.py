"""LlamaIndex's own retrieval over PostgreSQL, fed with the passages and vectors that Groundwork stores.

Needs the dependency group `bench`. It lives in a database of its own on the embedded server, dropped before and after.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ingest.corpus import Passage
from knowledge.database import Principal, query
from knowledge.embedding import Embedder
from knowledge.services import Services, live_index

DATABASE = "bench_llamaindex"
DEPTH = 100
Search = Callable[[str], Sequence[str]]


def available(services: Services) -> bool:
    """Whether the package is installed, and the server is one in which databases may be made."""
    return services.embedded is not None and find_spec("llama_index.vector_stores") is not None


@contextmanager
def systems(services: Services, tenant: str, passages: Sequence[Passage]) -> Iterator[dict[str, Search]]:
    """Its hybrid mode, and its reciprocal rank fusion of its dense and its sparse mode."""
    from llama_index.core import VectorStoreIndex
    from llama_index.core.llms.mock import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever
    from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
    from llama_index.core.schema import TextNode
    from llama_index.vector_stores.postgres import PGVectorStore

    assert services.embedded is not None
    host = conninfo_to_dict(services.embedded.conninfo())["host"]
    vectors = _vectors(services, tenant)
    _drop(services)
    _run(services, "create database {}")
    store = PGVectorStore(
        connection_string=f"postgresql+psycopg2://postgres@/{DATABASE}?host={host}",
        async_connection_string=f"postgresql+asyncpg://postgres@/{DATABASE}?host={host}",
        table_name="passages", schema_name="public", hybrid_search=True, text_search_config="english",
        embed_dim=len(next(iter(vectors.values()))), use_halfvec=True,
    )  # fmt: skip
    try:
        store.add(
            [
                TextNode(
                    id_=passage.passage_id, text=f"{passage.title}\n{passage.text}",
                    embedding=vectors[passage.passage_id],
                )
                for passage in passages
            ]
        )  # fmt: skip
        index = VectorStoreIndex.from_vector_store(store, embed_model=_embedding(services.embedder()))

        def retriever(mode: str) -> Any:
            return index.as_retriever(
                vector_store_query_mode=mode, similarity_top_k=DEPTH, sparse_top_k=DEPTH, hybrid_top_k=DEPTH
            )

        fused = QueryFusionRetriever(
            [retriever("default"), retriever("sparse")], llm=MockLLM(), num_queries=1, use_async=False,
            mode=FUSION_MODES.RECIPROCAL_RANK, similarity_top_k=DEPTH,
        )  # fmt: skip
        yield {
            "LlamaIndex PGVectorStore, hybrid": _search(retriever("hybrid")),
            "LlamaIndex QueryFusion": _search(fused),
        }
    finally:
        store._engine.dispose()  # its close() is a coroutine, and leaves the pool of the other driver open
        _drop(services)


def _search(retriever: Any) -> Search:
    return lambda question: [found.node.node_id for found in retriever.retrieve(question)][:DEPTH]


def _embedding(embedder: Embedder) -> Any:
    from llama_index.core.embeddings import BaseEmbedding

    class Ours(BaseEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return list(map(float, embedder.encode([query])[0]))

        def _get_text_embedding(self, text: str) -> list[float]:
            return self._get_query_embedding(text)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    return Ours()


def _vectors(services: Services, tenant: str) -> dict[str, list[float]]:
    with services.database.reading(Principal(tenant)) as connection:
        index = live_index(connection)
        rows = connection.execute(query(Path(__file__).with_name("vectors.sql"), vectors=index.vectors)).fetchall()
    return {path: embedding.to_list() for path, embedding in rows}


def _run(services: Services, text: Any) -> None:
    assert services.embedded is not None
    with psycopg.connect(services.embedded.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL(text).format(sql.Identifier(DATABASE)))


def _drop(services: Services) -> None:
    _run(services, "drop database if exists {} with (force)")
