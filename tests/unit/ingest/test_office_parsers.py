"""Parsers of office files and e-books: DOCX, PPTX, XLSX, ODT, RTF, EPUB."""

from datetime import datetime

import docx
import pptx

from tests.support.fixtures_documents import docx_bytes, epub, odt, pptx_bytes, xlsx, zipped
from tests.support.parsing import list_blocks, read, refusal_reason


def test_docx_follows_the_order_of_its_body():
    document = docx.Document()
    document.core_properties.title = "Service manual"
    document.core_properties.author = "A. Writer"
    document.add_heading("Service", 1)
    run = document.add_paragraph("Open the ").add_run("case")
    run.bold = True
    hidden = document.add_paragraph("Seen.").add_run(" Not seen.")
    hidden.font.hidden = True
    document.add_heading("Parts", 2)
    document.add_paragraph("Seal", "List Bullet")
    document.add_paragraph("O-ring", "List Bullet 2")
    document.add_paragraph("Take out", "List Number")
    document.add_paragraph("Put in", "List Number")
    table = document.add_table(2, 3)
    for index, text in enumerate(("Part", "No.", "Price", "Seal", "S-1", "4")):
        table.cell(index // 3, index % 3).text = text
    table.cell(0, 1).merge(table.cell(0, 2))
    document.add_paragraph("The end.")
    parsed = read("a.docx", docx_bytes(document))
    assert list_blocks(parsed) == [
        ("heading", "Service"),
        ("paragraph", "Open the case"),
        ("paragraph", "Seen."),
        ("heading", "Parts"),
        ("list", "- Seal\n  - O-ring\n1. Take out\n2. Put in"),
        ("table", "Part | No. Price\nSeal | S-1 | 4"),
        ("paragraph", "The end."),
    ]
    assert parsed.title == "Service manual"
    assert parsed.metadata["author"] == "A. Writer"


def test_pptx_is_read_slide_by_slide():
    deck = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Roadmap"
    frame = first.placeholders[1].text_frame
    frame.text = "Probes"
    child = frame.add_paragraph()
    child.text, child.level = "pH", 1
    first.notes_slide.notes_text_frame.text = "Say why."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "Prices"
    low = second.shapes.add_textbox(0, 4_000_000, 100, 100)
    low.text_frame.text = "Below."
    table = second.shapes.add_table(2, 2, 0, 2_000_000, 3_000_000, 500_000).table
    for index, text in enumerate(("Part", "EUR", "Seal", "4")):
        table.cell(index // 2, index % 2).text = text
    hidden = deck.slides.add_slide(deck.slide_layouts[5])
    hidden.shapes.title.text = "Secret"
    hidden.element.set("show", "0")
    parsed = read("a.pptx", pptx_bytes(deck))
    assert [
        (block.location.slide, kind, text)
        for block, (kind, text) in zip(parsed.blocks, list_blocks(parsed), strict=True)
    ] == [
        (1, "heading", "Roadmap"),
        (1, "list", "- Probes\n  - pH"),
        (1, "paragraph", "Notes: Say why."),
        (2, "heading", "Prices"),
        (2, "table", "Part | EUR\nSeal | 4"),
        (2, "paragraph", "Below."),
    ]
    assert parsed.blocks[4].location.headings == ("Prices",)


def test_xlsx_rows_have_visible_row_numbers():
    book = xlsx(
        {
            "Stock": [
                ["Stock list"],
                ["Part", None, "Count", "Since"],
                ["Seal", None, 12.0, datetime(2026, 3, 4)],
                [],
                ["Pump", None, 0.1 + 0.2, True],
            ],
            "Secret": [["x"]],
        },
        hidden=["Secret"],
    )
    parsed = read("a.xlsx", book)
    assert [
        (block.location.rows, text)
        for block, (_, text) in zip(parsed.blocks, list_blocks(parsed), strict=True)
    ] == [
        ((1, 1), "Stock list"),
        ((2, 3), "Part | Count | Since\nSeal | 12 | 2026-03-04"),
        ((5, 5), "Pump | 0.3 | TRUE"),
    ]
    assert {block.location.sheet for block in parsed.blocks} == {"Stock"}


def test_epub_follows_the_order_of_its_spine():
    parsed = read(
        "a.epub", epub(["<h1>One</h1><p>First.</p>", "<h1>Two</h1><p>Second.</p>"], title="Wells")
    )
    assert [text for _, text in list_blocks(parsed)] == ["One", "First.", "Two", "Second."]
    assert parsed.title == "Wells"
    assert parsed.metadata == {"author": "A. Writer"}


def test_odt_follows_the_order_of_its_body():
    body = (
        '<text:h text:outline-level="1">Service</text:h><text:p>Open<text:s text:c="2"/>the '
        "<text:span>case</text:span>"
        ".<text:line-break/>Then wait.</text:p><text:tracked-changes><text:p>old</text:p>"
        "</text:tracked-changes>"
        '<text:list text:style-name="N"><text:list-item><text:p>one</text:p>'
        "<text:list><text:list-item><text:p>deep</text:p>"
        "</text:list-item></text:list></text:list-item><text:list-item><text:p>two</text:p>"
        "</text:list-item></text:list>"
        "<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>"
        "A</text:p></table:table-cell>"
        "<table:table-cell><text:p>B</text:p></table:table-cell></table:table-row>"
        "</table:table-header-rows><table:table-row>"
        "<table:table-cell><text:p>1</text:p></table:table-cell><table:table-cell><text:p>"
        "2</text:p></table:table-cell>"
        "</table:table-row></table:table>"
    )
    styles = (
        '<text:list-style style:name="N"><text:list-level-style-number text:level="1"/>'
        "</text:list-style>"
    )
    parsed = read("a.odt", odt(body, styles, title="Manual"))
    assert list_blocks(parsed) == [
        ("heading", "Service"),
        ("paragraph", "Open the case.\nThen wait."),
        ("list", "1. one\n  1. deep\n2. two"),
        ("table", "A | B\n1 | 2"),
    ]
    assert parsed.title == "Manual"


def test_xml_with_entities_is_refused():
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]><office:document-content/>'
    assert (
        refusal_reason(
            "a.odt",
            zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": bomb}),
        )
        == "corrupt"
    )


def test_rtf_becomes_text_lists_and_tables():
    source = (
        r"{\rtf1\ansi\ansicpg1252\uc1{\fonttbl{\f0 Arial;}}{\info{\title Pump "
        r"\'fcbersicht}{\author X}}"
        r"{\*\generator Y;}"
        r"\pard\outlinelevel0 Pump\par\pard Use the \b red\b0  valve. {\v hidden}Caf\'e9 \u8364? "
        r"\u-10179?\u-8704?\line Next\par"
        "\n"
        r"{\listtext\'95\tab}First\par{\listtext\'95\tab}Second\par\trowd\pard\intbl A\cell "
        r"B\cell\row"
        r"\trowd\pard\intbl 1\cell 2\cell\row\pard End \{x\}\par}"
    )
    parsed = read("a.rtf", source)
    assert list_blocks(parsed) == [
        ("heading", "Pump"),
        ("paragraph", "Use the red valve. Café € 😀\nNext"),
        ("list", "- First\n- Second"),
        ("table", "A | B\n1 | 2"),
        ("paragraph", "End {x}"),
    ]
    assert parsed.title == "Pump übersicht"
