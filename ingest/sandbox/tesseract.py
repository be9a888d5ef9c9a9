"""Tesseract OCR, if it is installed: one process per picture, with limits of its own."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import which

from ingest.parsers import limits

_REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
_INHERITED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "TESSDATA_PREFIX")
# The child limits its own resources and then becomes Tesseract.
_LIMITED_COMMAND = (
    *(sys.executable, "-P", "-s", "-m", "ingest.sandbox.child", "run"),
    *(str(limits.MAX_MEMORY_BYTES), str(limits.OCR_PAGE_TIMEOUT_SECONDS)),
)


class TesseractOcr:
    """OCR engine that runs `tesseract`; `languages` are its names, such as "eng+deu"."""

    def __init__(self, program: str, languages: str) -> None:
        self._command = (*_LIMITED_COMMAND, program, "stdin", "stdout", "-l", languages)

    def read_text(self, image: bytes) -> str:
        """Return the text on a PNG picture; "" if there is none, or if Tesseract fails."""
        try:
            process = subprocess.run(  # noqa: S603
                self._command,
                input=image,
                capture_output=True,
                timeout=limits.OCR_PAGE_TIMEOUT_SECONDS,
                check=False,
                cwd=os.path.abspath(os.sep),
                env=_build_environment(),
            )
        except subprocess.TimeoutExpired:
            return ""
        return process.stdout.decode("utf-8", "replace") if process.returncode == 0 else ""


def find_tesseract(languages: str = "eng") -> TesseractOcr | None:
    """Return Tesseract; None if the system does not have it."""
    program = which("tesseract")
    return TesseractOcr(program, languages) if program else None


def _build_environment() -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    return inherited | {"PYTHONPATH": str(_REPOSITORY_ROOT), "OMP_THREAD_LIMIT": "1"}
