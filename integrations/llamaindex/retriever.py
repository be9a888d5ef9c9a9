"""Groundwork's search for those who work with LlamaIndex: a retriever, its embedding model, and its filters.

    retriever = GroundworkRetriever(services, Principal("alder"), limit=5)
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm)

integrations/llamaindex/vector_store.py has the vector store, which writes as well. Nothing here looks at LlamaIndex's global Settings.
"""

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import BaseNode, NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import metadata_dict_to_node
from psycopg import sql
from psycopg.rows import dict_row

from core.db.database import Connection
from core.db.queries import load_queries
from core.embedding import Embedder, Vectors
from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from retrieval.filter_sql import clause
from retrieval.filters import METADATA, And, Contains, Equals, Exists, Filter, Holds, In, Not, Or, Prefix, Range
from retrieval.retriever import location, retrieve
from retrieval.types import Hit, Mode

QUERIES = load_queries(Path(__file__).with_name("retriever.sql"))

OWN = ("title", "path", "uri", "media_type", "version")  # of a document; its nodes carry them as metadata
SOURCE = ("ref_doc_id", "doc_id", "document_id")  # what LlamaIndex's stores call the document that a node is of
NODE_URI = "llamaindex:/"  # of a node that was added through LlamaIndex, followed by its id
PASSAGE_ID = re.compile(r"groundwork:([0-9a-f-]{36}):\d+")  # of a passage of an ingested file


class GroundworkRetriever(BaseRetriever):
    """The hybrid search as a `BaseRetriever`: nodes with their offsets in the document, its title, path and metadata.

    A node's score is the hit's: 0 to 1, relative to the other hits of the same question.
    """

    def __init__(
        self,
        services: Services,
        principal: Principal,
        *,
        limit: int = 10,
        mode: Mode = "hybrid",
        where: Filter | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self._services = services
        self._principal = principal
        self._limit = limit
        self._mode: Mode = mode
        self._where = where
        super().__init__(callback_manager=callback_manager)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        evidence = retrieve(
            self._services,
            self._principal,
            query_bundle.query_str,
            limit=self._limit,
            mode=self._mode,
            where=self._where,
            vector=self._vector(query_bundle),
        )
        return [NodeWithScore(node=node_of(hit), score=hit.score) for hit in evidence.hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _vector(self, query_bundle: QueryBundle) -> list[float] | None:
        """What a query transformation made of the question (HyDE's hypothetical answer, say); None for the question."""
        if query_bundle.embedding is not None:
            return check_vector(self._services.embedder(), query_bundle.embedding)
        if not query_bundle.custom_embedding_strs or self._mode == "lexical":
            return None
        vectors = encode(self._services.embedder(), query_bundle.custom_embedding_strs)
        return [float(number) for number in vectors.mean(axis=0)]


class GroundworkEmbedding(BaseEmbedding):
    """The model of the live index as a `BaseEmbedding`: what VectorStoreIndex needs to fill and ask our store."""

    _services: Services = PrivateAttr()

    def __init__(self, services: Services, **given: Any) -> None:
        super().__init__(model_name=services.embedder().model.name, **given)
        self._services = services

    @classmethod
    def class_name(cls) -> str:
        """See `BaseComponent`."""
        return "GroundworkEmbedding"

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [[float(number) for number in vector] for vector in encode(self._services.embedder(), texts)]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embeddings([query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)


def encode(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Unit vectors of texts, of each as much as the model can see: shape (len(texts), dimension)."""
    return embedder.encode([_visible(embedder, text) for text in texts])


def _visible(embedder: Embedder, text: str) -> str:
    starts = embedder.token_starts(text)
    return text if len(starts) <= embedder.window else text[: starts[embedder.window]]


def check_vector(embedder: Embedder, vector: Sequence[float]) -> list[float]:
    """The vector, refused where it can't be one of this model.

    Raises:
        InvalidInput: another dimension, or numbers that are not finite.
    """
    if len(vector) != embedder.model.dimension:
        raise InvalidInput(
            f"The vector has {len(vector)} dimensions, the index {embedder.model.dimension};"
            " embed with GroundworkEmbedding."
        )
    if not all(map(math.isfinite, vector)):
        raise InvalidInput("The vector holds a number that is not finite; embed with GroundworkEmbedding.")
    return list(vector)


# --- passages as nodes ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Passage:
    """What a node is made of."""

    document_id: UUID
    ordinal: int
    own: dict[str, Any]
    metadata: dict[str, Any]
    label: str
    start: int
    end: int
    text: str


def node_of(hit: Hit) -> BaseNode:
    """A hit as a node: the one that was added, if it came through LlamaIndex, else one with our own id."""
    own = {name: getattr(hit, name) for name in OWN}
    metadata = dict(hit.metadata)
    return _node(Passage(hit.document_id, hit.ordinal, own, metadata, hit.location.label(), *hit.span, hit.text))


def read_nodes(connection: Connection, tenant: str, where: Filter) -> list[BaseNode]:
    """All nodes of the documents that a filter lets pass."""
    made = clause(where)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            sql.SQL(QUERIES["passages"]).format(condition=made.condition), {**made.values, "tenant": tenant}
        ).fetchall()
    return [
        _node(
            Passage(
                row["document_id"],
                row["ordinal"],
                {name: row[name] for name in OWN},
                row["metadata"],
                location(row["location"]).label(),
                row["start_char"],
                row["end_char"],
                row["text"],
            )
        )
        for row in rows
    ]


def _node(passage: Passage) -> BaseNode:
    if passage.own["uri"].startswith(NODE_URI):
        return metadata_dict_to_node(passage.metadata, text=passage.text)
    shown = {**passage.own, "location": passage.label, **passage.metadata}
    hidden = [name for name in shown if name not in ("title", "path", "location")]
    source = str(passage.document_id)
    return TextNode(
        id_=f"groundwork:{source}:{passage.ordinal}",
        text=passage.text,
        metadata=shown,
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=hidden,
        start_char_idx=passage.start,
        end_char_idx=passage.end,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)},
    )


# --- filters --------------------------------------------------------------------------------------------------------


def filter_of(filters: MetadataFilters | None) -> Filter | None:
    """LlamaIndex's filters as ours. A key names what a node's metadata shows.

    Raises:
        InvalidInput: an operator without a value of the kind it needs.
    """
    if filters is None or not filters.filters:
        return None
    parts = tuple(
        inner
        for given in filters.filters
        if (inner := filter_of(given) if isinstance(given, MetadataFilters) else _condition(given)) is not None
    )
    if not parts:
        return None
    match filters.condition:
        case FilterCondition.OR:
            return Or(parts)
        case FilterCondition.NOT:
            return Not(Or(parts))
    return And(parts)


def _condition(given: MetadataFilter) -> Filter:
    make, negated = _leaf(given)
    own: tuple[Filter, ...] = ()
    try:
        if given.key in OWN:  # what the metadata says stands before what the document says, as in the node
            own = (And((Not(Exists(METADATA + given.key)), Not(Prefix("uri", NODE_URI)), make(given.key))),)
        elif given.key in SOURCE:  # a node says what it is of; only a file's passages are of the document itself
            own = (And((Not(Exists(METADATA + "ref_doc_id")), make("document_id"))),)
    except InvalidInput:  # no document has that kind of value in this field; some metadata may
        own = ()
    key = "ref_doc_id" if given.key in SOURCE else given.key
    tree = Or((make(METADATA + key), *own)) if own else make(METADATA + key)
    return Not(tree) if negated else tree


def _leaf(given: MetadataFilter) -> tuple[Callable[[str], Filter], bool]:
    """What makes the condition for a field, and whether it is the opposite that is asked for."""
    value: Any = given.value
    match given.operator:
        case FilterOperator.IS_EMPTY:
            return Exists, True
        case FilterOperator.EQ | FilterOperator.NE:
            _check(given, isinstance(value, str | int | float), "one text or number")
            return lambda field: Equals(field, value), given.operator == FilterOperator.NE
        case FilterOperator.IN | FilterOperator.NIN:
            _check(given, isinstance(value, list), "a list")
            return lambda field: In(field, tuple(value)), given.operator == FilterOperator.NIN
        case FilterOperator.ANY | FilterOperator.ALL:
            _check(given, isinstance(value, list), "a list")
            return lambda field: Holds(field, tuple(value), every=given.operator == FilterOperator.ALL), False
        case FilterOperator.CONTAINS:
            _check(given, isinstance(value, str | int | float), "one text or number")
            return lambda field: Holds(field, (value,)), False
        case FilterOperator.TEXT_MATCH | FilterOperator.TEXT_MATCH_INSENSITIVE:
            _check(given, isinstance(value, str), "a text")
            ignore_case = given.operator == FilterOperator.TEXT_MATCH_INSENSITIVE
            return lambda field: Contains(field, value, ignore_case), False
        case FilterOperator.GT | FilterOperator.GTE | FilterOperator.LT | FilterOperator.LTE:
            _check(given, isinstance(value, str | int | float), "one text or number")
            name = {">": "gt", ">=": "ge", "<": "lt", "<=": "le"}[given.operator.value]
            return lambda field: Range(field, **{name: value}), False
    raise InvalidInput(f"Groundwork has no filter {given.operator.value!r}; use another operator.")


def _check(given: MetadataFilter, fits: bool, wanted: str) -> None:
    if not fits:
        raise InvalidInput(
            f"The filter {given.operator.value!r} on {given.key[:40]!r} needs {wanted}; what is missing is_empty."
        )
