"""Watcher of local folders. It polls names, sizes and times, which works on any file system."""

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
    """Call `on_change` after files below local paths have changed, until `stop_event` is set.

    A change counts when two polls in a row see the same: until then, files may still be copied.
    """
    stop_event = stop_event or threading.Event()
    handled = previous = fingerprint_files(paths)
    while not stop_event.wait(interval_seconds):
        current = fingerprint_files(paths)
        if current == previous != handled:
            try:
                on_change()
                handled = current
            except GroundworkError as error:
                sys.stderr.write(f"error: {error}\n")
        previous = current


def fingerprint_files(paths: Sequence[str]) -> str:
    """Return a hash of the names, sizes and times of all files below local paths."""
    digest = hashlib.sha256()
    for path in sorted(path for path in paths if "://" not in path):
        for file in sorted(_list_files(Path(path).expanduser())):
            try:
                status = file.stat()
            except OSError:
                continue  # deleted since it was listed
            state = f"\x1f{status.st_size}\x1f{status.st_mtime_ns}\x1e"
            digest.update(os.fsencode(file) + state.encode())
    return digest.hexdigest()


def _list_files(root: Path) -> list[Path]:
    if not root.is_dir():
        return [root]
    files: list[Path] = []
    for folder, _, names in os.walk(root):
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    return files
