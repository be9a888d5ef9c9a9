"""PDF parser: headings, paragraphs, lists and tables from the layout."""

from tests.support.fixtures_documents import Drawn, pdf, prose
from tests.support.parsing import list_blocks, read

LOREM = (
    "The probe measures the pH of water and sends a reading every ten minutes to the gateway. "
    "When the reading is out "
    "of range, the gateway raises an alarm and the operator has fifteen minutes to look at it "
    "before it is sent on."
)


def test_pdf_lines_become_paragraphs_with_pages_and_headings():
    pages = [
        [Drawn("Probe handbook", 740, 20), *prose(LOREM, 700), *prose(LOREM, 600)],
        [Drawn("Alarms", 740, 14, bold=True), *prose(LOREM, 710)],
    ]
    parsed = read("a.pdf", pdf(pages))
    assert list_blocks(parsed) == [
        ("heading", "Probe handbook"),
        ("paragraph", LOREM),
        ("paragraph", LOREM),
        ("heading", "Alarms"),
        ("paragraph", LOREM),
    ]
    assert [block.location.page for block in parsed.blocks] == [1, 1, 1, 2, 2]
    assert parsed.title == "Probe handbook"
    assert parsed.blocks[-1].location.headings == ("Probe handbook", "Alarms")


def test_pdf_headings_come_from_the_outline():
    pages = [[Drawn("1 Range", 740), *prose(LOREM, 700)], [*prose(LOREM, 700)]]
    parsed = read("a.pdf", pdf(pages, outline=[("Range", 1)]))
    assert list_blocks(parsed)[0] == ("heading", "1 Range")


def test_pdf_headers_and_page_numbers_are_dropped():
    pages = [
        [
            Drawn("Alder Instruments", 770, 9),
            *prose(f"Part {name}. {LOREM} It was part {name}.", 700),
            Drawn(f"Page {number} of 4", 30, 9),
        ]
        for number, name in enumerate(("one", "two", "three", "four"), 1)
    ]
    assert [text for _, text in list_blocks(read("a.pdf", pdf(pages)))] == [
        f"Part {name}. {LOREM} It was part {name}." for name in ("one", "two", "three", "four")
    ]


def test_pdf_hyphens_at_line_ends_and_sentences_over_page_breaks():
    first = [
        Drawn(
            "Wells with more than a few metres of water are well-known to need a deep cali-", 700
        ),
        Drawn("bration, and a well-", 686),
    ]
    second = [
        Drawn("known one is ours, which reaches as far as any other on the market does today.", 700)
    ]
    parsed = read("a.pdf", pdf([first, second]))
    assert "deep calibration, and a well-known one is ours" in parsed.text
    assert len(parsed.blocks) == 1


def test_pdf_columns_of_a_table_become_rows():
    rows = [("Probe", "Range", "Price"), ("P1", "0-14", "120"), ("P2", "0-5", "95")]
    page = [
        Drawn(cell, 700 - 20 * r, x=72 + 120 * c)
        for r, row in enumerate(rows)
        for c, cell in enumerate(row)
    ]
    assert list_blocks(read("a.pdf", pdf([page]))) == [
        ("table", "Probe | Range | Price\nP1 | 0-14 | 120\nP2 | 0-5 | 95")
    ]


def test_pdf_cells_of_several_lines_stay_in_their_row():
    page = [
        Drawn("Event", 700),
        Drawn("Response", 700, x=250),
        Drawn("A treatment works", 680),
        Drawn("without measurements", 667),
        Drawn("2 hours,", 680, x=250),
        Drawn("at any hour", 667, x=250),
        Drawn("Question", 645),
        Drawn("1 day", 645, x=250),
    ]
    rows = (
        "Event | Response\nA treatment works without measurements | 2 hours, at any hour\nQuestion "
        "| 1 day"
    )
    assert list_blocks(read("a.pdf", pdf([page]))) == [("table", rows)]


def test_pdf_pages_without_text_are_listed_and_tiny_text_is_dropped():
    parsed = read(
        "a.pdf",
        pdf([[Drawn("Only this page can be read.", 700)], [Drawn("ignore this", 700, 0.5)]]),
    )
    assert parsed.text == "Only this page can be read."
    assert parsed.metadata["pages_without_text"] == [2]


def test_pdf_text_back_at_the_left_begins_a_new_line():
    page = [Drawn("Line 1", 700, 24, x=140), Drawn("Line 2", 681, 24, x=30)]
    assert "1Line" not in read("a.pdf", pdf([page])).text
