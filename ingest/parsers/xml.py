"""XML inside e-books and office files, read without entities."""

from xml.etree.ElementTree import Element, fromstring

from core.errors import UnreadableFile


def parse_xml(data: bytes) -> Element:
    """The root of an XML document; one that declares entities, which no office program writes, is refused."""
    if b"<!ENTITY" in data:
        raise UnreadableFile(
            "corrupt",
            "The file's XML declares entities, as attacks do; save it again with another program.",
        )
    return fromstring(data)


def local_name(node: Element) -> str:
    """A tag without its namespace."""
    return node.tag.rpartition("}")[2]


def find_text(root: Element, name: str) -> str:
    """The text of the first element of that local name below `root`."""
    return next(
        ("".join(node.itertext()).strip() for node in root.iter() if local_name(node) == name), ""
    )
