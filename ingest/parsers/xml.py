"""XML inside e-books and office files, parsed without entities."""

from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element, fromstring

from core.errors import UnreadableFile
from ingest.parsers.builder import to_json_value


def parse_xml(data: bytes) -> Element:
    """Return the root of an XML document; refuse one that declares entities.

    Office programs write no entities; attacks do.
    """
    if b"<!ENTITY" in data:
        why = "The file's XML declares entities, as in an attack. Save it with another program."
        raise UnreadableFile("corrupt", why)
    return fromstring(data)  # noqa: S314 - entities are refused above


def local_name(node: Element) -> str:
    """Return a tag without its namespace."""
    return node.tag.rpartition("}")[2]


def iter_named(root: Element, name: str) -> Iterator[Element]:
    """Yield the elements of that local name, `root` and all below it."""
    return (node for node in root.iter() if local_name(node) == name)


def find_text(root: Element, name: str) -> str:
    """Return the text of the first element of that local name; "" if there is none."""
    node = next(iter_named(root, name), None)
    return "" if node is None else "".join(node.itertext()).strip()


def read_metadata(root: Element, key_by_name: Mapping[str, str]) -> dict[str, object]:
    """Return the texts of the elements named in `key_by_name`, under their metadata keys."""
    metadata: dict[str, object] = {}
    for name, key in key_by_name.items():
        if value := find_text(root, name):
            metadata[key] = to_json_value(value)
    return metadata
