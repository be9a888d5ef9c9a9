"""Wire protocol between the parser process and its parent."""

import pytest

from core.types import Block, Location, Span
from ingest.parsers.types import ParsedDocument
from ingest.sandbox import protocol


def test_document_is_unchanged_by_the_protocol():
    path = ("Ä", "B\u2028")
    blocks = (
        Block("heading", Span(0, 1), Location(), 1),
        Block("paragraph", Span(3, 4), Location(path, page=2)),
        Block("table", Span(4, 6), Location(path, sheet="S", rows=(3, 4))),
        Block("list", Span(7, 8), Location(("A",), slide=5)),
    )
    parsed = ParsedDocument(
        "a\n\nbcd\ne", blocks, "T \U0001f600", {"a": [1, None, {"b": 0.5}], "n": True}
    )
    assert protocol.decode_reply(protocol.encode_document("text/plain", parsed)) == (
        "text/plain",
        parsed,
    )


def document(text: str = '"abc"', metadata: str = "{}", blocks: str = "[]") -> bytes:
    """Return the message of a document, with JSON values for some of its members."""
    return (
        f'{{"kind":"a","text":{text},"title":"","metadata":{metadata},"blocks":{blocks},'
        '"paths":[[]]}'
    ).encode()


def test_minimal_document_is_accepted():
    assert protocol.decode_reply(document())[1].text == "abc"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        b"{}",
        b'{"reason":1,"message":"a"}',
        b'{"reason":"a"}',
        document(text="1"),
        document(metadata="[]"),
        document(blocks='[["paragraph",0,4,0,0]]'),
        document(blocks='[["paragraph",-1,2,0,0]]'),
        document(blocks='[["paragraph",0,2,0,7]]'),
        document(blocks='[["script",0,2,0,0]]'),
        document(blocks='[["paragraph",0,2,0,0,"x",null,null,null]]'),
        document(blocks='[["list",1,2,0,0],["list",0,1,0,0]]'),
    ],
)
def test_invalid_message_is_refused(message):
    with pytest.raises(ValueError, match=r"."):
        protocol.decode_reply(message)
