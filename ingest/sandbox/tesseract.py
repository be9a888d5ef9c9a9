"""Tesseract reads pictures of pages, where it is installed: a process for each page, with limits of its own."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import which

from ingest.parsers import limits

_REPOSITORY_ROOT = Path(__file__).resolve().parents[2]


class TesseractOcr:
    """The program `tesseract`. `languages` are its names of them, joined by "+", such as "eng+deu"."""

    def __init__(self, program: str, languages: str) -> None:
        self._program = program
        self._languages = languages

    def text(self, image: bytes) -> str:
        """The text on a PNG picture; empty when it finds none, takes too long or fails."""
        command = [
            sys.executable,
            "-P",
            "-s",
            "-m",
            "ingest.sandbox.child",
            "run",
            str(limits.MAX_MEMORY_BYTES),
            str(limits.OCR_PAGE_TIMEOUT_SECONDS),
        ]
        try:
            done = subprocess.run(
                [*command, self._program, "stdin", "stdout", "-l", self._languages],
                input=image,
                capture_output=True,
                timeout=limits.OCR_PAGE_TIMEOUT_SECONDS,
                check=False,
                cwd=os.path.abspath(os.sep),
                env=_build_environment(),
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def find_tesseract(languages: str = "eng") -> TesseractOcr | None:
    """Tesseract, where the system has it."""
    program = which("tesseract")
    return TesseractOcr(program, languages) if program else None


def _build_environment() -> dict[str, str]:
    kept = {
        name: os.environ[name]
        for name in ("PATH", "LD_LIBRARY_PATH", "TESSDATA_PREFIX")
        if name in os.environ
    }
    return kept | {"PYTHONPATH": str(_REPOSITORY_ROOT), "OMP_THREAD_LIMIT": "1"}
