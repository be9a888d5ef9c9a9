"""Does anything that was asked or taken in turn up in a log, a trace or an error?

    .venv/bin/python -m bench.leaks                 50 canaries and the records of ../shared/data/pii, half an hour
    .venv/bin/python -m bench.leaks --records 100   fewer records
    .venv/bin/python -m bench.leaks --control       the same without protection, which must leak

Each text goes in by every way in: as a question that is answered, one that is too long, as a filter, a field's name,
a header, an address, a body that is no JSON; into handlers, models and streams that fail with it in their mouths; into
statements that PostgreSQL rejects with it in their DETAIL; as a document, and as one that a chunker chokes on; to the
command line. Looked through afterwards: all that was logged (ours, the libraries', PostgreSQL's), what went to standard
error, the replies that are errors, and what Prefect's server keeps.

A trace of a canary is the canary. A trace of a record is a marked value of at least six characters, or five words of it
in a row; values that also turn up where only harmless texts were sent, or that Prefect has of its own, don't count,
which is looked at first.

Exits with 1 at any trace; with --control, where there is none.
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
MIN_PIECE_CHARACTERS = 6  # characters of a marked value that are told from chance
WORDS_PER_PIECE = 5
HARMLESS_QUESTIONS = (
    "How deep can I lower a Heron 200?",
    "What does ERR-4711 mean?",
    "Who approves travel?",
)
TENANT = "alder"


@dataclass(frozen=True, slots=True)
class MarkedText:
    """What is sent, and the pieces of it that must not turn up."""

    text: str
    pieces: tuple[str, ...]


@dataclass(slots=True)
class CapturedText:
    """What was logged, shown or replied as an error, by the way it came."""

    texts_by_place: dict[str, list[str]] = field(default_factory=dict)
    requests: int = 0

    def add(self, where: str, text: str) -> None:
        """One piece more."""
        self.texts_by_place.setdefault(where, []).append(text)


def make_canaries(chance: random.Random) -> list[MarkedText]:
    """Secrets of every kind, made for this run; some of no form at all."""
    letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

    def some(count: int, of: str = letters) -> str:
        return "".join(chance.choice(of) for _ in range(count))

    makers: tuple[Callable[[], str], ...] = (
        lambda: "AKIA" + some(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        lambda: "ghp_" + some(36),
        lambda: "sk-" + "proj-" + some(40),
        lambda: "sk-" + "ant-api03-" + some(40),
        lambda: "xoxb-" + some(24),
        lambda: "eyJ" + some(20) + "." + some(30) + "." + some(30),
        lambda: some(12) + "@" + some(8, "abcdefgh") + ".example",
        lambda: "zq" + some(14, "abcdefghijk"),
        lambda: "".join(("Tr0ub4", some(10))),
        lambda: f"+49 {some(3, '123456789')} {some(7, '123456789')}",
    )
    made = [makers[number % len(makers)]() for number in range(CANARY_COUNT)]
    return [
        MarkedText(f"My secret is {canary} and it must stay one.", (canary,)) for canary in made
    ]


def mark_records(records: Sequence[Record]) -> list[MarkedText]:
    """The records, with what would be a trace of each."""
    return [MarkedText(record.text, tuple(_sensitive_pieces(record))) for record in records]


def _sensitive_pieces(record: Record) -> Iterator[str]:
    for marked in record.marked:
        if marked.end - marked.start >= MIN_PIECE_CHARACTERS:
            yield record.text[marked.start : marked.end]
    words = record.text.split()
    for start in range(max(1, len(words) - WORDS_PER_PIECE + 1)):
        yield " ".join(words[start : start + WORDS_PER_PIECE])


# --- the ways in ------------------------------------------------------------------------------------------------------


def send_http_requests(client: TestClient, text: str, heard: CapturedText) -> None:
    """Requests good and bad; the replies to the bad ones are looked through."""
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
        heard.requests += 1
        if reply.status_code >= 400:
            heard.add("replies", reply.text)


def trigger_failures(client: TestClient, text: str, heard: CapturedText) -> None:
    """Handlers, streams and models that fail with the text in their mouths."""

    def broken(*_: object, **__: object) -> Iterator[Any]:
        raise RuntimeError(text)

    class Failing(AnswerGenerator):
        name = "failing"

        def generate(self, evidence: object) -> Generator[Any]:
            raise ModelFailed("The model broke off.") from ValueError(text)

    def late(*_: object, **__: object) -> Iterator[Any]:
        from serving.answering.types import SearchCompleted

        yield SearchCompleted(1, 1)
        raise psycopg.errors.UniqueViolation(
            f"duplicate key\nDETAIL:  Key (name)=({text}) already exists."
        )

    body = {"json": {"question": "x"}}
    for name, headers in ((broken, {}), (late, {"Accept": "text/event-stream"})):
        with patch("serving.api.routes.questions.stream_answer", name):
            heard.add("replies", client.post("/v1/ask", headers=headers, **body).text)  # type: ignore[arg-type]
    with patch("serving.answering.pipeline.ExtractiveGenerator", Failing):
        heard.add("replies", client.post("/v1/ask", **body).text)  # type: ignore[arg-type]
    heard.requests += 3
    library = logging.getLogger("uvicorn.error")
    try:
        int(text)
    except ValueError as error:
        library.error("Exception in ASGI application\n", exc_info=error)
        library.error(f"Task exception was never retrieved: {error!r}", exc_info=error)
        logging.getLogger("psycopg.pool").warning("error connecting in %r: %s", "groundwork", error)
        structlog.get_logger("groundwork").error("unforeseen", error=error, exc_info=error)


def provoke_database_errors(services: Services, text: str, _: CapturedText) -> None:
    """Statements that the server rejects; it tells us why, and must not tell its log."""
    text = text.replace("\0", "")
    for statement, values in (
        ("select cast(%s as uuid)", (text,)),
        ("select cast(%s as integer)", (text,)),
        ("select cast(%s as jsonb)", (text,)),
        (
            "insert into reader_set (tenant_id, readers) values ('alder', array[%s]), ('alder', array[%s])",
            (text, text),
        ),
        (
            "insert into turn values ('alder', gen_random_uuid(), 1, %s, %s, 'x', true, '{}', null)",
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
    sent: Sequence[MarkedText],
    folder: Path,
    heard: CapturedText,
) -> None:
    """Documents of the texts: taken in by the flow, once as they are, once with a chunker that chokes on each."""
    from cli.documents import ingest_paths

    for number, each in enumerate(sent):
        (folder / f"{number}.md").write_text(f"# Note {number}\n\n{each.text}\n", encoding="utf-8")
    ingest_paths(services, engine, TENANT, [str(folder)])

    def choking(parsed: Any, *_: Any) -> Any:
        raise ValueError(f"no place for {parsed.text}")

    for number, each in enumerate(sent[:40]):
        (folder / f"{number}.md").write_text(
            f"# Note {number}\n\n{each.text} And more.\n", encoding="utf-8"
        )
    with patch.object(stages, "load_chunker", lambda _: choking):
        report = ingest_paths(services, engine, TENANT, [str(folder)])
    heard.add("put aside", "\n".join(outcome.message for outcome in report.outcomes))

    def failed(*_: Any, **__: Any) -> Any:
        raise RuntimeError(sent[0].text)

    (folder / "0.md").write_text("# Note 0\n\nA change, so that the flow runs.\n")
    with suppress(Exception), patch.object(pipeline, "read_report", failed):
        ingest_paths(services, engine, TENANT, [str(folder)])


def raise_in_command(text: str, heard: CapturedText) -> None:
    """What a command says of a fault of ours, and of an option that it can't use."""
    with patch.object(sys, "stderr", io.StringIO()) as said:
        try:
            raise RuntimeError(text) from KeyError(text)
        except RuntimeError as error:
            sys.excepthook(RuntimeError, error, error.__traceback__)
        heard.add("standard error", said.getvalue())


# --- running ----------------------------------------------------------------------------------------------------------


@contextmanager
def capture_logs(heard: CapturedText, *, protected: bool) -> Iterator[None]:
    """All that is logged in this process meanwhile is heard: as `groundwork serve` logs it, or, without protection, as
    it would be.
    """
    said = io.StringIO()
    root, factory, hook = logging.getLogger(), logging.getLogRecordFactory(), sys.excepthook
    handlers = root.handlers
    try:
        if protected:
            with patch.object(sys, "stderr", said):
                logs.configure_json_logging()
        else:
            logging.setLogRecordFactory(logging.LogRecord)
            sys.excepthook = sys.__excepthook__
            root.handlers = [logging.StreamHandler(said)]
            structlog.configure(
                processors=[
                    structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(),
                ],
                logger_factory=structlog.WriteLoggerFactory(file=said),
            )
        yield
    finally:
        heard.add("logs", said.getvalue())
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
    """Send texts by every way in and hear what is said; without an engine, not as documents."""
    heard = CapturedText()
    with capture_logs(heard, protected=protected):
        client = TestClient(
            build_api(services, LocalIdentity((TENANT,))), raise_server_exceptions=False
        )
        for each in texts:
            send_http_requests(client, each.text, heard)
            trigger_failures(client, each.text, heard)
            provoke_database_errors(services, each.text, heard)
            raise_in_command(each.text, heard)
        if engine:
            folder.mkdir(parents=True, exist_ok=True)
            ingest_texts(services, engine, texts, folder, heard)
    return heard


def count_traces(
    captured: CapturedText, texts: Sequence[MarkedText], harmless_output: str
) -> Counter[str]:
    """How many texts left a trace, by where; `known` is what was heard of harmless ones."""
    found: Counter[str] = Counter()
    begun: dict[str, list[str]] = defaultdict(list)
    for piece in {
        piece for each in texts for piece in each.pieces if len(piece) >= MIN_PIECE_CHARACTERS
    }:
        begun[piece[:MIN_PIECE_CHARACTERS]].append(piece)
    anyhow = set(_find_pieces(harmless_output, begun))
    for where, said in captured.texts_by_place.items():
        whole = "\n".join(said)
        spoken = (
            whole,
            json.dumps(whole, ensure_ascii=False),
            json.loads(f'"{_make_json_readable(whole)}"'),
        )
        there = {piece for one in spoken for piece in _find_pieces(one, begun)} - anyhow
        for each in texts:
            left = [piece for piece in each.pieces if piece in there]
            if left:
                found[where] += 1
                if found[where] <= 3:
                    sys.stderr.write(f"{where}: {left[0]!r}\n")
    return found


def _find_pieces(text: str, begun: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The pieces that stand in a text, by how they begin: one pass, however many there are."""
    for start in range(len(text) - MIN_PIECE_CHARACTERS + 1):
        for piece in begun.get(text[start : start + MIN_PIECE_CHARACTERS], ()):
            if text.startswith(piece, start):
                yield piece


def _make_json_readable(text: str) -> str:
    """Text whose JSON escapes (of a logged é, say) are to be read; other quotes and backslashes stay as they are."""
    return re.sub(r'\\(?!u[0-9a-fA-F]{4})|["\x00-\x1f]', " ", text)


def capture_server_files(home: Path, heard: CapturedText) -> None:
    """What PostgreSQL logged, and Prefect's server logged and keeps."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and (path.suffix == ".log" or path.name.startswith("prefect.db")):
            heard.add(path.name.split("-")[0], path.read_bytes().decode("utf-8", errors="replace"))


def main() -> int:
    """Print the table; 1 where there is a trace, or in the control none."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1500)
    parser.add_argument("--control", action="store_true", help="without protection: it must leak")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    records = (
        read_records(RECORDS_FILE)[: given.records]
        if RECORDS_FILE.is_file() and given.records
        else []
    )
    sent = make_canaries(random.Random(secrets.randbits(64))) + mark_records(records)
    with tempfile.TemporaryDirectory(prefix="leaks-") as folder:
        home = Path(folder)
        settings = Settings(home=home, database_url="")
        # The flows open the services that the environment names.
        os.environ |= {"GROUNDWORK_HOME": str(home), "GROUNDWORK_DATABASE_URL": ""}
        with open_services(settings) as services, PrefectServer(home / "prefect") as engine:
            ingest_sample(services)
            harmless = [MarkedText(text, ()) for text in HARMLESS_QUESTIONS]
            known = send_texts(services, None, harmless, home, protected=not given.control)
            with engine.start().connect():
                capture_server_files(home, known)  # what Prefect has of its own: it names companies
            heard = send_texts(
                services, engine, sent, home / "documents", protected=not given.control
            )
        capture_server_files(home, heard)
    found = count_traces(
        heard, sent, "\n".join(one for said in known.texts_by_place.values() for one in said)
    )
    report = {
        "texts": len(sent),
        "requests": heard.requests,
        "characters": {
            where: sum(map(len, said)) for where, said in sorted(heard.texts_by_place.items())
        },
        "traces": dict(found),
    }
    if given.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        sys.stdout.write(format_table(report) + "\n")
    return int(bool(found) != given.control)


def format_table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    lines = ["| looked through | characters | texts that left a trace |", "|---|---|---|"]
    for where, characters in report["characters"].items():
        lines.append(f"| {where} | {characters:,} | {report['traces'].get(where, 0)} |")
    return "\n".join((*lines, "", f"{report['texts']:,} texts, {report['requests']:,} requests"))


if __name__ == "__main__":
    sys.exit(main())
