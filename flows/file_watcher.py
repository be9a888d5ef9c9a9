"""Local folders watched by looking at names, sizes and times every few seconds: cheap, and good for any disk."""

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from core.errors import GroundworkError

WATCH_INTERVAL_SECONDS = 2.0


def watch_paths(
    paths: Sequence[str],
    on_change: Callable[[], object],
    stop_event: threading.Event | None = None,
    interval_seconds: float = WATCH_INTERVAL_SECONDS,
) -> None:
    """Call `changed` when something below local paths is no longer as it was and has come to rest, until `ended`."""
    stop_event = stop_event or threading.Event()
    known = seen = fingerprint_files(paths)
    while not stop_event.wait(interval_seconds):
        now = fingerprint_files(paths)
        if now == seen != known:  # as it was at the last look: nobody is still copying
            try:
                on_change()
                known = now
            except GroundworkError as error:
                sys.stderr.write(f"error: {error}\n")
        seen = now


def fingerprint_files(paths: Sequence[str]) -> str:
    """Stands for the names, sizes and times of all files below local paths."""
    digest = hashlib.sha256()
    for path in sorted(path for path in paths if "://" not in path):
        for file in sorted(_list_files(Path(path).expanduser())):
            try:
                status = file.stat()
            except OSError:
                continue  # gone since it was listed
            digest.update(
                os.fsencode(file) + f"\x1f{status.st_size}\x1f{status.st_mtime_ns}\x1e".encode()
            )
    return digest.hexdigest()


def _list_files(root: Path) -> list[Path]:
    if not root.is_dir():
        return [root]
    return [
        Path(folder, name)
        for folder, _, names in os.walk(root)
        for name in names
        if not name.startswith(".")
    ]
