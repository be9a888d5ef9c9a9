"""Command line: results on standard output, the rest on standard error, one sentence per error."""

import json
import os
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pypdf
import pytest
import typer.main

import cli.main
from core.local_postgres import EmbeddedPostgres
from core.services import Services
from tests.conftest import ROOT
from tests.e2e.conftest import Run

COMMAND = Path(sys.executable).parent / "groundwork"


# --- wrong input
# ----------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask", ""], "question is empty"),
        (["ask", "?!"], "question is empty"),
        (["search", " "], "question is empty"),
        (["ask", "why " * 25_000], "99,999 characters"),
        (["search", "a" * 100_000], "100,000 characters"),
        (["ask", "caf\udce9?"], "UTF-8"),
        (["ask"], "Missing argument 'question'"),
        (
            ["ask", "why", "--mode", "psychic"],
            "'psychic' is not one of 'hybrid', 'dense', 'lexical'",
        ),
        (["search", "why", "--limit", "many"], "--limit"),
        (["search", "why", "--nonsense"], "--nonsense"),
        (["divine"], "No such command 'divine'"),
        (["eval"], "Missing command"),
        (["serve", "--port", "99999"], "--port"),
        (["serve", "--host", "0.0.0.0"], "GROUNDWORK_IDENTITY=jwt"),
        (["eval", "retrieval", "nowhere"], "nowhere"),
        (["eval", "answers", "nowhere.yaml"], "nowhere.yaml"),
        (["eval", "answers", "--corpus", "nowhere.jsonl"], "--questions"),
        (["migrate"], "GROUNDWORK_ADMIN_DATABASE_URL"),
        (["flows", "serve"], "PREFECT_API_URL"),
        (["flows", "ingest", "."], "PREFECT_API_URL"),
        (["status"], "127.0.0.1:1/none"),
        (["usage", "--since", "yesterday"], "Use --since with a day"),
        (["budget", "set", "tokens", "day"], "needs a limit"),
        (["budget", "set", "tokens", "day", "--hard", "much"], "a number"),
        (
            ["budget", "set", "tokens", "day", "--hard", "5", "--soft", "6"],
            "at most the hard limit",
        ),
        (
            ["budget", "set", "tokens", "day", "--hard", "5", "--team", "a", "--key", "b"],
            "Use --team or --key, or neither",
        ),
        (["budget", "set", "tokens", "day", "--hard", "5"], "GROUNDWORK_ADMIN_DATABASE_URL"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_wrong_input_gets_one_sentence(
    run: Run, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything slow begins, and never a traceback."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert says in run(*arguments).sentence


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORT", "abc", "GROUNDWORK_PORT"),
        ("PORT", "0", "GROUNDWORK_PORT"),
        ("PORT", "70000", "GROUNDWORK_PORT"),
        ("REDACT", "everything", "GROUNDWORK_REDACT"),
        ("IDENTITY", "everyone", "GROUNDWORK_IDENTITY"),
        ("CHUNKER", "axe", "GROUNDWORK_CHUNKER"),
        ("EMBEDDING_DTYPE", "int3", "GROUNDWORK_EMBEDDING_DTYPE"),
        ("PUBLISHED_ON_LOOPBACK", "perhaps", "GROUNDWORK_PUBLISHED_ON_LOOPBACK"),
        ("DATABASE_URL", "nonsense", "database address"),
        ("DATABASE_URL", "postgresql://groundwork_app@127.0.0.1:1/none", "GROUNDWORK_DATABASE_URL"),
        ("DATABASE_URL", "postgresql://groundwork_app@127.0.0.1:http/none", "port"),
        ("DATABASE_URL", "host=/nowhere dbname=none", "/nowhere"),
    ],
)
def test_a_setting_that_can_not_be_used_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    """The sentence says which, and what it may be."""
    monkeypatch.setenv(f"GROUNDWORK_{name}", value)
    assert says in run("status").sentence


def test_settings_that_only_the_service_needs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for tokens that is too short would be worse than none."""
    monkeypatch.setenv("GROUNDWORK_IDENTITY", "jwt")
    monkeypatch.setenv("GROUNDWORK_JWT_KEY", "short")
    assert "GROUNDWORK_JWT_KEY" in run("serve").sentence


def test_a_state_folder_that_can_not_be_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", "")
    monkeypatch.setenv("GROUNDWORK_HOME", str(tmp_path / "file"))
    assert "GROUNDWORK_HOME" in run("status").sentence


def test_a_port_that_is_taken(run: Run) -> None:
    """Found out before the model is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} on 127.0.0.1" in run("serve", "--port", str(port)).sentence


@pytest.fixture
def bare(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    """A database that nobody has migrated."""
    name = f"bare_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name} template template0")
        yield name
        connection.execute(f"drop database {name} with (force)")


def test_a_database_that_is_not_groundworks(
    run: Run, server: EmbeddedPostgres, bare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First without the extension, then with it but without tables, then one that is not there."""
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", server.conninfo("groundwork_app", bare))
    assert "no pgvector" in run("status").sentence
    with psycopg.connect(server.conninfo(dbname=bare), autocommit=True) as connection:
        connection.execute("create extension vector")
    assert "groundwork migrate" in run("ask", "why?").sentence
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", server.conninfo("groundwork_app", "absent"))
    assert '"absent" does not exist' in run("status").sentence
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", server.conninfo("postgres", bare))
    assert run("status").sentence


def test_wrong_input_that_only_the_store_can_tell(
    stored: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Paths, names and limits, on a database that is all right."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".secret.md").write_text("# Secret\n")
    (tmp_path / "ruled").mkdir()
    (tmp_path / "ruled" / "a.md").write_text("# A\n")
    (tmp_path / "ruled" / "readers.yaml").write_text("- nonsense")
    assert "nothing at nowhere" in stored("ingest", "nowhere").sentence
    assert "no file in" in stored("ingest", "empty").sentence
    assert "no file in" in stored("ingest", "hidden").sentence
    assert "readers.yaml" in stored("ingest", "ruled").sentence
    assert "tenant name" in stored("ingest", "ruled/a.md", "--tenant", "\x01").sentence
    assert "group name" in stored("ingest", "ruled/a.md", "--readers", "x" * 300).sentence
    assert "tenant name" in stored("ask", "why?", "--tenant", " ").sentence
    assert "group name" in stored("ask", "why?", "--groups", "a\x1fb").sentence
    assert "Use 1 to 100." in stored("search", "why?", "--limit", "0").sentence
    assert "Use 1 to 100." in stored("search", "why?", "--limit", "101").sentence
    monkeypatch.setenv("GROUNDWORK_EMBEDDING_MODEL", "another")
    assert "GROUNDWORK_EMBEDDING_MODEL=all-MiniLM-L6-v2" in stored("status").sentence


def test_files_that_can_not_be_read_are_named_with_the_reason(stored: Run, tmp_path: Path) -> None:
    """A corrupt DOCX and an encrypted PDF are quarantined; named alone, they fail the command."""
    docs = tmp_path / "docs"
    docs.mkdir()
    corrupt, locked = docs / "corrupt [1].docx", docs / "[locked].pdf"
    corrupt.write_bytes(b"PK\x03\x04 no archive")
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret")
    writer.write(locked)
    (docs / os.fsdecode(b"caf\xe9 [bold].md")).write_text(
        "# Coffee\n\nThe machine stands on the second floor.\n"
    )
    ran = stored("ingest", "docs", "--json")
    assert ran.json["counts"] == {"added": 1, "quarantined": 2}
    assert {aside["reason"] for aside in ran.json["put_aside"]} == {"corrupt", "encrypted"}
    aside = [line for line in ran.err.splitlines() if line.startswith("quarantined ")]
    assert len(aside) == 2
    assert any("corrupt [1].docx" in line for line in aside)
    assert any("[locked].pdf" in line for line in aside)
    assert "Traceback" not in ran.err
    for file in (corrupt, locked):
        ran = stored("ingest", str(file))
        assert ran.code == 1
        assert re.fullmatch(r"quarantined [^\n]+[.]\n", ran.err)
        assert "1 quarantined" in ran.out
    found = stored("search", "where is the machine?", "--json").json["hits"]
    assert [hit["path"] for hit in found] == ["caf\ufffd [bold].md"]


# --- what it prints
# ----------------------------------------


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    yield path, command.help or ""
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


@pytest.mark.parametrize(
    ("path", "says"), commands(typer.main.get_command(cli.main.app)), ids=" ".join
)
def test_every_command_explains_itself(run: Run, path: tuple[str, ...], says: str) -> None:
    """With --help, on standard output, and successfully."""
    ran = run(*path, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert says
    assert says.split(maxsplit=1)[0] in ran.out
    assert "Traceback" not in ran.out


def test_without_a_command_it_explains_itself(run: Run) -> None:
    """To somebody who types its name to see what happens."""
    assert run() == run("--help")


def test_every_report_as_json_is_json_and_nothing_else(
    stored: Run, monkeypatch: pytest.MonkeyPatch, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Progress is reported on standard error."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "pumps.md").write_text(
        "# Pumps\n\nThe north pump moves 40 litres a second.\n"
    )
    (tmp_path / "docs" / "valves.md").write_text(
        "# Valves\n\nValve V-17 is closed before the filter is opened.\n"
    )
    ran = stored("ingest", "docs", "--tenant", "acme", "--json")
    assert ran.json["counts"] == {"added": 2}
    assert "Ingesting" in ran.err
    assert "2/2" in ran.err
    again = stored("ingest", "docs", "--tenant", "acme", "--json")
    assert again.json["counts"] == {"unchanged": 2}
    assert again.err == ""
    assert stored("status", "--tenant", "acme", "--json").json["documents"] == 2
    assert stored("status", "--json").json["documents"] == 0
    hits = stored(
        "search", "How much does the north pump move?", "--tenant", "acme", "--json"
    ).json["hits"]
    assert hits[0]["path"] == "pumps.md"
    assert stored("ask", "How much does the north pump move?", "--json").json["status"] == "refused"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("GROUNDWORK_PORT", str(port))
    assert all(finding["ok"] for finding in stored("doctor", "--json").json)
    monkeypatch.setenv(
        "GROUNDWORK_ADMIN_DATABASE_URL",
        os.environ["GROUNDWORK_DATABASE_URL"].replace("groundwork_app", "postgres"),
    )
    assert stored("migrate", "--json").json == {"applied": []}


def test_budgets_are_set_shown_and_removed(stored: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the owner of the administrator's address; the rest may look."""
    monkeypatch.setenv(
        "GROUNDWORK_ADMIN_DATABASE_URL",
        os.environ["GROUNDWORK_DATABASE_URL"].replace("groundwork_app", "postgres"),
    )
    assert "everything is allowed" in stored("budget", "list").out
    ran = stored(
        "budget", "set", "tokens", "month", "--soft", "800", "--hard", "1000", "--tenant", "acme"
    )
    assert ran.out == "acme: the tenant may use tokens in a month: soft 800, hard 1000\n"
    stored("budget", "set", "requests", "minute", "--hard", "60", "--key", "*", "--tenant", "acme")
    key = stored(
        "budget",
        "set",
        "cost",
        "day",
        "--hard",
        "2.50",
        "--key",
        "ada",
        "--tenant",
        "acme",
        "--json",
    ).json
    assert (key["scope"], key["hard"]) == ("key", "2.50")
    assert "ada" not in key["name"]
    listed = stored("budget", "list", "--tenant", "acme", "--json").json
    assert [(row["scope"], row["measure"], row["per"]) for row in listed] == [
        ("tenant", "tokens", "month"),
        ("key", "requests", "minute"),
        ("key", "cost", "day"),
    ]
    shown = stored("budget", "show", "--key", "ada", "--tenant", "acme", "--json").json
    assert {(row["scope"], row["per"], row["spent"], row["tight"]) for row in shown} == {
        ("tenant", "month", "0", False),
        ("key", "day", "0", False),
        ("key", "minute", "0", False),
    }
    assert "requests" in stored("budget", "show", "--key", "bea", "--tenant", "acme").out
    assert "800" in stored("budget", "list", "--tenant", "acme").out
    stored("budget", "remove", "tokens", "month", "--tenant", "acme")
    assert (
        "budget list" in stored("budget", "remove", "tokens", "month", "--tenant", "acme").sentence
    )
    assert stored("usage", "--tenant", "acme", "--json").json["used"] == []
    assert "No call to a language model" in stored("usage").out
    assert stored("cache", "clear", "--json").json == {"forgotten": 0}


def test_an_answer_as_json_and_as_text(
    run: Run, sample_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the sample company, where a person would look first."""
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", sample_services.settings.database_url)
    asked = ("ask", "What does ERR-4711 mean?", "--tenant", "alder")
    given = run(*asked, "--json").json
    assert given["status"] == "answered"
    ran = run(*asked)
    assert (ran.code, ran.err) == (0, "")
    for citation in given["citations"]:
        assert f"[{citation['number']}] {citation['path']}" in ran.out
        assert " ".join(citation["quote"].split()) in ran.out


def test_the_evaluations_report_as_json(stored: Run, tmp_path: Path) -> None:
    """On three passages and two questions."""
    texts = {
        "p": "The north pump moves 40 litres a second.",
        "v": "Close valve V-17 first.",
        "g": "Gates open at six.",
    }
    lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in texts.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    asked = {"1": "How much does the pump move?", "2": "When do the gates open?"}
    lines = [json.dumps({"_id": key, "text": text}) for key, text in asked.items()]
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\tp\t1\n2\tg\t1\n")
    ran = stored("eval", "retrieval", ".", "--json")
    assert ran.json["passages"] == 3
    assert set(ran.json["modes"]) == {"lexical", "dense", "hybrid"}
    assert "Asking" in ran.err
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "pumps.md").write_text(
        "# Pumps\n\nThe north pump moves 40 litres a second.\n"
    )
    stored("ingest", "docs", "--tenant", "acme")
    (tmp_path / "golden.yaml").write_text(
        "- {id: pump, question: 'How much does the north pump move?', tenant: acme, groups: "
        "[], kind: answerable,"
        " documents: [pumps.md], contains: [40 litres]}\n"
    )
    ran = stored("eval", "answers", "golden.yaml", "--json")
    assert ran.json
    assert "Asking" in ran.err


def test_what_people_read_keeps_brackets_and_goes_to_standard_output(
    stored: Run, tmp_path: Path
) -> None:
    """Answers, passages and reports as text."""
    (tmp_path / "pumps [old].md").write_text(
        "# Pumps\n\nThe north pump [red] moves 40 litres a second.\n"
    )
    ran = stored("ingest", "pumps [old].md")
    assert ran.code == 0
    assert "1 added" in ran.out
    ran = stored("search", "How much does the north pump move?")
    assert (ran.code, ran.err) == (0, "")
    assert "pumps [old].md" in ran.out
    assert "[red]" in ran.out
    assert "documents: 1" in stored("status").out


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`groundwork --help | head -0`: the real program, on a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(
            [COMMAND, "--help"], stdout=writing, stderr=subprocess.PIPE, cwd=ROOT, check=False
        )
    finally:
        os.close(writing)
    assert ran.stderr == b""
    assert ran.returncode != 0
