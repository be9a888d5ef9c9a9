"""What the command line shows of the ledger, and the watch on local folders."""

import threading
from pathlib import Path

import pytest

from flows.file_watcher import watch_paths
from tests.e2e.test_cli import Run


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "pumps.md").write_text("# Pumps\n\nThe north pump moves 40 litres a second.\n")
    (folder / "draft.md").write_text("# Draft\n\nNot yet.\n")
    (folder / "broken.docx").write_bytes(b"PK\x03\x04 no archive")
    return folder


def test_runs_documents_and_what_was_put_aside(stored: Run, docs: Path) -> None:
    """From an ingest that leaves a file out and puts one aside, to a retry that takes it in."""
    ran = stored("ingest", str(docs), "--exclude", "draft*")
    assert "1 added" in ran.out
    assert "1 quarantined" in ran.out
    assert "s embed" in ran.out
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
    assert stored("quarantine", "list").out == "No file is put aside.\n"
    shown = stored("document", "show", "pumps.md", "--json").json
    assert (shown["title"], shown["version"], shown["run_source"]) == ("Pumps", 1, str(docs))
    assert "40 litres" in shown["chunks"][0]["text"]
    assert "1 chunks" in stored("document", "show", shown["uri"]).out
    mended = stored("document", "show", "broken.docx", "--json").json
    history = [(each["version"], each["state"], each["reason"]) for each in mended["versions"]]
    assert history == [(1, "added", ""), *[(None, "quarantined", "corrupt")] * 2]
    assert mended["versions"][0]["content_hash"] == mended["content_hash"]
    assert "no document" in stored("document", "show", "draft.md").sentence
    runs = stored("runs", "--json").json
    assert [one["state"] for one in runs] == ["finished"] * 3
    assert runs[0]["sources"][0]["exclude"] == ["draft*"]
    assert "finished" in stored("runs").out
    swept = stored("sweep", "--json").json
    assert swept
    assert all(row["found"] == 0 for row in swept)


def test_a_changed_folder_is_noticed_when_it_has_come_to_rest(docs: Path) -> None:
    """Once for each change; not for what is as it was."""
    noticed, ended = threading.Semaphore(0), threading.Event()
    watcher = threading.Thread(target=watch_paths, args=([str(docs)], noticed.release, ended, 0.01))
    watcher.start()
    try:
        assert not noticed.acquire(timeout=0.1)
        (docs / ".new.md").write_text("# New\n")
        (docs / ".new.md").rename(
            docs / "new.md"
        )  # whole at once: half a file may have come to rest, too
        assert noticed.acquire(timeout=60)
        assert not noticed.acquire(timeout=0.1)
        (docs / "new.md").unlink()
        assert noticed.acquire(timeout=60)
    finally:
        ended.set()
        watcher.join()
