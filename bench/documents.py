"""Outcome of parsing files from many programs: text, or a reason for quarantine.

    python -m bench.documents [FOLDER]   by default `documents` in the data folder
    python -m bench.documents --hostile  the files of tests/support/hostile.py

Each file goes through the parser pool that ingest uses. For PDFs the last columns compare the text
with that of pdftotext (poppler-utils): the share of its words, and of all its tokens, that the text
contains too. Seconds are those of the whole call. Memory is the largest of any parser process.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from shutil import which

from rich.console import Console
from rich.table import Table

from core.errors import UnreadableFile
from ingest.sandbox.pool import ParserPool
from ingest.sources import Source, SourceFile, open_source

MIN_WORD_SHARE = 0.98
"""Minimum share of pdftotext's words that the text of a readable PDF contains."""


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of one file; `words` and `tokens` are shares, for PDFs only."""

    name: str
    kind: str
    characters: int
    reason: str
    message: str
    seconds: float
    words: float | None = None
    tokens: float | None = None


def main() -> None:
    """Parse all files and print a table; exit with 1 if a PDF's text lacks words."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--hostile"]
    if "--hostile" in sys.argv[1:]:
        hostile = import_module("tests.support.hostile")  # mypy does not check the tests.
        with tempfile.TemporaryDirectory() as folder:
            hostile.write_files(Path(folder) / "hostile")
            results = list(read_all(Path(folder) / "hostile", compare=False))
    else:
        default = Path(os.environ.get("GROUNDWORK_DATA") or "../shared/data") / "documents"
        results = list(read_all(Path(arguments[0]) if arguments else default))
    _print(results)
    lacking = [
        result.name
        for result in results
        if result.words is not None and result.words < MIN_WORD_SHARE
    ]
    if lacking:
        sys.exit(f"Less than {MIN_WORD_SHARE:.0%} of the words: {', '.join(lacking)}")


def read_all(folder: Path, compare: bool = True) -> Iterator[Result]:
    """Parse the files in a folder by path; `compare` the words of PDFs."""
    source = open_source(str(folder))
    with ParserPool() as reader:
        for file in source.list_files():
            yield read_one(reader, source, file, folder / file.path if compare else None)


def read_one(reader: ParserPool, source: Source, file: SourceFile, path: Path | None) -> Result:
    """Parse one file of a source; with its `path` the words of a PDF are compared."""
    name = PurePosixPath(file.path).name
    began = time.perf_counter()
    try:
        kind, parsed = reader.parse(file.path, source.read(file))
    except UnreadableFile as error:
        return Result(name, "", 0, error.reason, str(error), time.perf_counter() - began)
    seconds = time.perf_counter() - began
    found = shared_words(path, parsed.text) if path and kind == "application/pdf" else None
    return Result(name, kind, len(parsed.text), "", "", seconds, *(found or (None, None)))


def shared_words(path: Path, text: str) -> tuple[float, float] | None:
    """Return the shares of pdftotext's words and of all its tokens that are in `text`.

    Repetitions count. A token is a run of letters and digits, a word has at least three letters:
    programs join formulas and footnote numbers in different ways. None if pdftotext is not
    installed or finds no word.
    """
    if which("pdftotext") is None:
        return None
    command = ["pdftotext", "-q", str(path), "-"]
    process = subprocess.run(command, capture_output=True, check=False, timeout=60)  # noqa: S603
    expected = tokens(process.stdout.decode("utf-8", "replace"))
    common = expected & tokens(text)
    expected_words = _count_words(expected)
    if not expected_words:
        return None
    return _count_words(common) / expected_words, common.total() / expected.total()


def tokens(text: str) -> Counter[str]:
    """Count the tokens, without case, hyphens, ligatures and the direction of writing."""
    joined = re.sub(r"-\s*\n\s*", "", unicodedata.normalize("NFKC", text).casefold())
    return Counter(map(_ignore_direction, re.findall(r"\w+", joined.replace("-", ""))))


def _count_words(counts: Counter[str]) -> int:
    return sum(count for token, count in counts.items() if _is_word(token))


def _is_word(token: str) -> bool:
    return len(re.findall(r"[^\W\d_]", token)) >= 3


def _ignore_direction(token: str) -> str:
    """Return Hebrew and Arabic in one order: pdftotext may return it as it is drawn."""
    return min(token, token[::-1]) if unicodedata.bidirectional(token[0]) in ("R", "AL") else token


def _print(results: Sequence[Result]) -> None:
    table = Table("file", "outcome", "type or reason", "characters", "s", "words", "tokens")
    for result in results:
        table.add_row(
            ascii(result.name)[1:-1],
            "quarantined" if result.reason else "parsed",
            result.reason or result.kind.rpartition("/")[2].rpartition(".")[2],
            f"{result.characters:,}" if result.characters else "",
            f"{result.seconds:.2f}",
            *("" if share is None else f"{share:.1%}" for share in (result.words, result.tokens)),
        )
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table)
    reasons = Counter(result.reason for result in results if result.reason)
    parts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    parsed_count = len(results) - reasons.total()
    console.print(
        f"{len(results)} files: {parsed_count} parsed, {reasons.total()} quarantined ({parts})"
    )
    units_per_megabyte = 1024**2 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / units_per_megabyte
    slowest = max(results, key=lambda result: result.seconds)
    console.print(
        f"slowest {slowest.seconds:.1f} s ({slowest.name}), largest process {memory:.0f} MB"
    )


if __name__ == "__main__":
    main()
