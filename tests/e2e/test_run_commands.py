"""Commands about runs, quarantined files and documents; the watcher of local folders."""

import threading
from pathlib import Path

import pytest

from flows.file_watcher import watch_paths
from tests.e2e.conftest import Run


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "pumps.md").write_text("# Pumps\n\nThe north pump moves 40 litres a second.\n")
    (folder / "draft.md").write_text("# Draft\n\nNot yet.\n")
    (folder / "broken.docx").write_bytes(b"PK\x03\x04 no archive")
    return folder


def test_runs_documents_and_quarantined_files_are_shown(stored: Run, docs: Path) -> None:
    """From an ingest that quarantines a file to a retry that ingests it."""
    report = stored("ingest", str(docs), "--exclude", "draft*").out
    assert "1 added" in report
    assert "1 quarantined" in report
    assert "s embed" in report
    [listed] = stored("quarantine", "list", "--json").json
    assert (listed["path"], listed["stage"], listed["reason"]) == (
        "broken.docx",
        "parse",
        "corrupt",
    )
    assert "broken.docx" in stored("quarantine", "show", "broken.docx").out
    assert "quarantine list" in stored("quarantine", "show", "pumps.md").sentence
    assert stored("quarantine", "retry", "broken.docx").code == 1
    (docs / "broken.docx").unlink()
    (docs / "broken.docx").write_text("# Broken no more\n\nIt is text by now.\n")
    assert stored("quarantine", "retry", "--json").json["counts"] == {"added": 1, "unchanged": 1}
    assert stored("quarantine", "list").out == "No file is quarantined.\n"
    shown = stored("document", "show", "pumps.md", "--json").json
    assert (shown["title"], shown["version"], shown["run_source"]) == ("Pumps", 1, str(docs))
    assert "40 litres" in shown["chunks"][0]["text"]
    assert "1 chunks" in stored("document", "show", shown["uri"]).out
    repaired = stored("document", "show", "broken.docx", "--json").json
    history = [(row["version"], row["state"], row["reason"]) for row in repaired["versions"]]
    assert history == [(1, "added", ""), *[(None, "quarantined", "corrupt")] * 2]
    assert repaired["versions"][0]["content_hash"] == repaired["content_hash"]
    assert "no document" in stored("document", "show", "draft.md").sentence
    runs = stored("runs", "--json").json
    assert [run["state"] for run in runs] == ["finished"] * 3
    assert runs[0]["sources"][0]["exclude"] == ["draft*"]
    assert "finished" in stored("runs").out
    checks = stored("sweep", "--json").json
    assert checks
    assert all(row["found"] == 0 for row in checks)


def test_the_watcher_reports_each_change_once_when_files_are_at_rest(docs: Path) -> None:
    changes, stop_event = threading.Semaphore(0), threading.Event()
    watcher = threading.Thread(
        target=watch_paths, args=([str(docs)], changes.release, stop_event, 0.01)
    )
    watcher.start()
    try:
        assert not changes.acquire(timeout=0.1)
        # The rename makes the whole file appear at once: half a file may be at rest, too.
        (docs / ".new.md").write_text("# New\n")
        (docs / ".new.md").rename(docs / "new.md")
        assert changes.acquire(timeout=60)
        assert not changes.acquire(timeout=0.1)
        (docs / "new.md").unlink()
        assert changes.acquire(timeout=60)
    finally:
        stop_event.set()
        watcher.join()
