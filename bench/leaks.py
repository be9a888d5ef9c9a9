"""Search for confidential input in logs, traces and errors.

    .venv/bin/python -m bench.leaks                 50 canaries and ../shared/data/pii, half an hour
    .venv/bin/python -m bench.leaks --records 100   fewer records
    .venv/bin/python -m bench.leaks --control       the same without protection, which must leak

Each text is sent through every input: as a question, as one that is too long, as a filter, a field
name, a header, an address, a body that is not JSON; into handlers, models and streams that fail
with the text in their exception; into statements that PostgreSQL rejects with it in their DETAIL;
as a document, and as one on which the chunker fails; to the command line. Then these are searched:
all logs (of Groundwork, of the libraries, of PostgreSQL), standard error, error replies, and the
files of Prefect's server.

A trace of a canary is the canary. A trace of a record is a marked value of at least six characters,
or five consecutive words. Values that also occur in the output for harmless texts, or that Prefect
contains initially, do not count; they are collected first.

The exit code is 1 if there is a trace; with --control, if there is none.
"""

import argparse
import io
import json
import logging
import os
import random
import re
import secrets
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import structlog
from fastapi.testclient import TestClient

from bench.liar import ingest_sample
from bench.redaction import RECORDS_FILE, Record, read_records
from core import logs
from core.services import Services, open_services
from core.settings import Settings
from flows.prefect_server import PrefectServer
from ingest import pipeline, stages
from serving.answering.generator.answer_generator import AnswerGenerator
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from serving.gateway.types import ModelFailed

CANARY_COUNT = 50
MIN_PIECE_CHARACTERS = 6  # of a marked value; shorter ones occur by chance
WORDS_PER_PIECE = 5
HARMLESS_QUESTIONS = (
    "How deep can I lower a Heron 200?",
    "What does ERR-4711 mean?",
    "Who approves travel?",
)
TENANT = "alder"


@dataclass(frozen=True, slots=True)
class MarkedText:
    """Text to send, and the pieces of it that must not appear anywhere."""

    text: str
    pieces: tuple[str, ...]


@dataclass(slots=True)
class CapturedText:
    """Logs, output and error replies, by the place where they appeared."""

    texts_by_place: dict[str, list[str]] = field(default_factory=dict)
    requests: int = 0

    def add(self, place: str, text: str) -> None:
        """Add a text that appeared at a place."""
        self.texts_by_place.setdefault(place, []).append(text)

    def join_texts(self) -> str:
        """Return all texts, one after the other."""
        return "\n".join(text for texts in self.texts_by_place.values() for text in texts)


def make_canaries(chance: random.Random) -> list[MarkedText]:
    """Return random secrets of every kind, some without a known form."""
    letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

    def random_text(count: int, alphabet: str = letters) -> str:
        return "".join(chance.choice(alphabet) for _ in range(count))

    makers: tuple[Callable[[], str], ...] = (
        lambda: "AKIA" + random_text(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        lambda: "ghp_" + random_text(36),
        lambda: "sk-" + "proj-" + random_text(40),
        lambda: "sk-" + "ant-api03-" + random_text(40),
        lambda: "xoxb-" + random_text(24),
        lambda: "eyJ" + random_text(20) + "." + random_text(30) + "." + random_text(30),
        lambda: random_text(12) + "@" + random_text(8, "abcdefgh") + ".example",
        lambda: "zq" + random_text(14, "abcdefghijk"),
        lambda: "".join(("Tr0ub4", random_text(10))),
        lambda: f"+49 {random_text(3, '123456789')} {random_text(7, '123456789')}",
    )
    canaries = [makers[number % len(makers)]() for number in range(CANARY_COUNT)]
    return [
        MarkedText(f"My secret is {canary} and it must stay one.", (canary,)) for canary in canaries
    ]


def mark_records(records: Sequence[Record]) -> list[MarkedText]:
    """Return the records with the pieces that count as a trace of each."""
    return [MarkedText(record.text, tuple(_sensitive_pieces(record))) for record in records]


def _sensitive_pieces(record: Record) -> Iterator[str]:
    for marked in record.marked:
        if marked.end - marked.start >= MIN_PIECE_CHARACTERS:
            yield record.text[marked.start : marked.end]
    words = record.text.split()
    for start in range(max(1, len(words) - WORDS_PER_PIECE + 1)):
        yield " ".join(words[start : start + WORDS_PER_PIECE])


# --- inputs ---------------------------------------------------------------------------------------


def send_http_requests(client: TestClient, text: str, captured: CapturedText) -> None:
    """Send valid and invalid requests, and capture the error replies."""
    ask: dict[str, Any] = {"url": "/v1/ask", "method": "POST"}
    header = (
        text.encode("ascii", "ignore")
        .decode()
        .replace("\n", " ")
        .replace("\r", " ")
        .replace("\0", "")
    )
    for request in (
        {**ask, "json": {"question": text[:2000]}},
        {**ask, "url": "/v1/search", "json": {"question": text[:2000]}},
        {**ask, "json": {"question": text * (2100 // len(text) + 1)}},
        {**ask, "json": {"question": [text]}},
        {**ask, "json": {"question": "x", "mode": text}},
        {**ask, "json": {"question": "x", text: text}},
        {**ask, "json": {"question": "x", "conversation": text}},
        {
            **ask,
            "json": {"question": "x", "filter": {"field": "metadata.x", "gte": {"date": text}}},
        },
        {**ask, "content": text.encode()},
        {
            **ask,
            "json": {"question": "x"},
            "headers": {"Authorization": f"Bearer {header}", "Cookie": header},
        },
        {"method": "GET", "url": "/v1/documents/nowhere", "params": {"q": text}},
        {"method": "GET", "url": "/v1/nothing", "params": {"password": text}},
    ):
        reply = client.request(**request)
        captured.requests += 1
        if reply.status_code >= 400:
            captured.add("replies", reply.text)


def trigger_failures(client: TestClient, text: str, captured: CapturedText) -> None:
    """Make handlers, streams, models and libraries fail with the text in their exception."""

    def fail_at_once(*_: object, **__: object) -> Iterator[Any]:
        raise RuntimeError(text)

    class Failing(AnswerGenerator):
        name = "failing"

        def generate(self, evidence: object) -> Generator[Any]:
            raise ModelFailed("The model broke off.") from ValueError(text)

    def fail_midway(*_: object, **__: object) -> Iterator[Any]:
        from serving.answering.types import SearchCompleted

        yield SearchCompleted(1, 1)
        raise psycopg.errors.UniqueViolation(
            f"duplicate key\nDETAIL:  Key (name)=({text}) already exists."
        )

    body = {"json": {"question": "x"}}
    for stream, headers in ((fail_at_once, {}), (fail_midway, {"Accept": "text/event-stream"})):
        with patch("serving.api.routes.questions.stream_answer", stream):
            captured.add("replies", client.post("/v1/ask", headers=headers, **body).text)  # type: ignore[arg-type]
    with patch("serving.answering.pipeline.ExtractiveGenerator", Failing):
        captured.add("replies", client.post("/v1/ask", **body).text)  # type: ignore[arg-type]
    captured.requests += 3
    library = logging.getLogger("uvicorn.error")
    try:
        int(text)
    except ValueError as error:
        library.error("Exception in ASGI application\n", exc_info=error)
        library.error(f"Task exception was never retrieved: {error!r}", exc_info=error)
        logging.getLogger("psycopg.pool").warning("error connecting in %r: %s", "groundwork", error)
        structlog.get_logger("groundwork").error("unforeseen", error=error, exc_info=error)


def provoke_database_errors(services: Services, text: str, _: CapturedText) -> None:
    """Run statements that PostgreSQL rejects: the reason is for the caller, not for its log."""
    text = text.replace("\0", "")
    for statement, values in (
        ("select cast(%s as uuid)", (text,)),
        ("select cast(%s as integer)", (text,)),
        ("select cast(%s as jsonb)", (text,)),
        (
            "insert into reader_set (tenant_id, readers) values ('alder', array[%s]), "
            "('alder', array[%s])",
            (text, text),
        ),
        (
            "insert into turn values ('alder', gen_random_uuid(), 1, %s, %s, 'x', true, "
            "'{}', null)",
            (text, text),
        ),
    ):
        try:
            with services.database.writing(TENANT) as connection:
                connection.execute(statement, values)
        except psycopg.Error as error:
            structlog.get_logger("groundwork").error("unforeseen", exc_info=error)
            logging.getLogger("groundwork").exception("failed: %s", error)


def ingest_texts(
    services: Services,
    engine: PrefectServer,
    texts: Sequence[MarkedText],
    folder: Path,
    captured: CapturedText,
) -> None:
    """Ingest the texts as documents with the flow, first normally, then with a failing chunker."""
    from cli.documents import ingest_paths

    for number, text in enumerate(texts):
        (folder / f"{number}.md").write_text(f"# Note {number}\n\n{text.text}\n", encoding="utf-8")
    ingest_paths(services, engine, TENANT, [str(folder)])

    def fail_on_text(parsed: Any, *_: Any) -> Any:
        raise ValueError(f"cannot chunk {parsed.text}")

    for number, text in enumerate(texts[:40]):
        (folder / f"{number}.md").write_text(
            f"# Note {number}\n\n{text.text} And more.\n", encoding="utf-8"
        )
    with patch.object(stages, "load_chunker", lambda _: fail_on_text):
        report = ingest_paths(services, engine, TENANT, [str(folder)])
    captured.add(
        "reasons of quarantined files", "\n".join(outcome.message for outcome in report.outcomes)
    )

    def fail_on_report(*_: Any, **__: Any) -> Any:
        raise RuntimeError(texts[0].text)

    (folder / "0.md").write_text("# Note 0\n\nA change, so that the flow runs.\n")
    with suppress(Exception), patch.object(pipeline, "read_report", fail_on_report):
        ingest_paths(services, engine, TENANT, [str(folder)])


def raise_in_command(text: str, captured: CapturedText) -> None:
    """Capture the output of a command that fails with the text in its exception."""
    with patch.object(sys, "stderr", io.StringIO()) as output:
        try:
            raise RuntimeError(text) from KeyError(text)
        except RuntimeError as error:
            sys.excepthook(RuntimeError, error, error.__traceback__)
        captured.add("standard error", output.getvalue())


# --- running --------------------------------------------------------------------------------------


@contextmanager
def capture_logs(captured: CapturedText, *, protected: bool) -> Iterator[None]:
    """Capture all logs of this process, as `groundwork serve` writes them or unprotected."""
    output = io.StringIO()
    root, factory, hook = logging.getLogger(), logging.getLogRecordFactory(), sys.excepthook
    handlers = root.handlers
    try:
        if protected:
            with patch.object(sys, "stderr", output):
                logs.configure_json_logging()
        else:
            logging.setLogRecordFactory(logging.LogRecord)
            sys.excepthook = sys.__excepthook__
            root.handlers = [logging.StreamHandler(output)]
            structlog.configure(
                processors=[
                    structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(),
                ],
                logger_factory=structlog.WriteLoggerFactory(file=output),
            )
        yield
    finally:
        captured.add("logs", output.getvalue())
        root.handlers = handlers
        logging.setLogRecordFactory(factory)
        sys.excepthook = hook
        structlog.reset_defaults()
        logging.captureWarnings(False)


def send_texts(
    services: Services,
    engine: PrefectServer | None,
    texts: Sequence[MarkedText],
    folder: Path,
    *,
    protected: bool,
) -> CapturedText:
    """Send texts through every input and capture the output; without `engine`, not as documents."""
    captured = CapturedText()
    with capture_logs(captured, protected=protected):
        client = TestClient(
            build_api(services, LocalIdentity((TENANT,))), raise_server_exceptions=False
        )
        for text in texts:
            send_http_requests(client, text.text, captured)
            trigger_failures(client, text.text, captured)
            provoke_database_errors(services, text.text, captured)
            raise_in_command(text.text, captured)
        if engine:
            folder.mkdir(parents=True, exist_ok=True)
            ingest_texts(services, engine, texts, folder, captured)
    return captured


def count_traces(
    captured: CapturedText, texts: Sequence[MarkedText], harmless_output: str
) -> Counter[str]:
    """Count the texts that left a trace, by place; ignore pieces that `harmless_output` has."""
    traces: Counter[str] = Counter()
    by_prefix: dict[str, list[str]] = defaultdict(list)
    for piece in {
        piece for text in texts for piece in text.pieces if len(piece) >= MIN_PIECE_CHARACTERS
    }:
        by_prefix[piece[:MIN_PIECE_CHARACTERS]].append(piece)
    harmless_pieces = set(_find_pieces(harmless_output, by_prefix))
    for place, outputs in captured.texts_by_place.items():
        output = "\n".join(outputs)
        forms = (
            output,
            json.dumps(output, ensure_ascii=False),
            json.loads(f'"{_make_json_readable(output)}"'),
        )
        leaked = {piece for form in forms for piece in _find_pieces(form, by_prefix)}
        leaked -= harmless_pieces
        for text in texts:
            pieces = [piece for piece in text.pieces if piece in leaked]
            if pieces:
                traces[place] += 1
                if traces[place] <= 3:
                    sys.stderr.write(f"{place}: {pieces[0]!r}\n")
    return traces


def _find_pieces(text: str, by_prefix: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the pieces in a text, by their first characters: one pass for any number of pieces."""
    for start in range(len(text) - MIN_PIECE_CHARACTERS + 1):
        for piece in by_prefix.get(text[start : start + MIN_PIECE_CHARACTERS], ()):
            if text.startswith(piece, start):
                yield piece


def _make_json_readable(text: str) -> str:
    """Keep unicode escapes only, so that `json.loads` decodes them."""
    return re.sub(r'\\(?!u[0-9a-fA-F]{4})|["\x00-\x1f]', " ", text)


def capture_server_files(home: Path, captured: CapturedText) -> None:
    """Capture PostgreSQL's log, and the log and database of Prefect's server."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and (path.suffix == ".log" or path.name.startswith("prefect.db")):
            captured.add(
                path.name.split("-")[0], path.read_bytes().decode("utf-8", errors="replace")
            )


def main() -> int:
    """Print the table; return 1 if there is a trace, or if the control has none."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1500)
    parser.add_argument(
        "--control", action="store_true", help="run without protection; it must leak"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    records = (
        read_records(RECORDS_FILE)[: arguments.records]
        if RECORDS_FILE.is_file() and arguments.records
        else []
    )
    texts = make_canaries(random.Random(secrets.randbits(64))) + mark_records(records)  # noqa: S311
    with tempfile.TemporaryDirectory(prefix="leaks-") as folder:
        home = Path(folder)
        settings = Settings(home=home, database_url="")
        # The flows open the services that the environment names.
        os.environ |= {"GROUNDWORK_HOME": str(home), "GROUNDWORK_DATABASE_URL": ""}
        with open_services(settings) as services, PrefectServer(home / "prefect") as engine:
            ingest_sample(services)
            harmless = [MarkedText(text, ()) for text in HARMLESS_QUESTIONS]
            harmless_captured = send_texts(
                services, None, harmless, home, protected=not arguments.control
            )
            with engine.start().connect():
                capture_server_files(home, harmless_captured)  # the initial content names companies
            captured = send_texts(
                services, engine, texts, home / "documents", protected=not arguments.control
            )
        capture_server_files(home, captured)
    traces = count_traces(captured, texts, harmless_captured.join_texts())
    report = {
        "texts": len(texts),
        "requests": captured.requests,
        "characters": {
            place: sum(map(len, outputs))
            for place, outputs in sorted(captured.texts_by_place.items())
        },
        "traces": dict(traces),
    }
    if arguments.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        sys.stdout.write(format_table(report) + "\n")
    return int(bool(traces) != arguments.control)


def format_table(report: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    lines = ["| searched | characters | texts that left a trace |", "|---|---|---|"]
    for place, characters in report["characters"].items():
        lines.append(f"| {place} | {characters:,} | {report['traces'].get(place, 0)} |")
    return "\n".join((*lines, "", f"{report['texts']:,} texts, {report['requests']:,} requests"))


if __name__ == "__main__":
    sys.exit(main())
