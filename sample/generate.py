"""Draw the PDF and DOCX files of the sample companies from the Markdown in `sources/`.

    python sample/generate.py           write the files
    python sample/generate.py --check   write nothing; exit 1 if a file differs from its source

`sources/alder/people/remote-work.docx.md` becomes `alder/people/remote-work.docx`: the name holds
the format. The sources use a small part of Markdown: headings, paragraphs, lists, tables, and
`\\newpage` on a line of its own. The same sources always give the same contents, so that the
generated files can be committed and compared.
"""

import argparse
import io
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import docx
import yaml
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import (
    Flowable,
    PageBreak,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

HERE = Path(__file__).parent
TEXT_WIDTH = A4[0] - 44 * mm
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a ZIP can hold


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a source.

    `rows` holds a table's cells, header first, or a list's items as rows of one cell.
    """

    kind: Literal["heading", "paragraph", "bullets", "steps", "table", "newpage"]
    text: str = ""
    level: int = 0
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A document to draw; `subject` stands in the foot of each page of a PDF."""

    title: str
    subject: str
    author: str
    day: date
    blocks: tuple[Block, ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="compare with the files on disk and write nothing"
    )
    check = parser.parse_args().check
    stale = [
        target for target, content in generated() if not same_or_written(target, content, check)
    ]
    for target in stale:
        print(f"{target.relative_to(HERE)} differs from its source: run python sample/generate.py")
    return 1 if stale else 0


def generated() -> Iterator[tuple[Path, bytes]]:
    """Every file to be, as its path and its bytes."""
    for path in sorted((HERE / "sources").rglob("*.md")):
        target = HERE / path.relative_to(HERE / "sources").with_suffix("")
        yield target, DRAW[target.suffix](read_source(path))


def same_or_written(target: Path, content: bytes, check: bool) -> bool:
    if check:
        return target.exists() and unpacked(target.read_bytes()) == unpacked(content)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return True


def unpacked(content: bytes) -> object:
    """The content that two files are compared by.

    Compressed bytes depend on the zlib of the machine, so a ZIP is opened first.
    """
    if not content.startswith(b"PK"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        return {info.filename: (info.date_time, members.read(info)) for info in members.infolist()}


# Reading a source


def read_source(path: Path) -> Source:
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    front = yaml.safe_load(head)
    blocks = tuple(read_block(piece) for piece in re.split(r"\n{2,}", body.strip()))
    return Source(front["title"], front["subject"], front["author"], front["date"], blocks)


def read_block(piece: str) -> Block:
    if heading := re.match(r"(#+) (.+)", piece):
        return Block("heading", heading[2], len(heading[1]))
    if piece == "\\newpage":
        return Block("newpage")
    if piece.startswith("|"):
        return Block("table", rows=tuple(table_rows(piece)))
    if piece.startswith("* "):
        return Block("bullets", rows=tuple((line[2:],) for line in piece.splitlines()))
    if piece.startswith("1. "):
        return Block("steps", rows=tuple((line.split(". ", 1)[1],) for line in piece.splitlines()))
    return Block("paragraph", piece)


def table_rows(piece: str) -> Iterator[tuple[str, ...]]:
    for number, line in enumerate(piece.splitlines()):
        if number != 1:  # the line of dashes under the header
            yield tuple(cell.strip() for cell in line.strip("|").split("|"))


# PDF

BASE = getSampleStyleSheet()
BODY = ParagraphStyle("Body", parent=BASE["BodyText"], fontSize=10, leading=14, spaceAfter=6)
CELL = ParagraphStyle("Cell", parent=BODY, fontSize=9, leading=11.5, spaceBefore=0, spaceAfter=0)
HEADER_CELL = ParagraphStyle("HeaderCell", parent=CELL, fontName="Helvetica-Bold")
ITEM = ParagraphStyle("Item", parent=BODY, leftIndent=16, bulletIndent=2, spaceAfter=3)
HEADINGS = {1: BASE["Title"], 2: BASE["Heading2"], 3: BASE["Heading3"]}
GRID = TableStyle(
    [
        ("GRID", (0, 0), (-1, -1), 0.4, colors.grey),
        ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ]
)


class OutlinedPdf(SimpleDocTemplate):
    """A PDF whose headings become its outline."""

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802
        level = getattr(flowable, "outline_level", None)
        if level is None:
            return
        key = f"heading-{self.seq.nextf('heading')}"
        self.canv.bookmarkPage(key)
        self.canv.addOutlineEntry(flowable.getPlainText(), key, level)


def draw_pdf(source: Source) -> bytes:
    out = io.BytesIO()
    pdf = OutlinedPdf(
        out,
        pagesize=A4,
        invariant=1,  # no clock, no random identifier
        pageCompression=0,  # compressed bytes depend on the zlib of the machine
        title=source.title,
        author=source.author,
        subject=source.subject,
        leftMargin=22 * mm,
        rightMargin=22 * mm,
        topMargin=24 * mm,
        bottomMargin=24 * mm,
    )
    story = [flowable for block in source.blocks for flowable in pdf_flowables(block)]
    draw_foot = page_foot(source.subject)
    pdf.build(story, onFirstPage=draw_foot, onLaterPages=draw_foot)
    return out.getvalue()


def page_foot(subject: str) -> Callable[[Any, Any], None]:
    def draw(canvas: Any, pdf: Any) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(22 * mm, 13 * mm, subject)
        canvas.drawRightString(A4[0] - 22 * mm, 13 * mm, f"Page {pdf.page}")

    return draw


def pdf_flowables(block: Block) -> list[Flowable]:
    if block.kind == "heading":
        return [pdf_heading(block)]
    if block.kind == "newpage":
        return [PageBreak()]
    if block.kind == "table":
        return [pdf_table(block.rows), Spacer(1, 8)]
    if block.kind == "bullets":
        return [Paragraph(escape(row[0]), ITEM, bulletText="\u2022") for row in block.rows]
    if block.kind == "steps":
        return [
            Paragraph(escape(row[0]), ITEM, bulletText=f"{n}.")
            for n, row in enumerate(block.rows, 1)
        ]
    return [Paragraph(escape(block.text), BODY)]


def pdf_heading(block: Block) -> Paragraph:
    heading = Paragraph(escape(block.text), HEADINGS[block.level])
    heading.outline_level = block.level - 1
    return heading


def pdf_table(rows: tuple[tuple[str, ...], ...]) -> Table:
    cells = [
        [Paragraph(escape(cell), CELL if number else HEADER_CELL) for cell in row]
        for number, row in enumerate(rows)
    ]
    return Table(
        cells, colWidths=[TEXT_WIDTH / len(rows[0])] * len(rows[0]), style=GRID, repeatRows=1
    )


# DOCX


def draw_docx(source: Source) -> bytes:
    document = docx.Document()
    write_properties(document.core_properties, source)
    for block in source.blocks:
        add_to_docx(document, block)
    out = io.BytesIO()
    document.save(out)
    return with_fixed_times(out.getvalue())


def write_properties(properties: Any, source: Source) -> None:
    moment = datetime(source.day.year, source.day.month, source.day.day, 9, tzinfo=UTC)
    properties.title, properties.subject, properties.author = (
        source.title,
        source.subject,
        source.author,
    )
    properties.created = properties.modified = moment
    properties.last_modified_by, properties.comments, properties.revision = source.author, "", 1


def add_to_docx(document: Any, block: Block) -> None:
    if block.kind == "heading":
        document.add_heading(block.text, level=block.level)
    elif block.kind == "newpage":
        document.add_page_break()
    elif block.kind == "table":
        add_docx_table(document, block.rows)
    elif block.kind == "paragraph":
        document.add_paragraph(block.text)
    else:
        style = "List Bullet" if block.kind == "bullets" else "List Number"
        for (item,) in block.rows:
            document.add_paragraph(item, style=style)


def add_docx_table(document: Any, rows: tuple[tuple[str, ...], ...]) -> None:
    table = document.add_table(rows=len(rows), cols=len(rows[0]), style="Table Grid")
    for table_row, row in zip(table.rows, rows, strict=True):
        for cell, text in zip(table_row.cells, row, strict=True):
            cell.text = text
    for cell in table.rows[0].cells:
        cell.paragraphs[0].runs[0].bold = True
    document.add_paragraph()  # Word glues neighbouring tables together without one


def with_fixed_times(content: bytes) -> bytes:
    """Return the ZIP without times.

    python-docx stamps each member with the present time.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            target.writestr(
                zipfile.ZipInfo(name, ZIP_EPOCH), source.read(name), zipfile.ZIP_DEFLATED
            )
    return out.getvalue()


DRAW: dict[str, Callable[[Source], bytes]] = {".pdf": draw_pdf, ".docx": draw_docx}

if __name__ == "__main__":
    sys.exit(main())
