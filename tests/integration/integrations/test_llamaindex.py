"""LlamaIndex adapters in LlamaIndex's engines: retriever, vector store, filters, embedding."""

import asyncio
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms.mock import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import (
    BaseNode,
    MetadataMode,
    NodeRelationship,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.settings import Settings
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from psycopg import sql

from core.errors import InvalidInput
from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from integrations.llamaindex.vector_store import (
    GroundworkEmbedding,
    GroundworkRetriever,
    GroundworkVectorStore,
)
from retrieval.filters import Prefix
from retrieval.retriever import retrieve
from tests.conftest import ROOT
from tests.support.services import connect_services, connect_superuser, ingest_folder

ALDER = Principal("alder")
WARRANTY = "How long is the warranty of a sonde?"

FACTS: dict[str, tuple[str, dict[str, Any]]] = {
    "otter": (
        "Otters eat crabs and small fish.",
        {"animal": "otter", "legs": 4, "tags": ["river", "fur"], "note": ""},
    ),
    "heron": (
        "Herons stand still in shallow water and wait for fish.",
        {"animal": "heron", "legs": 2, "tags": ["river", "bird"]},
    ),
    "beaver": (
        "Beavers build dams of branches and mud.",
        {"animal": "beaver", "legs": 4, "tags": [], "note": "Builds DAMS"},
    ),
    "snail": (
        "Snails leave a trail of slime behind them.",
        {"animal": "snail", "legs": 0, "weight": 0.1, "note": "100% slow"},
    ),
    "eel": (
        "Eels swim from rivers to the Sargasso Sea to spawn.",
        {"animal": "x') OR 1=1 --", "title": "On eels"},
    ),
}


def animals() -> list[TextNode]:
    """Return nodes of two documents, like a node parser."""
    nodes = []
    for name, (text, metadata) in FACTS.items():
        node = TextNode(
            id_=name,
            text=text,
            metadata=dict(metadata),
            start_char_idx=7,
            end_char_idx=7 + len(text),
        )
        source = "mammals" if name in ("otter", "beaver") else "others"
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=source)
        nodes.append(node)
    return nodes


@pytest.fixture
def store(services: Services) -> GroundworkVectorStore:
    """Return an empty store."""
    return GroundworkVectorStore(services, ALDER)


@pytest.fixture(scope="module")
def zoo(
    server: EmbeddedPostgres, clone: Any, home: Path, embedder: Any
) -> Iterator[GroundworkVectorStore]:
    """Return a store with the animals, for tests that only read."""
    with connect_services(server, clone(), home, embedder) as services:
        store = GroundworkVectorStore(services, ALDER)
        store.add(animals())
        yield store


@pytest.fixture(autouse=True)
def _no_global_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse the models of LlamaIndex's global Settings, which would use the network."""
    for name in ("llm", "embed_model"):

        def refuse(self: object, name: str = name) -> None:
            raise AssertionError(f"Settings.{name} was asked for")

        monkeypatch.setattr(type(Settings), name, property(refuse))


def index_on(store: GroundworkVectorStore) -> VectorStoreIndex:
    """Return an index as a user makes it."""
    return VectorStoreIndex.from_vector_store(
        store,
        embed_model=GroundworkEmbedding(store._services),
        transformations=[SentenceSplitter(chunk_size=200)],
        callback_manager=CallbackManager(),
    )


# --- the retriever


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_the_retriever_finds_what_the_search_finds(sample_services: Services, mode: Any) -> None:
    """Nodes have the same passages, order and scores, with metadata and offsets into the text."""
    found = GroundworkRetriever(sample_services, ALDER, limit=5, mode=mode).retrieve(WARRANTY)
    hits = retrieve(sample_services, ALDER, WARRANTY, limit=5, mode=mode).hits
    assert [(node.text, node.score) for node in found] == [(hit.text, hit.score) for hit in hits]
    for scored, hit in zip(found, hits, strict=True):
        node = scored.node
        assert isinstance(node, TextNode)
        assert (node.start_char_idx, node.end_char_idx) == hit.span
        assert node.metadata["title"] == hit.title
        assert node.metadata["path"] == hit.path
        assert node.metadata["location"] == hit.location.label
        assert node.ref_doc_id == str(hit.document_id)
        assert hit.uri not in node.get_content(MetadataMode.LLM)
    json.dumps([node.to_dict() for node in found])


def test_the_retriever_applies_its_filter_and_its_principal(sample_services: Services) -> None:
    """It returns only matches, and only documents of the tenant."""
    narrowed = GroundworkRetriever(
        sample_services, ALDER, where=Prefix("path", "products/")
    ).retrieve(WARRANTY)
    assert {node.metadata["path"].split("/")[0] for node in narrowed} <= {"products"}
    theirs = GroundworkRetriever(sample_services, Principal("brightwater")).retrieve(WARRANTY)
    assert not {node.node_id for node in theirs} & {
        node.node_id
        for node in GroundworkRetriever(sample_services, ALDER, limit=100).retrieve(WARRANTY)
    }


def test_the_retriever_does_not_block_the_event_loop(sample_services: Services) -> None:
    """Several `aretrieve` calls run at the same time and return the same nodes."""
    retriever = GroundworkRetriever(sample_services, ALDER, limit=3)

    async def several() -> list[Any]:
        return await asyncio.gather(*(retriever.aretrieve(WARRANTY) for _ in range(4)))

    expected = [node.node_id for node in retriever.retrieve(WARRANTY)]
    assert [[node.node_id for node in nodes] for nodes in asyncio.run(several())] == [expected] * 4


def test_the_text_of_a_query_transformation_is_embedded(sample_services: Services) -> None:
    """As in HyDE, the vector is of another text, and the words are the question's."""
    other = "Staff receive 25 days of annual leave."
    bundle = QueryBundle("xylophonquartz", custom_embedding_strs=[other])
    found = GroundworkRetriever(sample_services, ALDER, limit=3, mode="dense").retrieve(bundle)
    expected = retrieve(sample_services, ALDER, other, limit=3, mode="dense").hits
    assert [node.text for node in found] == [hit.text for hit in expected]
    with pytest.raises(InvalidInput, match="3 dimensions"):
        GroundworkRetriever(sample_services, ALDER).retrieve(
            QueryBundle("leave", embedding=[1.0, 0.0, 0.0])
        )


def test_llamaindex_engines_answer_from_our_passages(sample_services: Services) -> None:
    """The engines prompt a model, which echoes, with our passages."""
    retriever = GroundworkRetriever(sample_services, ALDER, limit=3)
    llm = MockLLM()
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=llm, response_synthesizer=get_response_synthesizer(llm)
    )
    response = engine.query(WARRANTY)
    expected = retriever.retrieve(WARRANTY)
    assert [node.node_id for node in response.source_nodes] == [node.node_id for node in expected]
    assert all(node.text in str(response) for node in expected)
    assert WARRANTY in str(response)

    citing = CitationQueryEngine.from_args(
        index_on(GroundworkVectorStore(sample_services, ALDER)),
        llm=llm,
        retriever=retriever,
        citation_chunk_size=512,
        text_splitter=SentenceSplitter(chunk_size=512),
    )
    response = citing.query(WARRANTY)
    numbers = re.findall(r"^Source (\d+):", str(response), re.MULTILINE)
    assert {str(number + 1) for number in range(len(response.source_nodes))} <= set(numbers)
    assert len(response.source_nodes) >= 3
    assert all(node.metadata["path"] for node in response.source_nodes)


# --- the vector store


def test_an_index_on_our_store(store: GroundworkVectorStore) -> None:
    """VectorStoreIndex adds, queries in three modes, updates and deletes."""
    index = index_on(store)
    index.insert(
        Document(
            text="Otters eat crabs. They sleep in holts by the river.",
            doc_id="otters",
            metadata={"year": 2024},
        )
    )
    index.insert_nodes(animals())
    for mode in ("default", "hybrid", "sparse"):
        retriever = index.as_retriever(similarity_top_k=2, vector_store_query_mode=mode)
        found = retriever.retrieve("Which animals build dams?")
        assert found[0].node_id == "beaver"
        assert found[0].score is not None
        assert found[0].score > 0
        assert asyncio.run(retriever.aretrieve("Which animals build dams?"))[0].node_id == "beaver"
    engine = index.as_query_engine(
        llm=MockLLM(), vector_store_query_mode="hybrid", similarity_top_k=2
    )
    assert "Beavers build dams" in str(engine.query("Which animals build dams?"))

    index.update_ref_doc(
        Document(text="Otters juggle stones.", doc_id="otters", metadata={"year": 2025})
    )
    texts = {node.get_content() for node in store.get_nodes(filters=only("year", ">", 2000))}
    assert texts == {"Otters juggle stones."}
    index.delete_ref_doc("otters")
    assert store.get_nodes(filters=only("year", ">", 2000)) == []
    index.delete_nodes(["snail"])
    assert {node.node_id for node in store.get_nodes(filters=only("animal", "!=", ""))} == set(
        FACTS
    ) - {"snail"}
    store.clear()
    assert store.get_nodes(list(FACTS)) == []


def test_an_index_from_documents(store: GroundworkVectorStore) -> None:
    """These are the usual first lines of a LlamaIndex program."""
    VectorStoreIndex.from_documents(
        [Document(text="The moon pulls the tides.", doc_id="moon")],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=GroundworkEmbedding(store._services),
        transformations=[SentenceSplitter(chunk_size=200)],
        callback_manager=CallbackManager(),
    )
    assert (
        index_on(store).as_retriever(similarity_top_k=1).retrieve("tides")[0].text
        == "The moon pulls the tides."
    )


def test_a_stored_node_comes_back_unchanged(zoo: GroundworkVectorStore) -> None:
    """Its text, metadata, offsets and relationships are the same."""
    for node in animals():
        [back] = zoo.get_nodes([node.node_id])
        assert back == node
        assert (back.hash, back.ref_doc_id) == (node.hash, node.ref_doc_id)


def test_adding_a_node_again_replaces_it(
    store: GroundworkVectorStore, server: EmbeddedPostgres
) -> None:
    """One node remains, with its last text and no trace of earlier ones."""
    for number in range(3):
        assert store.add([TextNode(id_="a", text=f"Version {number} of the truth.")]) == ["a"]
    assert store.add(
        [TextNode(id_="a", text="Twice at once."), TextNode(id_="a", text="The last word.")]
    ) == ["a", "a"]
    found = store.query(
        VectorStoreQuery(query_str="truth", similarity_top_k=10, mode=VectorStoreQueryMode.HYBRID)
    )
    assert [node.get_content() for node in found.nodes or []] == ["The last word."]
    with connect_superuser(server, store._services) as connection:
        for table in ("document", "chunk", "vector_1", "sentence_1"):
            query = sql.SQL("select count(*) from {}").format(sql.Identifier(table))
            assert connection.execute(query).fetchone() == (1,)
        assert connection.execute("select array_agg(distinct term) from posting").fetchone() == (
            ["last", "word"],
        )


def test_a_search_by_vector_alone(zoo: GroundworkVectorStore) -> None:
    """A query may have an embedding and no words, as in other stores."""
    vector = GroundworkEmbedding(zoo._services).get_query_embedding("dams made of branches")
    found = zoo.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=2))
    assert found.ids is not None
    assert found.similarities is not None
    assert found.ids[0] == "beaver"
    assert -1 <= found.similarities[1] <= found.similarities[0] <= 1
    assert zoo.query(
        VectorStoreQuery(query_embedding=vector, similarity_top_k=2, node_ids=["eel"])
    ).ids == ["eel"]
    among = zoo.query(
        VectorStoreQuery(query_embedding=vector, similarity_top_k=9, doc_ids=["mammals"])
    ).ids
    assert set(among or []) == {"otter", "beaver"}


def test_files_and_nodes_are_found_together(services: Services) -> None:
    """A tenant's store has ingested files and added nodes; only nodes can be deleted here."""
    ingest_folder(services, "alder", ROOT / "sample" / "alder" / "products")
    store = GroundworkVectorStore(services, ALDER)
    store.add([TextNode(id_="extra", text="The warranty of a sonde was once ten years.")])
    found = store.query(
        VectorStoreQuery(query_str=WARRANTY, similarity_top_k=5, mode=VectorStoreQueryMode.HYBRID)
    )
    assert found.ids is not None
    assert "extra" in found.ids
    passage = next(node for node in found.nodes or [] if node.node_id != "extra")
    assert store.get_nodes([passage.node_id, "extra"]) in (
        [passage, *store.get_nodes(["extra"])],
        [*store.get_nodes(["extra"]), passage],
    )
    same = store.query(
        VectorStoreQuery(
            query_str="sonde",
            similarity_top_k=50,
            mode=VectorStoreQueryMode.SPARSE,
            filters=only("path", "==", passage.metadata["path"]),
        )
    )
    assert {node.metadata["path"] for node in same.nodes or []} == {passage.metadata["path"]}
    for refused in (
        lambda: store.delete(passage.ref_doc_id or ""),
        lambda: store.delete_nodes([passage.node_id]),
        lambda: store.delete_nodes(filters=only("title", "!=", "none such")),
    ):
        with pytest.raises(InvalidInput, match="Delete the file"):
            refused()
    with pytest.raises(InvalidInput, match="Use doc_ids"):
        store.query(VectorStoreQuery(query_str="sonde", node_ids=[passage.node_id]))
    store.clear()
    assert store.get_nodes([passage.node_id]) == [passage]


def test_a_reader_can_neither_find_nor_delete_hidden_nodes(services: Services) -> None:
    """Nodes belong to a tenant and its groups."""
    secret = GroundworkVectorStore(
        services, Principal("alder", ("finance",)), allowed_groups=["finance"]
    )
    secret.add([TextNode(id_="secret", text="The gate code is 4711.")])
    for stranger in (ALDER, Principal("alder", ("legal",)), Principal("brightwater", ("finance",))):
        other = GroundworkVectorStore(services, stranger)
        for mode in (
            VectorStoreQueryMode.DEFAULT,
            VectorStoreQueryMode.HYBRID,
            VectorStoreQueryMode.SPARSE,
        ):
            assert (
                other.query(
                    VectorStoreQuery(query_str="gate code", similarity_top_k=5, mode=mode)
                ).ids
                == []
            )
        assert other.get_nodes(["secret"]) == []
        other.delete_nodes(["secret"])
        other.clear()
    assert len(secret.get_nodes(["secret"])) == 1
    secret.delete_nodes(["secret"])
    assert secret.get_nodes(["secret"]) == []


def test_a_batch_with_an_invalid_node_is_refused_whole(store: GroundworkVectorStore) -> None:
    """The error says why, and nothing of the batch is stored."""
    good = TextNode(id_="good", text="Fine.")
    vector = GroundworkEmbedding(store._services).get_text_embedding("Fine.")
    for node, sentence in (
        (TextNode(id_="", text="x"), "empty or too long"),
        (TextNode(id_="x" * 2_000, text="x"), "empty or too long"),
        (TextNode(id_="a\x00", text="x"), "NUL"),
        (TextNode(id_="a", text="x", metadata={"k": "a\x00"}), "NUL"),
        (TextNode(id_="a", text="x", metadata={"k": [{"\x00": 1}]}), "NUL"),
        (TextNode(id_="a", text="half \ud800"), "half a character"),
        (TextNode(id_="a", text="x", metadata={"k": "\ud800"}), "half a character"),
        (TextNode(id_="a", text="x", metadata={"k": object()}), "not JSON"),
        (TextNode(id_="a", text="x", embedding=[0.1] * 3), "3 dimensions"),
        (TextNode(id_="a", text="x", embedding=[math.nan] * 384), "not finite"),
        (TextNode(id_="a", text="x", embedding=vector[::-1]), "not by the index's model"),
    ):
        with pytest.raises(InvalidInput, match=sentence):
            store.add([good, node])
    assert store.get_nodes(["good"]) == []
    store.add(
        [
            TextNode(id_="odd", text="NUL \x00 in a text \\u0000", metadata={"k": "\\u0000"}),
            TextNode(id_="bare", text=""),
        ]
    )
    assert [node.get_content() for node in store.get_nodes(["odd", "bare"])] == [
        "",
        "NUL   in a text \\u0000",
    ]
    assert store.add([]) == []


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.MMR), "no query mode 'mmr'"),
        (VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.SVM), "no query mode 'svm'"),
        (
            VectorStoreQuery(query_str="x", alpha=0.3, mode=VectorStoreQueryMode.HYBRID),
            "Leave alpha out",
        ),
        (VectorStoreQuery(query_str="x", similarity_top_k=1000), "Use 1 to 100"),
        (VectorStoreQuery(query_str=""), "question is empty"),
        (VectorStoreQuery(query_str="x", query_embedding=[1.0]), "1 dimensions"),
    ],
)
def test_an_unsupported_query_is_refused(
    zoo: GroundworkVectorStore, query: VectorStoreQuery, sentence: str
) -> None:
    """It is not silently run in another way."""
    with pytest.raises(InvalidInput, match=sentence):
        zoo.query(query)


def test_a_call_without_ids_and_filters_is_refused(zoo: GroundworkVectorStore) -> None:
    """An empty list of ids selects nothing."""
    for ask in (zoo.get_nodes, zoo.delete_nodes):
        with pytest.raises(InvalidInput, match="No nodes are selected"):
            ask()
        assert not ask([])


# --- filters


def only(key: str, operator: str, value: Any = None) -> MetadataFilters:
    return MetadataFilters(
        filters=[MetadataFilter(key=key, operator=FilterOperator(operator), value=value)]
    )


@pytest.mark.parametrize(
    ("key", "operator", "value", "expected"),
    [
        ("animal", "==", "otter", "otter"),
        ("animal", "==", "x') OR 1=1 --", "eel"),
        ("legs", "==", 4, "otter beaver"),
        ("legs", "==", "4", ""),
        ("legs", "!=", 4, "heron snail eel"),
        ("legs", ">", 2, "otter beaver"),
        ("legs", ">=", 2, "otter beaver heron"),
        ("legs", "<", 2, "snail"),
        ("legs", "<=", 2, "snail heron"),
        ("weight", "<", 0.2, "snail"),
        ("animal", ">=", "otter", "otter snail eel"),
        ("animal", "in", ["otter", "heron"], "otter heron"),
        ("animal", "in", ["x') OR 1=1 --"], "eel"),
        ("legs", "in", [0, 2], "snail heron"),
        ("legs", "nin", [0, 2], "otter beaver eel"),
        ("tags", "any", ["bird", "fur"], "otter heron"),
        ("tags", "all", ["river", "fur"], "otter"),
        ("tags", "contains", "river", "otter heron"),
        ("note", "text_match", "DAMS", "beaver"),
        ("note", "text_match", "dams", ""),
        ("note", "text_match", "%", "snail"),
        ("note", "text_match_insensitive", "dAmS", "beaver"),
        ("tags", "is_empty", None, "beaver snail eel"),
        ("note", "is_empty", None, "otter heron eel"),
        ("title", "==", "On eels", "eel"),
        ("title", "is_empty", None, "otter heron beaver snail"),
        ("ref_doc_id", "==", "mammals", "otter beaver"),
        ("doc_id", "in", ["others"], "heron snail eel"),
        ("document_id", "!=", "mammals", "heron snail eel"),
        ("no such key", "!=", "x", "otter heron beaver snail eel"),
    ],
)
def test_every_operator(
    zoo: GroundworkVectorStore, key: str, operator: str, value: Any, expected: str
) -> None:
    """A filter works for `get_nodes` and for a query in each mode."""
    filters = only(key, operator, value)
    wanted = set(expected.split())
    assert {node.node_id for node in zoo.get_nodes(filters=filters)} == wanted
    for mode in (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.HYBRID):
        query = VectorStoreQuery(
            query_str="animals of the river", similarity_top_k=10, filters=filters, mode=mode
        )
        assert set(zoo.query(query).ids or []) == wanted


def test_every_operator_of_llamaindex_is_tested() -> None:
    """A new operator of LlamaIndex fails this test."""
    tried = {
        mark.args[1][at][1]
        for mark in test_every_operator.pytestmark
        for at in range(len(mark.args[1]))
    }  # type: ignore[attr-defined]
    assert tried == {operator.value for operator in FilterOperator}


@pytest.mark.parametrize(
    ("key", "operator", "value", "sentence"),
    [
        ("a", "==", None, "needs one text or number"),
        ("a", "==", ["x"], "needs one text or number"),
        ("a", "in", "x", "needs a list"),
        ("a", "in", [], "at least 1 item"),
        ("a", "any", "x", "needs a list"),
        ("a", "text_match", 5, "needs a text"),
        ("a", ">", ["x"], "needs one text or number"),
        ("a", "<", math.inf, "not finite"),
        ("", "==", "x", "Use 1 to"),
        ("a\x00", "==", "x", "printable"),
        ("a", "==", "\x00", "no document can contain"),
    ],
)
def test_an_operator_with_the_wrong_value_is_refused(
    zoo: GroundworkVectorStore, key: str, operator: str, value: Any, sentence: str
) -> None:
    """It would match everything or nothing otherwise."""
    with pytest.raises(InvalidInput, match=sentence):
        zoo.get_nodes(filters=only(key, operator, value))


leaves = st.builds(
    MetadataFilter,
    key=st.sampled_from(
        ("animal", "legs", "tags", "note", "title", "weight", "ref_doc_id", "version", "missing")
    ),
    operator=st.sampled_from(FilterOperator),
    value=st.none()
    | st.sampled_from(("otter", "river", "On eels", "", "%", "mammals", 0, 2, 4, 0.1))
    | st.lists(st.sampled_from(("otter", "river", "fur", "mammals")), min_size=1, max_size=2)
    | st.lists(st.sampled_from((0, 2, 4)), min_size=1, max_size=2),
)
nested = st.recursive(
    leaves,
    lambda inner: st.builds(
        MetadataFilters,
        filters=st.lists(inner, min_size=1, max_size=3),
        condition=st.sampled_from((*FilterCondition, None)),
    ),
    max_leaves=5,
)


def holds(tree: MetadataFilter | MetadataFilters, node: BaseNode) -> bool:
    """Evaluate a filter in Python."""
    if isinstance(tree, MetadataFilters):
        held = [holds(part, node) for part in tree.filters]
        return {"or": any(held), "not": not any(held)}.get(
            tree.condition.value if tree.condition else "and", all(held)
        )
    value = node.ref_doc_id if tree.key == "ref_doc_id" else node.metadata.get(tree.key)
    wanted: Any = tree.value
    alike = isinstance(value, str) == isinstance(wanted, str) and isinstance(
        value, str | int | float
    )
    match tree.operator.value:
        case "==":
            return alike and value == wanted
        case "!=":
            return not (alike and value == wanted)
        case "in":
            return isinstance(value, str | int | float) and value in wanted
        case "nin":
            return not (isinstance(value, str | int | float) and value in wanted)
        case "any" | "all":
            return isinstance(value, list) and {"any": any, "all": all}[tree.operator.value](
                one in value for one in wanted
            )
        case "contains":
            return isinstance(value, list) and wanted in value
        case "text_match":
            return isinstance(value, str) and wanted in value
        case "text_match_insensitive":
            return isinstance(value, str) and wanted.lower() in value.lower()
        case "is_empty":
            return value in (None, "", [])
    return (
        alike
        and {
            ">": value > wanted,
            ">=": value >= wanted,
            "<": value < wanted,
            "<=": value <= wanted,
        }[tree.operator.value]
    )  # type: ignore[operator]


@settings(max_examples=400, deadline=None)
@given(tree=nested)
def test_nested_filters_match_the_same_nodes_in_python(
    zoo: GroundworkVectorStore, tree: Any
) -> None:
    """Any nesting of and, or, not either matches alike or is refused."""
    filters = tree if isinstance(tree, MetadataFilters) else MetadataFilters(filters=[tree])
    try:
        found = zoo.get_nodes(filters=filters)
    except InvalidInput as refused:
        assert re.search("needs|nested too deep", str(refused))  # noqa: PT017 - refusing is optional
        return
    assert {node.node_id for node in found} == {
        node.node_id for node in animals() if holds(filters, node)
    }


# --- the page


def test_the_page_on_pgvectorstore_runs(
    services: Services, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code blocks run one after the other."""
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", services.settings.database_url)
    monkeypatch.setattr("core.services.load_embedder", lambda name, dtype: embedder)
    page = (ROOT / "docs" / "guides" / "from-pgvectorstore.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "from-pgvectorstore.md", "exec"), names)
