"""Small files of each format, built by the tests so that the repository has no binary files."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import docx
import openpyxl
import pptx
from pypdf import PdfReader, PdfWriter


class Drawn(NamedTuple):
    """Line of text on a PDF page; `y` is in points from the bottom."""

    text: str
    y: float
    size: float = 11
    x: float = 72
    bold: bool = False


def pdf(
    pages: Sequence[Sequence[Drawn]], outline: Sequence[tuple[str, int]] = (), password: str = ""
) -> bytes:
    """Return a PDF with these lines on its pages, and bookmarks as (title, page from 1)."""
    writer = PdfWriter(PdfReader(io.BytesIO(_plain_pdf(pages))))
    for title, page in outline:
        writer.add_outline_item(title, page - 1)
    if password:
        writer.encrypt(password)
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def prose(text: str, y: float, width: int = 80, x: float = 72) -> list[Drawn]:
    """Return `text` wrapped at `width` characters, from `y` downwards."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [Drawn(line, y - 14 * index, x=x) for index, line in enumerate(lines)]


def _plain_pdf(pages: Sequence[Sequence[Drawn]]) -> bytes:
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b" ".join(b"%d 0 R" % (5 + 2 * number) for number in range(len(pages))), len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
    ]
    for number, lines in enumerate(pages):
        content = b"\n".join(map(_drawn, lines))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>" % (6 + 2 * number)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    return pdf_of(objects)


def pdf_of(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """Return a PDF of objects numbered from 1; the first is the catalog."""
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    count = len(objects) + 1
    table = b"xref\n0 %d\n0000000000 65535 f \n" % count + b"".join(
        b"%010d 00000 n \n" % at for at in offsets
    )
    end = b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (
        count,
        trailer,
        len(body),
    )
    return body + table + end


def _drawn(line: Drawn) -> bytes:
    text = (
        line.text.encode("cp1252")
        .replace(b"\\", b"\\\\")
        .replace(b"(", b"\\(")
        .replace(b")", b"\\)")
    )
    font = b"F2" if line.bold else b"F1"
    return b"BT /%s %g Tf 1 0 0 1 %g %g Tm (%s) Tj ET" % (font, line.size, line.x, line.y, text)


def docx_bytes(document: "docx.document.Document") -> bytes:
    """Return a python-docx document as a file."""
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP of files, such as an e-book or an OpenDocument file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def epub(chapters: Sequence[str], title: str = "Book") -> bytes:
    """Return an e-book of XHTML chapters, with a contents page in front."""
    items = "".join(
        f'<item id="c{n}" href="t/c%20{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        f"<dc:title>{title}</dc:title><dc:creator>A. Writer</dc:creator></metadata><manifest>"
        '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
        f'{items}</manifest><spine><itemref idref="nav"/>{spine}</spine></package>'
    )
    container = '<container><rootfiles><rootfile full-path="O/p.opf"/></rootfiles></container>'
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "O/p.opf": package,
        }
        | {"O/nav.xhtml": "<html><body><p>Contents</p></body></html>"}
        | {
            f"O/t/c {n}.xhtml": f"<html><body>{chapter}</body></html>"
            for n, chapter in enumerate(chapters)
        }
    )


def odt(body: str, styles: str = "", title: str = "") -> bytes:
    """Return an OpenDocument text with this XML as body (prefixes `text` and `table`)."""
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text", "table", "style", "meta")
    )
    content = (
        f"<office:document-content {names}><office:automatic-styles>"
        f"{styles}</office:automatic-styles>"
        f"<office:body><office:text>{body}</office:text></office:body></office:document-content>"
    )
    meta = (
        f'<office:document-meta {names} xmlns:dc="http://purl.org/dc/elements/1.1/"><office:meta>'
        f"<dc:title>{title}</dc:title></office:meta></office:document-meta>"
    )
    kind = "application/vnd.oasis.opendocument.text"
    return zipped({"mimetype": kind, "content.xml": content, "meta.xml": meta})


def xlsx(sheets: dict[str, Sequence[Sequence[object]]], hidden: Sequence[str] = ()) -> bytes:
    """Return a workbook of these sheets."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
        if name in hidden:
            sheet.sheet_state = "hidden"
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def pptx_bytes(presentation: "pptx.presentation.Presentation") -> bytes:
    """Return a python-pptx presentation as a file."""
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()
