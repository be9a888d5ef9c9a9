"""LlamaIndex's retrieval on Groundwork's passages and vectors, and its ingestion.

Needs the dependency group `bench`. It has its own database on the embedded server, dropped before
and after.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from core.db.index_version import live_index
from core.db.queries import compose_query, read_statement
from core.embedding import Embedder
from core.principal import Principal
from core.services import Services
from evaluation.corpus import CorpusPassage

DATABASE = "bench_llamaindex"
DEPTH = 100
Search = Callable[[str], Sequence[str]]


def is_available(services: Services) -> bool:
    """Return True if the package is installed and the server is the embedded one."""
    return (
        services.embedded_postgres is not None
        and find_spec("llama_index.vector_stores") is not None
    )


@contextmanager
def open_systems(
    services: Services, tenant: str, passages: Sequence[CorpusPassage]
) -> Iterator[dict[str, Search]]:
    """Open its hybrid mode, and its reciprocal rank fusion of dense and sparse mode."""
    from llama_index.core import VectorStoreIndex
    from llama_index.core.llms.mock import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever
    from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
    from llama_index.core.schema import TextNode

    assert services.embedded_postgres is not None
    host = str(conninfo_to_dict(services.embedded_postgres.conninfo())["host"])
    vectors = _vectors(services, tenant)
    with _database(host):
        store = _store(host, len(next(iter(vectors.values()))))
        try:
            store.add(
                [
                    TextNode(
                        id_=passage.passage_id,
                        text=f"{passage.title}\n{passage.text}",
                        embedding=vectors[passage.passage_id],
                    )
                    for passage in passages
                ]
            )
            index = VectorStoreIndex.from_vector_store(
                store, embed_model=_embedding(services.embedder())
            )

            def retriever(mode: str) -> Any:
                return index.as_retriever(
                    vector_store_query_mode=mode,
                    similarity_top_k=DEPTH,
                    sparse_top_k=DEPTH,
                    hybrid_top_k=DEPTH,
                )

            fused = QueryFusionRetriever(
                [retriever("default"), retriever("sparse")],
                llm=MockLLM(),
                num_queries=1,
                use_async=False,
                mode=FUSION_MODES.RECIPROCAL_RANK,
                similarity_top_k=DEPTH,
            )
            yield {
                "LlamaIndex PGVectorStore, hybrid": _search(retriever("hybrid")),
                "LlamaIndex QueryFusion": _search(fused),
            }
        finally:
            # Its close() is a coroutine, and leaves the pool of the other driver open.
            store._engine.dispose()


def can_ingest() -> bool:
    """Return True if the packages of its ingestion are installed."""
    return all(
        find_spec(f"llama_index.{part}") is not None for part in ("vector_stores", "embeddings")
    )


@contextmanager
def open_pipeline(host: str, model: str) -> Iterator[Callable[[Mapping[str, str]], list[str]]]:
    """Ingest texts by path with the model in a folder; return the embedded texts of the chunks."""
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.schema import Document, MetadataMode
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    embedding = HuggingFaceEmbedding(model_name=model)
    dimension = len(
        embedding.get_text_embedding("a first text, so that nothing is loaded while we measure")
    )
    with _database(host):
        store = _store(host, dimension)
        splitter = SentenceSplitter(chunk_size=256, chunk_overlap=20)
        made = IngestionPipeline(transformations=[splitter, embedding], vector_store=store)

        def run(texts: Mapping[str, str]) -> list[str]:
            documents = [
                Document(text=text, metadata={"file_path": path}) for path, text in texts.items()
            ]
            return [node.get_content(MetadataMode.EMBED) for node in made.run(documents=documents)]

        try:
            yield run
        finally:
            store._engine.dispose()


def _store(host: str, dimension: int) -> Any:
    from llama_index.vector_stores.postgres import PGVectorStore

    return PGVectorStore(
        connection_string=f"postgresql+psycopg2://postgres@/{DATABASE}?host={host}",
        async_connection_string=f"postgresql+asyncpg://postgres@/{DATABASE}?host={host}",
        table_name="passages",
        schema_name="public",
        hybrid_search=True,
        text_search_config="english",
        embed_dim=dimension,
        use_halfvec=True,
    )


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
        rows = connection.execute(
            compose_query(
                read_statement(Path(__file__).with_name("vectors.sql")),
                vectors=index.vector_table_name,
            )
        ).fetchall()
    return {path: embedding.to_list() for path, embedding in rows}


@contextmanager
def _database(host: str) -> Iterator[None]:
    """Create an empty database, and drop it at the end."""
    drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(DATABASE))
    with psycopg.connect(
        host=host, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(drop)
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        try:
            yield
        finally:
            connection.execute(drop)
