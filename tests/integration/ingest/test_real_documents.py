"""Parsers on files from many programs, from the data folder."""

import os
from contextlib import suppress
from pathlib import Path
from shutil import which

import pytest

from bench.documents import MIN_WORD_SHARE, shared_words
from core.errors import UnreadableFile
from ingest.parsers.file_parser import parse_file
from ingest.parsers.types import ParsedDocument
from tests.support.parsing import list_blocks

DATA = Path(os.environ.get("GROUNDWORK_DATA", "../shared/data"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the data folder (GROUNDWORK_DATA) is not here"
)


@needs_data
@pytest.mark.skipif(which("pdftotext") is None, reason="pdftotext is not installed")
def test_pdf_words_match_pdftotext():
    """Find 98 % of the words in each file, and of the tokens, numbers too, in all files."""
    found = [
        (path.name, shared_words(path, parsed.text), len(parsed.text))
        for path in sorted(DATA.glob("documents/**/*.pdf"))
        if path.stat().st_size
        < 1_500_000  # One more takes seconds; `python -m bench.documents` reads it too.
        if (parsed := readable(path))
    ]
    compared = [(name, both, length) for name, both, length in found if both]
    assert len(compared) > 20
    assert [name for name, (words, _), _ in compared if words < MIN_WORD_SHARE] == []
    assert sum(tokens * n for _, (_, tokens), n in compared) >= MIN_WORD_SHARE * sum(
        n for _, _, n in compared
    )


def readable(path: Path) -> ParsedDocument | None:
    try:
        return parse_file(path.name, path.read_bytes())[1]
    except UnreadableFile:
        return None


@needs_data
def test_real_documents_parse_or_have_a_reason():
    for path in sorted(DATA.glob("documents/**/*.*")):
        if path.is_file() and path.stat().st_size < 1_000_000:
            with suppress(UnreadableFile):
                _, parsed = parse_file(path.name, path.read_bytes())
                assert "\n\n".join(text for _, text in list_blocks(parsed)) == parsed.text, path
