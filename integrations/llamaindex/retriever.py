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
from llama_index.core.schema import (
    BaseNode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node
from psycopg import sql
from psycopg.rows import dict_row

from core.db.database import Connection
from core.db.queries import load_queries
from core.embedding import Embedder, Vectors
from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from retrieval.filter_sql import compile_filter
from retrieval.filters import (
    METADATA_PREFIX,
    And,
    Contains,
    Equals,
    Exists,
    Filter,
    Holds,
    In,
    Not,
    Or,
    Prefix,
    Range,
)
from retrieval.retriever import parse_location, retrieve
from retrieval.types import Hit, SearchMode

QUERIES = load_queries(Path(__file__).with_name("retriever.sql"))

DOCUMENT_FIELDS = (
    "title",
    "path",
    "uri",
    "media_type",
    "version",
)  # of a document; its nodes carry them as metadata
SOURCE_DOCUMENT_KEYS = (
    "ref_doc_id",
    "doc_id",
    "document_id",
)  # what LlamaIndex's stores call the document that a node is of
NODE_URI_PREFIX = "llamaindex:/"  # of a node that was added through LlamaIndex, followed by its id
PASSAGE_ID_PATTERN = re.compile(
    r"groundwork:([0-9a-f-]{36}):\d+"
)  # of a passage of an ingested file


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
        mode: SearchMode = "hybrid",
        where: Filter | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self._services = services
        self._principal = principal
        self._limit = limit
        self._mode: SearchMode = mode
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
            vector=self._query_vector(query_bundle),
        )
        return [NodeWithScore(node=build_node(hit), score=hit.score) for hit in evidence.hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _query_vector(self, query_bundle: QueryBundle) -> list[float] | None:
        """What a query transformation made of the question (HyDE's hypothetical answer, say); None for the question."""
        if query_bundle.embedding is not None:
            return check_vector(self._services.embedder(), query_bundle.embedding)
        if not query_bundle.custom_embedding_strs or self._mode == "lexical":
            return None
        vectors = encode_truncated(self._services.embedder(), query_bundle.custom_embedding_strs)
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
        return [
            [float(number) for number in vector]
            for vector in encode_truncated(self._services.embedder(), texts)
        ]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embeddings([query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)


def encode_truncated(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Unit vectors of texts, of each as much as the model can see: shape (len(texts), dimension)."""
    return embedder.encode([_truncate_to_model(embedder, text) for text in texts])


def _truncate_to_model(embedder: Embedder, text: str) -> str:
    starts = embedder.token_starts(text)
    return (
        text
        if len(starts) <= embedder.max_input_tokens
        else text[: starts[embedder.max_input_tokens]]
    )


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
        raise InvalidInput(
            "The vector holds a number that is not finite; embed with GroundworkEmbedding."
        )
    return list(vector)


# --- passages as nodes ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodePassage:
    """What a node is made of."""

    document_id: UUID
    ordinal: int
    document_fields: dict[str, Any]
    metadata: dict[str, Any]
    location_label: str
    start: int
    end: int
    text: str


def build_node(hit: Hit) -> BaseNode:
    """A hit as a node: the one that was added, if it came through LlamaIndex, else one with our own id."""
    own = {name: getattr(hit, name) for name in DOCUMENT_FIELDS}
    metadata = dict(hit.metadata)
    return _build_passage_node(
        NodePassage(
            hit.document_id, hit.ordinal, own, metadata, hit.location.label(), *hit.span, hit.text
        )
    )


def read_nodes(connection: Connection, tenant: str, where: Filter) -> list[BaseNode]:
    """All nodes of the documents that a filter lets pass."""
    made = compile_filter(where)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            sql.SQL(QUERIES["passages"]).format(condition=made.condition),
            {**made.values, "tenant": tenant},
        ).fetchall()
    return [
        _build_passage_node(
            NodePassage(
                row["document_id"],
                row["ordinal"],
                {name: row[name] for name in DOCUMENT_FIELDS},
                row["metadata"],
                parse_location(row["location"]).label(),
                row["start_char"],
                row["end_char"],
                row["text"],
            )
        )
        for row in rows
    ]


def _build_passage_node(passage: NodePassage) -> BaseNode:
    if passage.document_fields["uri"].startswith(NODE_URI_PREFIX):
        return metadata_dict_to_node(passage.metadata, text=passage.text)
    shown = {**passage.document_fields, "location": passage.location_label, **passage.metadata}
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


def convert_filters(filters: MetadataFilters | None) -> Filter | None:
    """LlamaIndex's filters as ours. A key names what a node's metadata shows.

    Raises:
        InvalidInput: an operator without a value of the kind it needs.
    """
    if filters is None or not filters.filters:
        return None
    parts = tuple(
        inner
        for given in filters.filters
        if (
            inner := convert_filters(given)
            if isinstance(given, MetadataFilters)
            else _convert_filter(given)
        )
        is not None
    )
    if not parts:
        return None
    match filters.condition:
        case FilterCondition.OR:
            return Or(parts)
        case FilterCondition.NOT:
            return Not(Or(parts))
    return And(parts)


def _convert_filter(metadata_filter: MetadataFilter) -> Filter:
    make, negated = _convert_operator(metadata_filter)
    own: tuple[Filter, ...] = ()
    try:
        if (
            metadata_filter.key in DOCUMENT_FIELDS
        ):  # what the metadata says stands before what the document says, as in the node
            own = (
                And(
                    (
                        Not(Exists(METADATA_PREFIX + metadata_filter.key)),
                        Not(Prefix("uri", NODE_URI_PREFIX)),
                        make(metadata_filter.key),
                    )
                ),
            )
        elif (
            metadata_filter.key in SOURCE_DOCUMENT_KEYS
        ):  # a node says what it is of; only a file's passages are of the document itself
            own = (And((Not(Exists(METADATA_PREFIX + "ref_doc_id")), make("document_id"))),)
    except InvalidInput:  # no document has that kind of value in this field; some metadata may
        own = ()
    key = "ref_doc_id" if metadata_filter.key in SOURCE_DOCUMENT_KEYS else metadata_filter.key
    tree = Or((make(METADATA_PREFIX + key), *own)) if own else make(METADATA_PREFIX + key)
    return Not(tree) if negated else tree


def _convert_operator(metadata_filter: MetadataFilter) -> tuple[Callable[[str], Filter], bool]:
    """What makes the condition for a field, and whether it is the opposite that is asked for."""
    value: Any = metadata_filter.value
    match metadata_filter.operator:
        case FilterOperator.IS_EMPTY:
            return Exists, True
        case FilterOperator.EQ | FilterOperator.NE:
            _check_value(
                metadata_filter, isinstance(value, str | int | float), "one text or number"
            )
            return lambda field: Equals(field, value), metadata_filter.operator == FilterOperator.NE
        case FilterOperator.IN | FilterOperator.NIN:
            _check_value(metadata_filter, isinstance(value, list), "a list")
            return lambda field: In(
                field, tuple(value)
            ), metadata_filter.operator == FilterOperator.NIN
        case FilterOperator.ANY | FilterOperator.ALL:
            _check_value(metadata_filter, isinstance(value, list), "a list")
            return lambda field: Holds(
                field, tuple(value), match_all=metadata_filter.operator == FilterOperator.ALL
            ), False
        case FilterOperator.CONTAINS:
            _check_value(
                metadata_filter, isinstance(value, str | int | float), "one text or number"
            )
            return lambda field: Holds(field, (value,)), False
        case FilterOperator.TEXT_MATCH | FilterOperator.TEXT_MATCH_INSENSITIVE:
            _check_value(metadata_filter, isinstance(value, str), "a text")
            ignore_case = metadata_filter.operator == FilterOperator.TEXT_MATCH_INSENSITIVE
            return lambda field: Contains(field, value, ignore_case), False
        case FilterOperator.GT | FilterOperator.GTE | FilterOperator.LT | FilterOperator.LTE:
            _check_value(
                metadata_filter, isinstance(value, str | int | float), "one text or number"
            )
            name = {">": "gt", ">=": "ge", "<": "lt", "<=": "le"}[metadata_filter.operator.value]
            return lambda field: Range(field, **{name: value}), False
    raise InvalidInput(
        f"Groundwork has no filter {metadata_filter.operator.value!r}; use another operator."
    )


def _check_value(metadata_filter: MetadataFilter, is_valid: bool, expected: str) -> None:
    if not is_valid:
        raise InvalidInput(
            f"The filter {metadata_filter.operator.value!r} on {metadata_filter.key[:40]!r} needs {expected}; what is missing is_empty."
        )
