"""Imports of the parsers and chunkers: a library is loaded with the first file that needs it."""

import subprocess
import sys


def test_libraries_load_with_the_first_file_of_their_format():
    libraries = "pypdf docx pptx openpyxl markdown_it selectolax charset_normalizer llama_index"
    program = (
        "import sys, ingest.parsers.file_parser, ingest.chunkers.registry\n"
        f"print(sorted(set({libraries.split()}) & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"
