"""What becomes of files that nobody here wrote: each ends as text, or is put aside with its reason.

    python -m bench.documents [FOLDER]        by default the folder `documents` of ../shared/data or GROUNDWORK_DATA
    python -m bench.documents --hostile       the files of tests/hostile.py, made for the occasion

Each file goes through the reader that ingest uses. For PDFs the last columns are the share of the words, and of all
tokens, found by another program, pdftotext of poppler-utils, that are in our text too. Seconds are those of the whole
call; the memory is the largest of any child so far, as the system counts it.
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
"""Of the other program's words: the least that a readable PDF's text may hold."""


@dataclass(frozen=True, slots=True)
class Result:
    """One file: its media type and characters, or the reason and the sentence; for a PDF the two shares."""

    name: str
    kind: str
    characters: int
    reason: str
    message: str
    seconds: float
    words: float | None = None
    tokens: float | None = None


def main() -> None:
    """Read every file and print the table; ends with status 1 when a PDF's text lacks words."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--hostile"]
    if "--hostile" in sys.argv[1:]:
        hostile = import_module(
            "tests.support.hostile"
        )  # By name: the tests aren't part of what is checked by mypy.
        with tempfile.TemporaryDirectory() as folder:
            hostile.write(Path(folder) / "hostile")
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
    """Every file below the folder, in order of its path; `compare` the words of PDFs."""
    source = open_source(str(folder))
    with ParserPool() as reader:
        for file in source.list_files():
            yield read_one(reader, source, file, folder / file.path if compare else None)


def read_one(reader: ParserPool, source: Source, file: SourceFile, path: Path | None) -> Result:
    """One file of a source through the reader; with its `path` the words of a PDF are compared."""
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
    """The share of pdftotext's words that are in `text`, and that of all its tokens; None where it finds no word.

    Counted with repetition. A token is a run of letters and digits, a word one with three letters at least: formulas
    and footnote numbers, which each program puts together in its own way, are tokens only. None as well without the
    program.
    """
    if which("pdftotext") is None:
        return None
    command = ["pdftotext", "-q", str(path), "-"]
    output = subprocess.run(command, capture_output=True, check=False, timeout=60).stdout
    expected = tokens(output.decode("utf-8", "replace"))
    found = expected & tokens(text)
    words = sum(count for token, count in expected.items() if _is_word(token))
    if not words:
        return None
    return sum(
        count for token, count in found.items() if _is_word(token)
    ) / words, found.total() / expected.total()


def tokens(text: str) -> Counter[str]:
    """Tokens with how often they occur: lower case, without hyphens, ligatures, and the order of right-to-left ones."""
    joined = re.sub(r"-\s*\n\s*", "", unicodedata.normalize("NFKC", text).casefold())
    return Counter(map(_either_way, re.findall(r"\w+", joined.replace("-", ""))))


def _is_word(token: str) -> bool:
    return len(re.findall(r"[^\W\d_]", token)) >= 3


def _either_way(token: str) -> str:
    """Hebrew and Arabic, which pdftotext may give in the order in which it is drawn."""
    return min(token, token[::-1]) if unicodedata.bidirectional(token[0]) in ("R", "AL") else token


def _print(results: Sequence[Result]) -> None:
    table = Table("file", "outcome", "type or reason", "characters", "s", "words", "tokens")
    for result in results:
        table.add_row(
            ascii(result.name)[1:-1],
            "put aside" if result.reason else "in",
            result.reason or result.kind.rpartition("/")[2].rpartition(".")[2],
            f"{result.characters:,}" if result.characters else "",
            f"{result.seconds:.2f}",
            *("" if share is None else f"{share:.1%}" for share in (result.words, result.tokens)),
        )
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table)
    reasons = Counter(result.reason for result in results if result.reason)
    parts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    console.print(
        f"{len(results)} files: {len(results) - reasons.total()} in, {reasons.total()} put aside ({parts})"
    )
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (
        1024 if sys.platform != "darwin" else 1024**2
    )
    slowest = max(results, key=lambda result: result.seconds)
    console.print(
        f"slowest {slowest.seconds:.1f} s ({slowest.name}), largest child {memory:.0f} MB"
    )


if __name__ == "__main__":
    main()
