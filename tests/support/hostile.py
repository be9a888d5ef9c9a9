"""Hostile files: bombs, loops, traps for regular expressions, false sizes and damaged files.

    python -m tests.support.hostile FOLDER        writes them and prints a description of each

`python -m bench.documents --hostile` parses them all and prints the outcome of each.
"""

import io
import json
import random
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

import docx
import pptx

from tests.support.fixtures_documents import (
    Drawn,
    docx_bytes,
    epub,
    odt,
    pdf,
    pdf_of,
    pptx_bytes,
    xlsx,
    zipped,
)

SECRET = "the-secret-of-the-machine"
"""Content of the file that external entities and links point at; no parsed text may contain it."""

ENDINGS = "md txt html pdf docx pptx xlsx csv rst json jsonl eml epub rtf odt".split()
_WORD_NAMESPACE = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET_NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


class HostileFile(NamedTuple):
    """File of bytes, or a sparse file of `size` zeros."""

    name: str
    description: str
    data: bytes = b""
    size: int = 0


def list_files(secret: Path) -> Iterator[HostileFile]:
    """Yield all files; `secret` is the path that some of them try to read."""
    yield from _archives()
    yield from _archive_structures(secret)
    yield from _xml(secret)
    yield from _office()
    yield from _pdfs()
    yield from _rtf()
    yield from _pages()
    yield from _marked_up()
    yield from _data()
    yield from _messages()
    yield from _text()
    yield from _damaged()
    yield from _misnamed()


def write_files(folder: Path) -> list[HostileFile]:
    """Write all files, and the secret next to the folder; return the files without their data."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder.parent / "secret.txt"
    secret.write_text(SECRET)
    written = []
    for file in list_files(secret):
        with (folder / file.name).open("wb") as target:
            target.write(file.data)
            if file.size:
                target.truncate(file.size)
        written.append(file._replace(data=b"", size=file.size or len(file.data)))
    return written


# Good files that the hostile ones are made of.


def _docx(text: str = "A good paragraph.") -> bytes:
    document = docx.Document()
    document.add_heading("Good", 1)
    document.add_paragraph(text)
    return docx_bytes(document)


def _pptx() -> bytes:
    presentation = pptx.Presentation()
    presentation.slides.add_slide(presentation.slide_layouts[1]).shapes.title.text = "Good"
    return pptx_bytes(presentation)


def _xlsx() -> bytes:
    return xlsx({"Good": [["a", "b"], [1, 2]]})


def _pdf() -> bytes:
    return pdf([[Drawn("A good page of text.", 700)]])


def make_good_file(ending: str) -> bytes:
    """Return a small, undamaged file of that type."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@b.example", "c@d.example", "Good"
    mail.set_content("A good message.")
    return {
        "pdf": _pdf,
        "docx": _docx,
        "pptx": _pptx,
        "xlsx": _xlsx,
        "epub": lambda: epub(["<h1>Good</h1><p>A good chapter.</p>"]),
        "odt": lambda: odt("<text:p>Good.</text:p>"),
        "rtf": lambda: rb"{\rtf1\ansi A good paragraph.\par}",
        "eml": mail.as_bytes,
        "json": lambda: b'{"title": "Good", "text": "A good value."}',
        "jsonl": lambda: b'{"a": 1}\n{"a": 2}\n',
    }.get(ending, lambda: b"# Good\n\nA good paragraph.\n")()


def _replace_parts(archive: bytes, parts: dict[str, bytes]) -> bytes:
    """Return an archive with some parts replaced or added."""
    with zipfile.ZipFile(io.BytesIO(archive)) as before:
        original_parts = {name: before.read(name) for name in before.namelist()}
    return zipped({**original_parts, **parts})


# Archives.


def _archives() -> Iterator[HostileFile]:
    zeros = bytes(40_000_000)
    bomb = zipped({"word/document.xml": zeros})
    yield HostileFile("bomb.docx", "40 MB of zeros in 40 kB", bomb)
    yield HostileFile(
        "bomb-beside.docx",
        "a good document that also contains such a bomb",
        _replace_parts(_docx(), {"word/x.bin": zeros}),
    )
    yield HostileFile(
        "bomb.xlsx",
        "a sheet of 40 MB of blanks",
        _replace_parts(_xlsx(), {"xl/worksheets/sheet1.xml": b" " * 40_000_000}),
    )
    yield HostileFile(
        "bomb.epub",
        "a chapter of 40 MB",
        _replace_parts(epub(["x"]), {"O/t/c 0.xhtml": b"a " * 20_000_000}),
    )
    yield HostileFile(
        "members.odt",
        "20,000 members",
        zipped({f"m/{n}": "x" for n in range(20_000)} | {"content.xml": "<a/>"}),
    )
    inner = bomb
    for _ in range(5):
        inner = zipped({f"{n}.zip": inner for n in range(4)})
    yield HostileFile("nested.zip", "zips in zips, six deep", inner)
    yield HostileFile(
        "nested.docx",
        "the same inside a good document",
        _replace_parts(_docx(), {"word/embeddings/a.zip": inner}),
    )


def _archive_structures(secret: Path) -> Iterator[HostileFile]:
    yield HostileFile("overlap.docx", "5,000 names for the same bytes", _overlapping(5_000))
    yield HostileFile("lying-size.odt", "a part of 50 MB that says it has 100 bytes", _wrong_size())
    yield HostileFile("duplicate.docx", "two parts of the same name", _duplicate())
    yield HostileFile(
        "traversal.docx",
        "a name that leads out",
        _replace_parts(_docx(), {"../../../../tmp/groundwork-was-here": b"x"}),
    )
    yield HostileFile(
        "absolute.odt", "an absolute name", zipped({str(secret): "x", "content.xml": "<a/>"})
    )
    yield HostileFile(
        "symlink.odt",
        "its content is a link to a file of the machine",
        _symlink("content.xml", secret),
    )
    yield HostileFile(
        "symlink.docx", "the same in a document", _symlink("word/document.xml", secret)
    )
    package = (
        f'<container><rootfiles><rootfile full-path="../../../..{secret}"/></rootfiles></container>'
    )
    yield HostileFile(
        "rootfile.epub",
        "a book whose contents lie outside",
        _replace_parts(epub(["x"]), {"META-INF/container.xml": package.encode()}),
    )
    spine = _book(f"../../../../..{secret}", 1)
    yield HostileFile(
        "chapter.epub",
        "a book whose chapter lies outside",
        _replace_parts(epub(["x"]), {"O/p.opf": spine}),
    )
    yield HostileFile(
        "spine.epub",
        "one chapter 50,000 times",
        _replace_parts(epub(["<p>Again.</p>"]), {"O/p.opf": _book("t/c%200.xhtml", 50_000)}),
    )
    yield HostileFile(
        "no-rootfile.epub",
        "a book without contents",
        _replace_parts(epub(["x"]), {"META-INF/container.xml": b"<container/>"}),
    )
    yield HostileFile("locked.docx", "parts marked as encrypted", _set_flag(_docx(), 0x1))
    yield HostileFile("method.docx", "an unknown compression", _set_method(_docx(), 99))
    yield HostileFile("empty.docx", "a zip of nothing", zipped({}))
    yield HostileFile(
        "mimetype.epub",
        "a zip whose type is a megabyte long",
        zipped({"mimetype": "a" * 1_000_000}),
    )


def _book(chapter: str, times: int) -> bytes:
    """Return an e-book's table of contents that names one chapter so many times."""
    item = f'<manifest><item id="a" href="{chapter}" media-type="text/html"/></manifest>'
    spine = '<itemref idref="a"/>' * times
    return f"<package>{item}<spine>{spine}</spine></package>".encode()


def _overlapping(count: int) -> bytes:
    """Return an archive with many directory entries for one local file."""
    content = zlib.compress(bytes(50_000), 9)[2:-4]
    crc = zlib.crc32(bytes(50_000))
    name = b"word/document.xml"
    sizes = struct.pack("<III", crc, len(content), 50_000)
    local = (
        struct.pack("<IHHHHH", 0x04034B50, 20, 0, 8, 0, 0)
        + sizes
        + struct.pack("<HH", len(name), 0)
        + name
        + content
    )
    entries = b""
    for number in range(count):
        entry = name if not number else b"word/%d.xml" % number
        head = struct.pack("<IHHHHHH", 0x02014B50, 20, 20, 0, 8, 0, 0) + sizes
        entries += head + struct.pack("<HHHHHII", len(entry), 0, 0, 0, 0, 0, 0) + entry
    return (
        local
        + entries
        + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(entries), len(local), 0)
    )


def _wrong_size() -> bytes:
    data = bytearray(
        zipped(
            {
                "content.xml": b" " * 50_000_000,
                "mimetype": "application/vnd.oasis.opendocument.text",
            }
        )
    )
    true, false = struct.pack("<I", 50_000_000), struct.pack("<I", 100)
    return bytes(data.replace(true, false))


def _duplicate() -> bytes:
    buffer = io.BytesIO(_docx())
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo("word/document.xml")
        archive.filelist.append(info)
        archive.filelist.pop()
        archive.NameToInfo.pop("word/document.xml")
        archive.writestr(info, f'<w:document xmlns:w="{_WORD_NAMESPACE}"><w:body/></w:document>')
    return buffer.getvalue()


def _symlink(name: str, target: Path) -> bytes:
    link = zipfile.ZipInfo(name)
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, str(target))
        archive.writestr("[Content_Types].xml", "<Types/>")
    return buffer.getvalue()


def _set_flag(archive: bytes, flag: int) -> bytes:
    data = bytearray(archive)
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := data.find(mark, start + 1)) >= 0:
            data[start + at] |= flag
    return bytes(data)


def _set_method(archive: bytes, method: int) -> bytes:
    data = bytearray(archive)
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = -1
        while (start := data.find(mark, start + 1)) >= 0:
            data[start + at] = method
    return bytes(data)


# XML, in each format that is made of it.


def _laughs() -> str:
    entities = '<!ENTITY a0 "ha">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)
    )
    return f"<!DOCTYPE x [{entities}]>"


def _xml(secret: Path) -> Iterator[HostileFile]:
    kinds = {
        "laughs": ("a billion laughs", _laughs(), "&a11;"),
        "quadratic": (
            "one long entity 20,000 times",
            f'<!DOCTYPE x [<!ENTITY a "{"a" * 100_000}">]>',
            "&a;" * 20_000,
        ),
        "entity": (
            "an entity that is a file",
            f'<!DOCTYPE x [<!ENTITY a SYSTEM "{secret.as_uri()}">]>',
            "&a;",
        ),
        "dtd": (
            "an entity from the network",
            '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
            "&a;",
        ),
        "parameter": (
            "a parameter entity from a file",
            f'<!DOCTYPE x [<!ENTITY % a SYSTEM "{secret.as_uri()}"> %a;]>',
            "",
        ),
    }
    for kind, (what, declaration, text) in kinds.items():
        for ending, data in _files_with_xml(declaration, text):
            yield HostileFile(f"{kind}.{ending}", f"{what}, in {ending.upper()}", data)
    wide = f'<?xml version="1.0" encoding="utf-16"?>{_laughs()}<x>&a11;</x>'.encode("utf-16")
    yield HostileFile(
        "laughs-utf16.odt",
        "a billion laughs in UTF-16",
        _replace_parts(odt("<text:p>x</text:p>"), {"content.xml": wide}),
    )
    spans = "<text:span>" * 50_000 + "deep" + "</text:span>" * 50_000
    yield HostileFile("deep.odt", "50,000 elements deep", odt(f"<text:p>{spans}</text:p>"))
    lists = "<text:list><text:list-item>" * 20_000 + "</text:list-item></text:list>" * 20_000
    yield HostileFile("deep-lists.odt", "20,000 lists deep", odt(lists))
    attributes = " ".join(f"a{n}='1'" for n in range(60_000))
    yield HostileFile(
        "attributes.odt", "an element of 60,000 attributes", odt(f"<text:p {attributes}/>")
    )


def _files_with_xml(declaration: str, text: str) -> Iterator[tuple[str, bytes]]:
    body = (
        f"{declaration}<w:document "
        f'xmlns:w="{_WORD_NAMESPACE}"><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p>'
        f"</w:body></w:document>"
    )
    yield "docx", _replace_parts(_docx(), {"word/document.xml": body.encode()})
    with zipfile.ZipFile(io.BytesIO(_pptx())) as archive:
        slide = archive.read("ppt/slides/slide1.xml").decode()
    start = slide.index("<p:sld")
    slide = (
        slide[:start].replace("standalone='yes'", "")
        + declaration
        + slide[start:].replace("Good", text)
    )
    yield "pptx", _replace_parts(_pptx(), {"ppt/slides/slide1.xml": slide.encode()})
    cell = f'<row r="1"><c r="A1" t="str"><v>{text}</v></c></row>'
    sheet = (
        f"{declaration}<worksheet "
        f'xmlns="{_SHEET_NAMESPACE}"><sheetData>{cell}</sheetData></worksheet>'
    )
    yield "xlsx", _replace_parts(_xlsx(), {"xl/worksheets/sheet1.xml": sheet.encode()})
    content = odt(f"<text:p>{text}</text:p>")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        yield (
            "odt",
            _replace_parts(
                content, {"content.xml": declaration.encode() + archive.read("content.xml")}
            ),
        )
    chapter = f'<?xml version="1.0"?>{declaration}<html><body><p>{text}</p></body></html>'
    yield "epub", _replace_parts(epub(["x"]), {"O/t/c 0.xhtml": chapter.encode()})
    yield "svg", f'<?xml version="1.0"?>{declaration}<svg><text>{text}</text></svg>'.encode()


# What Office files can claim.


def _office() -> Iterator[HostileFile]:
    yield from _word_files()
    yield from _excel_files()
    yield from _slide_files()
    spaces = "".join('<text:p>a<text:s text:c="2000000000"/>b</text:p>' for _ in range(100))
    yield HostileFile("spaces.odt", "billions of spaces", odt(spaces))


def _word_file(body: str) -> bytes:
    xml = f'<w:document xmlns:w="{_WORD_NAMESPACE}"><w:body>{body}</w:body></w:document>'
    return _replace_parts(_docx(), {"word/document.xml": xml.encode()})


def _excel_file(content: str) -> bytes:
    return _replace_parts(
        _xlsx(),
        {
            "xl/worksheets/sheet1.xml": f"<worksheet "
            f'xmlns="{_SHEET_NAMESPACE}">{content}</worksheet>'.encode()
        },
    )


def _word_files() -> Iterator[HostileFile]:
    cell = (
        '<w:tc><w:tcPr><w:gridSpan w:val="100000000"/></w:tcPr><w:p><w:r><w:t>x</w:t></w:r></w:p>'
        "</w:tc>"
    )
    yield HostileFile(
        "span.docx",
        "a cell of 100 million columns",
        _word_file(f"<w:tbl><w:tr>{cell}</w:tr></w:tbl>"),
    )
    nested = "<w:tbl><w:tr><w:tc>" * 5_000 + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * 5_000
    yield HostileFile("deep-tables.docx", "5,000 tables deep", _word_file(nested))
    runs = "<w:ins>" * 200 + "<w:r><w:t>x</w:t></w:r>" + "</w:ins>" * 200
    yield HostileFile("deep-runs.docx", "200 insertions deep", _word_file(f"<w:p>{runs}</w:p>"))
    yield HostileFile("paragraphs.docx", "100,000 empty paragraphs", _word_file("<w:p/>" * 100_000))
    yield HostileFile(
        "words.docx",
        "a paragraph of 9 MB",
        _word_file(f"<w:p><w:r><w:t>{'word ' * 1_800_000}</w:t></w:r></w:p>"),
    )
    with zipfile.ZipFile(io.BytesIO(_docx())) as archive:
        styles = archive.read("word/styles.xml").decode()
    loop = "".join(
        f'<w:style w:type="paragraph" w:styleId="L{n}"><w:name w:val="L{n}"/><w:basedOn '
        f'w:val="L{1 - n}"/></w:style>'
        for n in (0, 1)
    )
    looped = _word_file(
        '<w:p><w:pPr><w:pStyle w:val="L0"/></w:pPr><w:r><w:t>Looped.</w:t></w:r></w:p>'
    )
    yield HostileFile(
        "style-loop.docx",
        "two styles, each based on the other",
        _replace_parts(
            looped,
            {"word/styles.xml": styles.replace("</w:styles>", loop + "</w:styles>").encode()},
        ),
    )


def _excel_files() -> Iterator[HostileFile]:
    value = '<row r="1048576"><c r="XFD1048576" t="str"><v>last</v></c></row>'
    yield HostileFile(
        "dimension.xlsx",
        "one cell, in the last row and column",
        _excel_file(f'<dimension ref="A1:XFD1048576"/><sheetData>{value}</sheetData>'),
    )
    yield HostileFile(
        "row.xlsx",
        "a row number beyond all sheets",
        _excel_file('<sheetData><row r="4000000000"><c t="str"><v>x</v></c></row></sheetData>'),
    )
    rows = "".join(
        f'<row r="{n}"><c r="XFD{n}" t="str"><v>x</v></c></row>' for n in range(1, 20_001)
    )
    yield HostileFile(
        "wide.xlsx",
        "20,000 rows with one cell far to the right",
        _excel_file(f"<sheetData>{rows}</sheetData>"),
    )
    many = '<row><c t="n"><v>1</v></c></row>' * 1_000_000
    yield HostileFile("rows.xlsx", "a million rows", _excel_file(f"<sheetData>{many}</sheetData>"))
    merged = "".join(f'<mergeCell ref="A{n}:XFD1048576"/>' for n in range(1, 2_000))
    yield HostileFile(
        "merged.xlsx",
        "2,000 merged areas of the whole sheet",
        _excel_file(
            f'<sheetData><row r="1"><c r="A1"><v>1</v></c></row></sheetData><mergeCells>'
            f"{merged}</mergeCells>"
        ),
    )
    yield HostileFile(
        "shared.xlsx",
        "a string that isn't there",
        _excel_file('<sheetData><row r="1"><c r="A1" t="s"><v>99999999</v></c></row></sheetData>'),
    )


def _slide_files() -> Iterator[HostileFile]:
    with zipfile.ZipFile(io.BytesIO(_pptx())) as archive:
        presentation = archive.read("ppt/presentation.xml").decode()
        slide = archive.read("ppt/slides/slide1.xml").decode()
    entry = presentation[presentation.index("<p:sldId ") : presentation.index("</p:sldIdLst>")]
    yield HostileFile(
        "slides.pptx",
        "one slide 20,000 times",
        _replace_parts(
            _pptx(), {"ppt/presentation.xml": presentation.replace(entry, entry * 20_000).encode()}
        ),
    )
    group = (
        "<p:grpSp><p:nvGrpSpPr><p:cNvPr id='9' name='g'/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr>"
        "<p:grpSpPr/>"
    )
    groups = slide.replace("</p:spTree>", group * 100 + "</p:grpSp>" * 100 + "</p:spTree>")
    yield HostileFile(
        "groups.pptx",
        "100 groups deep",
        _replace_parts(_pptx(), {"ppt/slides/slide1.xml": groups.encode()}),
    )


# PDF.


def _pdf_stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), entries, content)


def _one_page_pdf(content: bytes, entries: bytes = b"", *further: bytes) -> bytes:
    """Return a PDF of one page whose content is object 4; `further` objects begin at 6."""
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources "
            b"<< /Font << /F1 5 0 R >> /XObject << /X 6 0 R >> >> >>",
            _pdf_stream(content, entries),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding "
            b"/ToUnicode 6 0 R >>",
            *further,
        ]
    )


_TEXT_OPERATORS = b"BT /F1 12 Tf 72 700 Td (Text) Tj ET\n"


_CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
_PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>"


def _pdfs() -> Iterator[HostileFile]:
    yield from _pdf_page_trees()
    yield from _pdf_streams()
    yield from _pdf_drawings()
    yield from _pdf_structures()
    yield from _pdf_tables()


def _pdf_page_trees() -> Iterator[HostileFile]:
    yield HostileFile(
        "page-loop.pdf",
        "a page tree that contains itself",
        pdf_of([_CATALOG, b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"]),
    )
    two = [
        _CATALOG,
        b"<< /Type /Pages /Kids [3 0 R] /Count 9 >>",
        b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 9 >>",
    ]
    yield HostileFile(
        "page-loops.pdf", "two page trees that contain each other, twice", pdf_of(two)
    )
    kids = b"<< /Type /Pages /Kids [%s] /Count 200000 >>" % (b"3 0 R " * 200_000)
    yield HostileFile(
        "pages.pdf",
        "one page 200,000 times",
        pdf_of([_CATALOG, kids, _PAGE, _pdf_stream(_TEXT_OPERATORS)]),
    )
    doubling = [_CATALOG] + [
        b"<< /Type /Pages /Kids [%d 0 R %d 0 R] /Count 2 >>" % (n, n) for n in range(3, 28)
    ]
    yield HostileFile("page-doubling.pdf", "2^25 pages from 25 objects", pdf_of([*doubling, _PAGE]))
    yield HostileFile(
        "count.pdf",
        "a page that says it is a billion",
        pdf_of(
            [
                _CATALOG,
                b"<< /Type /Pages /Kids [3 0 R] /Count 1000000000 >>",
                _PAGE,
                _pdf_stream(_TEXT_OPERATORS),
            ]
        ),
    )
    yield HostileFile(
        "deep-pages.pdf",
        "a page tree 5,000 deep",
        pdf_of(
            [_CATALOG]
            + [b"<< /Type /Pages /Kids [%d 0 R] /Count 1 >>" % n for n in range(3, 5_003)]
            + [_PAGE]
        ),
    )


def _pdf_streams() -> Iterator[HostileFile]:
    flat = _compress_zeros(200)
    yield HostileFile(
        "flate.pdf", "a content stream of 200 MB", _one_page_pdf(flat, b"/Filter /FlateDecode")
    )
    twice = zlib.compress(flat, 9)
    yield HostileFile(
        "flate-twice.pdf",
        "the same, compressed again",
        _one_page_pdf(twice, b"/Filter [/FlateDecode /FlateDecode]"),
    )
    yield HostileFile(
        "filters.pdf",
        "5,000 filters on one stream",
        _one_page_pdf(b"x", b"/Filter [%s]" % (b"/ASCIIHexDecode " * 5_000)),
    )
    run = b"\x81a" * 600_000
    yield HostileFile(
        "runs.pdf",
        "run lengths that make 77 MB",
        _one_page_pdf(run + b"\x80", b"/Filter /RunLengthDecode"),
    )
    predictor = b"/Filter /FlateDecode /DecodeParms << /Predictor 12 /Columns 2000000000 >>"
    yield HostileFile(
        "predictor.pdf",
        "rows of two billion columns",
        _one_page_pdf(zlib.compress(b"\2abc"), predictor),
    )
    yield HostileFile(
        "deep-array.pdf",
        "100,000 arrays deep",
        pdf_of([b"<< /Type /Catalog /Pages 2 0 R /X %s >>" % (b"[" * 100_000)]),
    )
    yield HostileFile(
        "deep-dictionary.pdf",
        "50,000 dictionaries deep",
        pdf_of([b"<< /Type /Catalog /Pages 2 0 R /X %s >>" % (b"<< /A " * 50_000)]),
    )


def _pdf_drawings() -> Iterator[HostileFile]:
    yield HostileFile(
        "self-form.pdf",
        "a drawing that draws itself",
        _one_page_pdf(
            b"/X Do " + _TEXT_OPERATORS,
            b"",
            _pdf_stream(
                b"/X Do /X Do",
                b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 6 "
                b"0 R >> >>",
            ),
        ),
    )
    forms = [
        _pdf_stream(
            b"/X Do " * 10 + _TEXT_OPERATORS,
            b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] "
            b"/Resources << /Font << /F1 5 0 R >> /XObject << /X %d 0 R >> >>" % n,
        )
        for n in range(7, 10)
    ]
    yield HostileFile(
        "forms.pdf",
        "three drawings, each ten times the next",
        _one_page_pdf(b"/X Do", b"", *forms, b"null"),
    )
    yield HostileFile(
        "operators.pdf",
        "a page of 100,000 operators",
        _one_page_pdf(b"q Q " * 50_000 + _TEXT_OPERATORS),
    )
    yield HostileFile(
        "letters.pdf",
        "a page of 5,000 pieces of text",
        _one_page_pdf(b"BT /F1 9 Tf " + b"1 0 0 1 9 9 Tm (a) Tj " * 5_000 + b"ET"),
    )
    yield HostileFile(
        "string.pdf",
        "a string that never ends",
        _one_page_pdf(b"BT /F1 9 Tf (" + b"(" * 200_000 + b" Tj ET"),
    )
    yield HostileFile(
        "inline-image.pdf",
        "an inline image that never ends",
        _one_page_pdf(b"BI /W 9 /H 9 ID " + b"EI" * 500_000),
    )


def _pdf_structures() -> Iterator[HostileFile]:
    cmap = (
        b"begincmap 1 begincodespacerange <00000000> <FFFFFFFF> endcodespacerange "
        b"1 beginbfrange <00000000> <FFFFFFFF> <0041> endbfrange endcmap"
    )
    yield HostileFile(
        "cmap.pdf",
        "a font of four billion letters",
        _one_page_pdf(_TEXT_OPERATORS, b"", _pdf_stream(cmap)),
    )
    yield HostileFile(
        "outline-loop.pdf",
        "bookmarks in a circle",
        _pdf_with_outline(
            b"<< /Title (a) /Parent 6 0 R /Next 7 0 R /First 6 0 R /Dest [3 0 R /Fit] >>"
        ),
    )
    yield HostileFile("form-loop.pdf", "fields in a circle", _pdf_with_fields())


def _pdf_tables() -> Iterator[HostileFile]:
    good = _pdf()
    start = good.rindex(b"startxref")
    table = int(good[start + 9 :].split()[0])
    yield HostileFile(
        "xref-loop.pdf",
        "a table of contents that goes on at itself",
        good[:table] + good[table:].replace(b"/Root", b"/Prev %d /Root" % table),
    )
    yield HostileFile(
        "xref-size.pdf",
        "a table of contents of a billion entries",
        good[:table] + good[table:].replace(b"0 ", b"0 1000000000 ", 1),
    )
    yield HostileFile(
        "startxref.pdf",
        "a table of contents beyond the end",
        good[:start] + b"startxref\n99999999999999999999\n%%EOF",
    )
    yield HostileFile(
        "object-stream.pdf", "objects kept in a stream inside itself", _object_stream()
    )
    yield HostileFile(
        "length-loop.pdf",
        "a stream whose length is itself",
        pdf_of(
            [
                _CATALOG,
                b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
                _PAGE,
                b"<< /Length 4 0 R >>\nstream\nx\nendstream",
            ]
        ),
    )
    yield HostileFile("reference-loop.pdf", "a catalog that refers to itself", pdf_of([b"1 0 R"]))
    yield HostileFile(
        "handler.pdf",
        "encrypted by an unknown program",
        pdf_of(
            [_CATALOG, b"<< /Type /Pages /Kids [] /Count 0 >>"],
            b"/Encrypt << /Filter /Nobody /V 9 >> /ID [(a) (a)]",
        ),
    )
    yield HostileFile("eofs.pdf", "300,000 ends of file", good + b"%%EOF\n" * 300_000)
    yield HostileFile(
        "objects.pdf",
        "100,000 objects and no table",
        b"%PDF-1.4\n" + b"1 0 obj\n<<>>\nendobj\n" * 100_000,
    )
    yield HostileFile("header.pdf", "a first line and nothing else", b"%PDF-1.7\n")


def _compress_zeros(megabytes: int) -> bytes:
    """Compress zeros without all of them in memory."""
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(bytes(1_000_000)) for _ in range(megabytes)) + packer.flush()


def _pdf_with_outline(entry: bytes) -> bytes:
    data = _one_page_pdf(
        _TEXT_OPERATORS, b"", b"<< /Type /Outlines /First 7 0 R /Last 7 0 R >>", entry
    )
    return data.replace(b"/Catalog", b"/Catalog /Outlines 6 0 R", 1)


def _pdf_with_fields() -> bytes:
    field = b"<< /T (a) /FT /Tx /V (b) /Kids [7 0 R 6 0 R] /Parent 6 0 R >>"
    data = _one_page_pdf(_TEXT_OPERATORS, b"", field, field)
    return data.replace(b"/Catalog", b"/Catalog /AcroForm << /Fields [6 0 R 7 0 R] >>", 1)


def _object_stream() -> bytes:
    body = b"%PDF-1.5\n"
    at = len(body)
    stream = b"1 0 2 3 << >> << >>   "
    body += (
        b"1 0 obj\n<< /Type /ObjStm /N 2 /First 8 /Extends 1 0 R /Length 20 >>\nstream\n%s\n"
        b"endstream\nendobj\n" % stream
    )
    entries = b"\0\0\0\0" + b"\2\0\1\0" + b"\2\0\1\1"
    table = len(body)
    body += (
        b"3 0 obj\n<< /Type /XRef /Size 3 /W [1 2 1] /Root 2 0 R /Prev %d /Length %d >>\n"
        b"stream\n%s\nendstream\nendobj\n" % (table, len(entries), entries)
    )
    return body + b"startxref\n%d\n%%%%EOF" % table + (b" " * at)


# Rich text.


def _rtf() -> Iterator[HostileFile]:
    yield HostileFile(
        "bin.rtf",
        "binary content of two billion bytes",
        rb"{\rtf1 a {\pict\bin2000000000 " + bytes(1000) + b"} b}",
    )
    yield HostileFile("deep.rtf", "100,000 groups deep", rb"{\rtf1 " + b"{" * 100_000 + b"x")
    yield HostileFile("closed.rtf", "300,000 groups too many closed", rb"{\rtf1 x" + b"}" * 300_000)
    yield HostileFile(
        "skip.rtf", "a letter that skips two billion", rb"{\rtf1\uc2000000000 \u65 a b c}"
    )
    yield HostileFile("unicode.rtf", "half letters", rb"{\rtf1 " + rb"\u-10179?" * 50_000 + b"}")
    yield HostileFile(
        "controls.rtf", "120,000 control words", rb"{\rtf1 " + rb"\b\b0" * 60_000 + b" x}"
    )
    yield HostileFile(
        "numbers.rtf", "numbers of a million digits", rb"{\rtf1\b" + b"9" * 1_000_000 + b" x}"
    )
    yield HostileFile(
        "cells.rtf", "a row of 100,000 cells", rb"{\rtf1\intbl " + rb"x\cell " * 100_000 + rb"\row}"
    )
    yield HostileFile(
        "bytes.rtf", "100,000 single bytes", rb"{\rtf1\ansicpg932 " + rb"\'81" * 100_000 + b"}"
    )


# Web pages.


def _pages() -> Iterator[HostileFile]:
    deep = {
        "div": 300_000,
        "b": 100_000,
        "ul><li": 20_000,
        "table><tr><td": 5_000,
        "blockquote": 50_000,
        "svg": 50_000,
    }
    for tag, depth in deep.items():
        name = tag.split(">")[0]
        yield HostileFile(
            f"deep-{name}.html",
            f"{depth:,} elements deep: {name}",
            b"<!doctype html>" + f"<{tag}>".encode() * depth + b"x",
        )
    yield HostileFile(
        "attribute.html", "an attribute of 5 MB", b"<p style='" + b"a" * 5_000_000 + b"'>x"
    )
    yield HostileFile(
        "open-tags.html", "a million tags that never close", b"<!doctype html>" + b"<a " * 1_000_000
    )
    yield HostileFile(
        "style-bait.html",
        "a style that goes on and on",
        b"<p style='display " + b" " * 2_000_000 + b"'>x",
    )
    rules = b"".join(b".c%d div > * {display:none}" % n for n in range(100_000))
    yield HostileFile(
        "rules.html",
        "100,000 rules over 20,000 elements",
        b"<style>" + rules + b"</style>" + b"<div><p>x</div>" * 20_000,
    )
    yield HostileFile(
        "braces.html",
        "a style sheet of braces",
        b"<style>" + b"@media screen {" * 200_000 + b"</style>x",
    )
    yield HostileFile(
        "comments.html",
        "a comment that never ends",
        b"<style>/*" + b"/* *" * 500_000 + b"</style><p>x</p><!--" + b"--" * 500_000,
    )
    yield HostileFile("entities.html", "half a million entities", b"<p>" + b"&#x41;&amp" * 500_000)
    yield HostileFile(
        "codepoints.html",
        "letters that don't exist",
        b"<p>" + b"&#xD800;&#x110000;&#0;&#99999999999;" * 50_000,
    )
    yield HostileFile(
        "charset.html", "an unknown encoding", b"<meta charset=nobody-knows-this><p>x \xff\xfe"
    )
    yield HostileFile("cells.html", "a row of 100,000 cells", b"<table><tr>" + b"<td>x" * 100_000)
    yield HostileFile(
        "list-start.html",
        "a list that counts from 10^400",
        b"<ol start=" + b"9" * 400 + b"><li>x</ol>",
    )


# Text with mark-up: bait for regular expressions, and nesting.


def _marked_up() -> Iterator[HostileFile]:
    baits = {
        "quotes": "> ",
        "lists": "- ",
        "brackets": "[",
        "images": "![",
        "links": "[a](",
        "stars": "*a **a ",
        "ticks": "`a ",
        "shortcodes": "{{<",
        "tags": "<a ",
        "escapes": "\\",
        "entities": "&#",
        "rules": "| a ",
        "underscores": "_a__a",
    }
    for name, piece in baits.items():
        yield HostileFile(
            f"{name}.md", f"{piece.strip()!r} 100,000 times", (piece * 100_000 + "\n\nend").encode()
        )
    nested = "\n".join("  " * depth + "- x" for depth in range(1_000))
    yield HostileFile("nested-lists.md", "lists 1,000 deep", nested.encode())
    anchors = (
        "---\na: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(100)) + "---\ntext"
    )
    yield HostileFile("anchors.md", "front matter that expands", anchors.encode())
    yield HostileFile(
        "deep-yaml.md", "front matter 100,000 deep", b"---\na: " + b"[" * 100_000 + b"\n---\ntext"
    )
    yield HostileFile(
        "deep-toml.md",
        "front matter 100,000 deep, in TOML",
        b"+++\na = " + b"[" * 100_000 + b"\n+++\ntext",
    )
    yield HostileFile(
        "front-matter.md", "front matter that never ends", b"---\n" + b"a: b\n" * 50_000
    )
    yield HostileFile(
        "yaml-number.md",
        "a number of a million digits",
        b"---\na: 0x" + b"f" * 1_000_000 + b"\nb: .nan\n---\ntext",
    )
    yield HostileFile("definitions.md", "20,000 definitions of links", b"[a]: b\n" * 20_000)
    yield HostileFile(
        "table.md",
        "a table of 20,000 columns",
        b"|" + b"a|" * 20_000 + b"\n|" + b"-|" * 20_000 + b"\n",
    )
    for name, piece in {
        "stars": "**a ",
        "ticks": "``a ",
        "roles": ":a:`",
        "bars": "|a ",
        "items": "- " * 50 + "\n",
    }.items():
        yield HostileFile(
            f"{name}.rst", f"{piece[:8].strip()!r} 10,000 times", (piece * 10_000).encode()
        )
    indented = "\n\n".join("   " * depth + ".. note::" for depth in range(500))
    yield HostileFile("nested.rst", "directives 500 deep", indented.encode())
    yield HostileFile("borders.rst", "tables that are only borders", b"+---+---+\n" * 100_000)
    yield HostileFile("underlines.rst", "10,000 underlines", b"a\n===\n" * 10_000)


# Data.


def _data() -> Iterator[HostileFile]:
    yield HostileFile("deep.json", "200,000 arrays deep", b"[" * 200_000 + b"]" * 200_000)
    yield HostileFile("deep-objects.json", "600 objects deep", b'{"a":' * 600 + b"1" + b"}" * 600)
    yield HostileFile(
        "digits.json", "a number of five million digits", b"[" + b"9" * 5_000_000 + b"]"
    )
    yield HostileFile(
        "infinite.json", "numbers that aren't", b'{"a": NaN, "b": -Infinity, "c": 1e99999}'
    )
    yield HostileFile("numbers.json", "200,000 numbers", b"[" + b"1," * 200_000 + b"1]")
    keys = json.dumps([{f"k{row}": row, "a": 1} for row in range(8_000)]).encode()
    yield HostileFile("keys.json", "8,000 records, each with a name of its own", keys)
    yield HostileFile("surrogates.json", "half letters", b'{"a\\ud800": "b\\udfff\\u0000"}')
    yield HostileFile("lines.jsonl", "50,000 lines", b'{"a":1}\n' * 50_000)
    yield HostileFile(
        "columns.csv", "300,000 columns", b",".join([b"x"] * 300_000) + b"\n" + b"1," * 300_000
    )
    yield HostileFile("unclosed.csv", "a quote that never closes", b'a,b\n"' + b"x,y\n" * 3_000_000)
    yield HostileFile("quotes.csv", "five million quotes", b'"' * 5_000_001)
    yield HostileFile(
        "delimiters.csv",
        "every line cut otherwise",
        b"".join(b"a;b,c\td|e" * (n % 7) + b"\n" for n in range(20_000)),
    )
    yield HostileFile("nul.csv", "zeros between cells", b"a,b\n1\0,2\n")


# Messages.


def _messages() -> Iterator[HostileFile]:
    head = b"From: a@b.example\nSubject: x\nMIME-Version: 1.0\n"
    parts = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(1_000)
    )
    yield HostileFile(
        "parts.eml",
        "1,000 parts within parts",
        head + parts + b"Content-Type: text/plain\n\ndeep\n",
    )
    forwarded = b"Content-Type: message/rfc822\n\nFrom: a\nSubject: b\n"
    yield HostileFile(
        "forwarded.eml", "forwarded 1,000 times", head + forwarded * 1_000 + b"\ndeep\n"
    )
    yield HostileFile("headers.eml", "50,000 headers", head + b"X-A: b\n" * 50_000 + b"\nbody\n")
    yield HostileFile(
        "header.eml",
        "a header of 20 MB",
        b"From: a\nSubject: " + b"x " * 10_000_000 + b"\n\nbody\n",
    )
    yield HostileFile(
        "encoded-words.eml",
        "100,000 encoded words",
        b"From: a\nSubject: " + b"=?utf-8?q?x?= " * 100_000 + b"\n\nbody\n",
    )
    yield HostileFile(
        "addresses.eml",
        "100,000 addresses",
        b"From: a\nTo: " + b"(((a@b, <" * 100_000 + b"\n\nbody\n",
    )
    attachment = (
        b"--b\nContent-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\nx\n"
    )
    multi = head + b'Content-Type: multipart/mixed; boundary="b"\n\n'
    yield HostileFile(
        "attachments.eml", "20,000 attachments", multi + attachment * 20_000 + b"--b--\n"
    )
    yield HostileFile(
        "boundaries.eml",
        "a million lines that look like borders",
        multi + b"--b \n-- b\n" * 500_000,
    )
    yield HostileFile(
        "parameters.eml",
        "a type with 50,000 parameters",
        head + b"Content-Type: text/plain" + b"; a*0*=utf-8''x" * 50_000 + b"\n\nbody\n",
    )
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "a@b.example", "bomb"
    mail.set_content("See what is attached.")
    mail.add_attachment(
        zipped({"word/document.xml": bytes(40_000_000)}),
        maintype="a",
        subtype="b",
        filename="bomb.docx",
    )
    mail.add_attachment(
        b"x", maintype="a", subtype="b", filename="../../../../tmp/groundwork-was-here.txt"
    )
    yield HostileFile("bomb.eml", "a bomb attached, and a name that leads out", mail.as_bytes())
    yield HostileFile(
        "transfer.eml",
        "an unknown encoding",
        head + b"Content-Transfer-Encoding: nobody\nContent-Type: text/plain; charset=nobody\n\n"
        b"\xff\xfe\n",
    )


# Plain text.


def _text() -> Iterator[HostileFile]:
    yield HostileFile("line.txt", "one line of 9 MB", b"word " * 1_800_000)
    yield HostileFile("letters.txt", "one word of 9 MB", b"a" * 9_000_000)
    yield HostileFile("newlines.txt", "20 million empty lines", b"x" + b"\n" * 20_000_000 + b"y")
    yield HostileFile("paragraphs.txt", "250,000 paragraphs", b"x\n\n" * 250_000)
    yield HostileFile("tabs.txt", "ten million tabs", b"x" + b"\t" * 10_000_000)
    yield HostileFile(
        "items.txt",
        "a list that goes ever deeper",
        b"".join(b" " * n + b"- x\n" for n in range(3_000)),
    )
    yield HostileFile("nul.txt", "zeros among the letters", b"ab\0cd" * 1000)
    yield HostileFile(
        "surrogates.txt", "UTF-16 with half letters", b"\xff\xfe" + b"\x00\xd8a\x00" * 100_000
    )
    yield HostileFile(
        "mixed.txt",
        "four encodings in one file",
        "Grüße ".encode() * 99
        + "Grüße ".encode("latin-1") * 99
        + "日本".encode("shift-jis") * 99
        + "é".encode("utf-16") * 99,
    )
    yield HostileFile(
        "bidi.txt",
        "a flood of changes of direction",
        "\u202e\u2066ab\u2069\u202c".encode() * 200_000,
    )
    yield HostileFile(
        "zero-width.txt",
        "a million letters without width",
        "a\u200b\u200c\u200d\ufeff".encode() * 250_000,
    )
    yield HostileFile(
        "accents.txt",
        "two million accents on one letter",
        ("e" + "\u0301\u0323" * 1_000_000).encode(),
    )
    yield HostileFile(
        "tags.txt",
        "a message in invisible letters",
        ("Seen." + "".join(chr(0xE0000 + ord(c)) for c in "unseen") * 50_000).encode(),
    )
    yield HostileFile("ansi.txt", "terminal controls", b"\x1b[31m\x07\x08" * 100_000 + b"x")
    yield HostileFile("sparse.txt", "1 GB of zeros on no disk", size=1_000_000_000)
    yield HostileFile("sparse.pdf", "a PDF of 1 GB on no disk", b"%PDF-1.7\n", size=1_000_000_000)
    yield HostileFile("zero.md", "no byte at all")
    yield HostileFile("blank.html", "blanks only", b" \n\t\r\n" * 1000)
    yield HostileFile("mark.csv", "a byte order mark only", b"\xef\xbb\xbf")


# What is left of files, and noise.


def _damaged() -> Iterator[HostileFile]:
    noise = random.Random(7)
    for ending in ENDINGS:
        yield HostileFile(
            f"noise.{ending}", f"random bytes as {ending.upper()}", noise.randbytes(20_000)
        )
        data = make_good_file(ending)
        yield HostileFile(
            f"half.{ending}", f"the first half of a {ending.upper()}", data[: len(data) // 2]
        )
    for ending in ("pdf", "docx", "pptx", "xlsx", "epub", "odt", "rtf", "eml"):
        changed = bytearray(make_good_file(ending))
        for _ in range(max(3, len(changed) // 500)):
            changed[noise.randrange(len(changed))] = noise.randrange(256)
        yield HostileFile(
            f"flipped.{ending}", f"a {ending.upper()} with changed bytes", bytes(changed)
        )


# What isn't what it is called.


def _misnamed() -> Iterator[HostileFile]:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(2000)
    yield HostileFile("pdf.docx", "a PDF called .docx", _pdf())
    yield HostileFile("docx.pdf", "a DOCX called .pdf", _docx())
    yield HostileFile("xlsx.pptx", "an XLSX called .pptx", _xlsx())
    yield HostileFile(
        "html.xlsx", "a page called .xlsx", b"<html><body><p>A page.</p></body></html>"
    )
    yield HostileFile("zip.odt", "a plain zip called .odt", zipped({"a.txt": "x"}))
    yield HostileFile("picture.pdf", "a picture called .pdf", picture)
    yield HostileFile("picture.txt", "a picture called .txt", picture)
    yield HostileFile("program.docx", "a program called .docx", b"\x7fELF" + bytes(2000))
    yield HostileFile("gzip.xlsx", "a gzip bomb called .xlsx", _gzip())
    yield HostileFile(
        "old.docx",
        "an old Office file called .docx",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000),
    )
    yield HostileFile("both.pdf", "a PDF that is a DOCX as well", _pdf() + _docx())
    yield HostileFile("no-extension", "a PDF without extension", _pdf())
    yield HostileFile(
        "-rf; echo $HOME `id`.md", "a name that a shell would run", b"# Good\n\nText."
    )
    yield HostileFile("\u202efdp.exe.md", "a name that reads backwards", b"# Good\n\nText.")


def _gzip() -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()


if __name__ == "__main__":
    for file in write_files(Path(sys.argv[1])):
        sys.stdout.write(f"{ascii(file.name)[1:-1]:32} {file.size:>13,}  {file.description}\n")
