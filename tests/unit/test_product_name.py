"""The list of places that hold the product's name."""

from pathlib import Path

import pytest

from ops.product_name import Mention, find_mentions


@pytest.mark.parametrize(
    ("path", "line", "kind"),
    [
        ("core/a.py", 'os.environ["ACME_HOME"]', "environment variable"),
        ("core/a.py", 'role = "acme_reader"', "database role"),
        ("core/a.sql", "set_config('acme.tenant', 'x', true)", "database setting"),
        ("core/a.py", 'headers["X-Acme-Tenant"]', "HTTP header"),
        ("core/a.sql", "create schema acme", "database object"),
        ("pyproject.toml", 'name = "acme"', "package"),
        ("docs/a.md", "Acme answers questions.", "documentation"),
        ("Makefile", "	acme serve", "deployment"),
        ("tests/a.py", 'assert "acme" in text', "test"),
        ("core/a.py", 'SCHEMA = "acme"', "code"),
    ],
)
def test_a_mention_has_a_kind(tmp_path: Path, path: str, line: str, kind: str) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(f"nothing here\n{line}\n")
    assert list(find_mentions(tmp_path, [path], "acme")) == [Mention(kind, path, 2, line.strip())]


def test_a_line_is_listed_once_for_each_kind(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("`ACME_HOME` and `ACME_PORT` configure Acme.\n")
    kinds = [mention.kind for mention in find_mentions(tmp_path, ["a.md"], "acme")]
    assert kinds == ["documentation", "environment variable"]


def test_file_names_are_listed_and_binary_files_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "acme.png").write_bytes(b"\xff\xfe acme")
    mentions = list(find_mentions(tmp_path, ["acme.png"], "acme"))
    assert mentions == [Mention("file name", "acme.png", 0, "acme.png")]
