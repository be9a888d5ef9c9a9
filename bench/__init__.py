"""Benchmarks, each a command; see docs/reference/benchmarks.md."""

import argparse
import os
from pathlib import Path

DATA_FOLDER = Path(os.environ.get("GROUNDWORK_DATA") or "../shared/data")


def build_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Return the argument parser of a benchmark that reads the folder DATA."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data",
        nargs="?",
        type=_folder,
        default=DATA_FOLDER,
        help=f"folder of the real data; default: {DATA_FOLDER}",
    )
    return parser


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(
            f"{text} is not a folder. See docs/reference/benchmarks.md for its content."
        )
    return Path(text)
