"""Passages as LlamaIndex nodes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node
from psycopg import sql
from psycopg.rows import dict_row

from core.db.database import Connection
from core.db.queries import load_queries
from core.types import Span
from retrieval.filter_sql import compile_filter
from retrieval.filters import Filter
from retrieval.search_statement import parse_location
from retrieval.types import Hit

QUERIES = load_queries(Path(__file__).with_name("nodes.sql"))

DOCUMENT_FIELDS = ("title", "path", "uri", "media_type", "version")  # in the metadata of its nodes
LLM_METADATA = ("title", "path", "location")  # the metadata that a language model sees
NODE_URI_PREFIX = "llamaindex:/"  # of a node that LlamaIndex added, followed by its id
PASSAGE_ID_PATTERN = re.compile(r"groundwork:([0-9a-f-]{36}):\d+")  # of a passage of a file


@dataclass(frozen=True, slots=True)
class NodePassage:
    """The content of a node."""

    document_id: UUID
    ordinal: int
    document_fields: dict[str, Any]
    metadata: dict[str, Any]
    location_label: str
    span: Span
    text: str


def build_node(hit: Hit) -> BaseNode:
    """Return the node that LlamaIndex added, or a new one for a passage of a file."""
    fields = {name: getattr(hit, name) for name in DOCUMENT_FIELDS}
    metadata, label = dict(hit.metadata), hit.location.label
    return _build_node(
        NodePassage(hit.document_id, hit.ordinal, fields, metadata, label, hit.span, hit.text)
    )


def read_nodes(connection: Connection, tenant: str, where: Filter) -> list[BaseNode]:
    """Return all nodes of the documents that pass a filter."""
    clause = compile_filter(where)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            sql.SQL(QUERIES["passages"]).format(condition=clause.condition),
            {**clause.values, "tenant": tenant},
        ).fetchall()
    return [_build_node(_parse_passage(row)) for row in rows]


def _parse_passage(row: dict[str, Any]) -> NodePassage:
    return NodePassage(
        document_id=row["document_id"],
        ordinal=row["ordinal"],
        document_fields={name: row[name] for name in DOCUMENT_FIELDS},
        metadata=row["metadata"],
        location_label=parse_location(row["location"]).label,
        span=Span(row["start_char"], row["end_char"]),
        text=row["text"],
    )


def _build_node(passage: NodePassage) -> BaseNode:
    if passage.document_fields["uri"].startswith(NODE_URI_PREFIX):
        return metadata_dict_to_node(passage.metadata, text=passage.text)
    metadata = {**passage.document_fields, "location": passage.location_label, **passage.metadata}
    hidden = [name for name in metadata if name not in LLM_METADATA]
    document_id = str(passage.document_id)
    return TextNode(
        id_=f"groundwork:{document_id}:{passage.ordinal}",
        text=passage.text,
        metadata=metadata,
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=hidden,
        start_char_idx=passage.span.start,
        end_char_idx=passage.span.end,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document_id)},
    )
