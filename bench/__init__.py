"""Side-by-side measurements, each a command; see docs/reference/benchmarks.md."""

import argparse
import os
from pathlib import Path

DATA_FOLDER = Path(os.environ.get("GROUNDWORK_DATA") or "../shared/data")


def build_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """What every benchmark that reads the real data begins with: its help and the folder DATA."""
    made = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "data",
        nargs="?",
        type=_folder,
        default=DATA_FOLDER,
        help=f"the real data; by default {DATA_FOLDER}",
    )
    return made


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(
            f"there is no folder {text}; see docs/reference/benchmarks.md for what it should hold"
        )
    return Path(text)
