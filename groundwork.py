"""The command line: a thin face on the folders. Results go to standard output, progress and errors to standard error.

groundwork ingest docs/            take documents in
groundwork ask "How ...?"          an answer with citations, or an honest refusal
groundwork serve                   the service and its page
groundwork --help                  the rest
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from knowledge.database import Principal
from knowledge.errors import GroundworkError, InvalidInput
from knowledge.settings import Settings, load_settings

if TYPE_CHECKING:
    from flows.engine import Engine
    from flows.ingest import Watcher
    from ingest.pipeline import Plan, Report
    from knowledge.services import Services
    from retrieval.types import Evidence
    from serving.types import Answer, Citation

# No markup: names of files and tenants may hold square brackets.
out = Console(highlight=False, soft_wrap=True, markup=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

app = typer.Typer(
    help="Retrieval-augmented generation: documents in, grounded answers with citations out.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
evaluate = typer.Typer(help="Measure retrieval and answers.")
deployments = typer.Typer(help="Run the flows from a Prefect server.")
app.add_typer(evaluate, name="eval")
app.add_typer(deployments, name="flows")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Tenant = Annotated[str, typer.Option(help="The tenant to work in; without it GROUNDWORK_TENANT.", show_default=False)]
Groups = Annotated[str, typer.Option(help="Groups of the person asking, separated by commas.", show_default=False)]
Mode = Annotated[Literal["hybrid", "dense", "lexical"], typer.Option(help="Which legs of the search to use.")]


def main() -> NoReturn:
    """Run the command line: exit 0 only on success, 1 with one sentence for what a person can mend, 2 for usage."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except GroundworkError as error:
        code = _complain(str(error))
    except typer.TyperException as error:
        said = error.format_message().rstrip(".").replace("Value error, ", "")
        _complain(f"{said}; add --help to see what can be given.")
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the last flush complains as well
        code = 141
    sys.exit(code if isinstance(code, int) else 0)


# --- documents in ---------------------------------------------------------------------------------------------------


@app.command()
def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files and folders.")],
    tenant: Tenant = "",
    readers: Annotated[str, typer.Option(help="Groups that may read them, separated by commas; none: everyone.")] = "",
    as_json: Json = False,
) -> int:
    """Take documents in: new and changed files are read, what is gone is deleted, the rest is not touched.

    A folder's readers.yaml decides who may read what is in it. A file that can't be read is put aside with its reason;
    the exit code is 1 when that happens to a file named on the command line, or to every file.
    """
    settings = load_settings()
    with _services(settings) as services, _engine(settings) as engine:
        report = _ingest(services, engine, tenant or settings.tenant, paths, _names(readers))
    put_aside = [outcome for outcome in report.outcomes if outcome.state == "quarantined"]
    if as_json:
        _print_json(_report_json(report))
    else:
        _print_report(report)
    for outcome in put_aside:
        said = outcome.message if outcome.path in outcome.message else f"{outcome.path}: {outcome.message}"
        err.print(Text("put aside ", style="yellow").append(said, style="default"))
    named = {Path(path).expanduser().resolve().as_uri() for path in paths}
    failed = any(outcome.uri in named for outcome in put_aside) or len(put_aside) == len(report.outcomes)
    return 1 if put_aside and failed else 0


def _ingest(
    services: "Services", engine: "Engine", tenant: str, paths: list[str], readers: tuple[str, ...] = ()
) -> "Report":
    """Run the ingest flow in this process, with a progress bar; Prefect is not woken when nothing changed."""
    from ingest.pipeline import plan
    from ingest.sources import open_source

    planned = plan(services, tenant, [open_source(path, readers) for path in paths])
    if planned.empty:
        from ingest.pipeline import Report

        return Report(planned.run_id, planned.settled, {})
    engine.start()  # in the background, while the model loads
    services.embedder()
    from flows.ingest import ingest_documents, surroundings

    with engine.ready(), _watch(planned) as watcher, surroundings(services, watcher, planned):
        return ingest_documents(tenant, paths, list(readers))


@contextmanager
def _watch(plan: "Plan") -> Iterator["Watcher"]:
    """A progress bar on standard error: files, tokens a second, time left."""
    from flows.ingest import Watcher

    with _progress("{task.fields[rate]}") as progress:
        bar = progress.add_task("Ingesting", total=max(1, len(plan.to_take_in)), rate="")
        tokens = 0

        def advanced(files: float, more: int) -> None:
            nonlocal tokens
            tokens += more
            seconds = progress.tasks[bar].elapsed or 1.0
            progress.update(bar, advance=files, rate=f"{tokens / seconds:,.0f} tokens/s")

        yield Watcher(advanced)


# --- questions ------------------------------------------------------------------------------------------------------


@app.command()
def search(
    question: str,
    tenant: Tenant = "",
    groups: Groups = "",
    limit: Annotated[int, typer.Option(help="How many passages, 1 to 100.")] = 10,
    mode: Mode = "hybrid",
    as_json: Json = False,
) -> None:
    """Find the passages that answer a question best, and show each leg's rank."""
    from retrieval.retriever import check_question, retrieve

    check_question(question)
    settings = load_settings()
    with _services(settings) as services:
        evidence = retrieve(services, _principal(settings, tenant, groups), question, limit=limit, mode=mode)
    if as_json:
        from serving.schemas import SearchOut

        _print_json(SearchOut.of(evidence).model_dump(mode="json"))
    else:
        _print_evidence(evidence)


@app.command()
def ask(
    question: str, tenant: Tenant = "", groups: Groups = "", mode: Mode = "hybrid", as_json: Json = False
) -> None:  # fmt: skip
    """Answer a question from the documents, every sentence with its citation, or say that they don't hold it."""
    from retrieval.retriever import check_question
    from serving.answering import answer

    check_question(question)
    settings = load_settings()
    with _services(settings) as services:
        given = answer(services, _principal(settings, tenant, groups), question, mode=mode)
    if as_json:
        from serving.schemas import AnswerOut

        _print_json(AnswerOut.of(given).model_dump(mode="json"))
    else:
        _print_answer(given)


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; without it GROUNDWORK_HOST.", show_default=False)
    ] = "",
    port: Annotated[
        int, typer.Option(help="Port; without it GROUNDWORK_PORT.", show_default=False, min=0, max=65535)
    ] = 0,
    tenant: Annotated[
        list[str] | None, typer.Option(help="A tenant that the page offers; may be repeated, the first is the default.")
    ] = None,
) -> None:
    """Run the service: POST /v1/ask and /v1/search, GET /docs, and a page to ask on at /."""
    from serving.identity import identity_provider
    from serving.server import claim_port, run

    settings = load_settings()
    host, port = host or settings.host, port or settings.port
    identity = identity_provider(settings, host, tuple(tenant or ()))
    listener = claim_port(host, port)
    with _services(settings) as services:
        services.embedder()
        err.print(f"Groundwork answers at http://{host}:{port}/ (end with Ctrl-C)")
        run(services, identity, listener)


# --- evaluation -----------------------------------------------------------------------------------------------------


@evaluate.command("retrieval")
def eval_retrieval(
    folder: Annotated[Path, typer.Argument(help="A folder in BEIR's form.")],
    corpus: Annotated[Path | None, typer.Option(help="Instead of DIR/corpus.jsonl.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Instead of DIR/queries.jsonl.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="Instead of DIR/qrels.tsv.")] = None,
    as_json: Json = False,
) -> None:
    """Measure nDCG@10, recall@100 and MRR@10 of lexical, dense and hybrid retrieval.

    The corpus is kept as a tenant of its own, so that a second evaluation doesn't embed it again.
    """
    from evaluation.datasets import read_qrels, read_queries
    from evaluation.retrieval import evaluate_retrieval, judged
    from ingest.corpus import corpus_tenant, read_corpus

    judgements = read_qrels(qrels or folder / "qrels.tsv")
    asked = judged(read_queries(queries or folder / "queries.jsonl"), judgements)
    passages = read_corpus(corpus or folder / "corpus.jsonl")
    settings = load_settings()
    with _services(settings) as services, _progress() as progress:
        tenant = corpus_tenant(passages)
        _take_in_corpus(services, tenant, passages, progress)
        bar = progress.add_task("Asking", total=3 * len(asked))
        reports = evaluate_retrieval(
            services, Principal(tenant), asked, judgements, ("lexical", "dense", "hybrid"), _advance(progress, bar)
        )
    if as_json:
        _print_json({"passages": len(passages), "queries": len(asked), "modes": {r.mode: r.as_dict() for r in reports}})
    else:
        _print_rows("Retrieval", [{"mode": r.mode, **_flat(r.as_dict())} for r in reports])


@evaluate.command("answers")
def eval_answers(
    golden: Annotated[Path, typer.Argument(help="A golden file; its tenants must have been ingested.")] = Path(
        "sample/golden.yaml"
    ),
    corpus: Annotated[Path | None, typer.Option(help="With --questions: passages, as BEIR's corpus.jsonl.")] = None,
    questions: Annotated[Path | None, typer.Option(help="With --corpus: questions with their gold answers.")] = None,
    as_json: Json = False,
) -> None:
    """Measure answers, citations and refusals: on a golden file, or on --corpus and --questions in SQuAD's form."""
    from evaluation.answers import evaluate_golden, evaluate_questions
    from evaluation.datasets import read_golden, read_questions

    if (corpus is None) != (questions is None):
        raise InvalidInput("Give --corpus and --questions together, or neither to use a golden file.")
    settings = load_settings()
    if corpus is not None and questions is not None:
        from ingest.corpus import corpus_tenant, read_corpus

        passages, asked = read_corpus(corpus), read_questions(questions)
        tenant = corpus_tenant(passages)
        with _services(settings) as services, _progress() as progress:
            _take_in_corpus(services, tenant, passages, progress)
            bar = progress.add_task("Asking", total=len(asked))
            report = evaluate_questions(services, tenant, asked, _advance(progress, bar)).as_dict()
    else:
        cases = read_golden(golden)
        with _services(settings) as services, _progress() as progress:
            bar = progress.add_task("Asking", total=len(cases))
            report = evaluate_golden(services, cases, _advance(progress, bar)).as_dict()
    if as_json:
        _print_json(report)
    else:
        _print_rows("Answers", [{key: value for key, value in report.items() if not isinstance(value, list | dict)}])
        for wrong in report.get("failed", []):
            out.print(f"{wrong['question_id']}: {'; '.join(wrong['failures'])}")


def _advance(progress: Progress, bar: TaskID) -> Callable[[int], None]:
    return lambda done: progress.advance(bar, done)


def _take_in_corpus(services: "Services", tenant: str, passages: list[Any], progress: Progress) -> None:
    from ingest.corpus import take_in_corpus

    bar = progress.add_task("Embedding the corpus", total=len(passages))
    for settled in take_in_corpus(services, tenant, passages):
        progress.advance(bar, settled)


# --- operation ------------------------------------------------------------------------------------------------------


@app.command()
def status(tenant: Tenant = "", as_json: Json = False) -> None:
    """What a tenant holds: documents, chunks, files put aside, the last run."""
    from ingest.status import tenant_status

    settings = load_settings()
    with _services(settings) as services:
        facts = tenant_status(services, tenant or settings.tenant)
    if as_json:
        _print_json(facts)
    else:
        _print_facts(facts)


@app.command()
def doctor(as_json: Json = False) -> int:
    """Check the machine and the configuration, and say what to do about each thing that is wrong."""
    from knowledge.doctor import examine

    findings = list(examine(load_settings()))
    if as_json:
        _print_json([{"check": f.check, "ok": f.ok, "found": f.found, "fix": f.fix} for f in findings])
    else:
        for finding in findings:
            mark = Text("ok  ", style="green") if finding.ok else Text("fix ", style="red")
            out.print(mark.append(f" {finding.check}: {finding.found}", style="default"))
            if finding.fix:
                out.print(f"     {finding.fix}")
    return 0 if all(finding.ok for finding in findings) else 1


@app.command()
def migrate(as_json: Json = False) -> None:
    """Bring the database to the present schema; needs GROUNDWORK_ADMIN_DATABASE_URL unless it is the embedded one."""
    from knowledge.embedding import describe_model
    from knowledge.migrate import migrate as apply
    from knowledge.services import start_embedded

    settings = load_settings()
    if settings.database_url and not settings.admin_database_url:
        raise InvalidInput("Set GROUNDWORK_ADMIN_DATABASE_URL to an address whose role may create roles and tables.")
    if settings.admin_database_url:
        applied = apply(settings.admin_database_url, lambda: describe_model(settings.embedding_model))
    else:
        embedded, applied = start_embedded(settings)
        embedded.stop()
    if as_json:
        _print_json({"applied": applied})
    else:
        out.print("\n".join(f"applied {name}" for name in applied) or "The database is up to date.")


@app.command()
def demo() -> int:
    """Take in the sample company's documents, answer a few questions with citations, and refuse one."""
    from serving.answering import answer

    here = Path(__file__).parent / "sample"
    if not here.is_dir():
        raise InvalidInput("The sample is not here; run the demo from a clone of the repository.")
    settings = load_settings()
    with _services(settings) as services, _engine(settings) as engine:
        for tenant in DEMO_TENANTS:
            report = _ingest(services, engine, tenant, [str(here / tenant)])
            out.print(Text(tenant, style="bold").append(f": {_summary(report)}", style="not bold"))
        given = [answer(services, Principal("alder"), question) for question in DEMO_QUESTIONS]
    for each in given:
        out.print()
        _print_answer(each)
    out.print(DEMO_GOING_ON)
    return 0


DEMO_TENANTS = ("alder", "brightwater")
DEMO_QUESTIONS = (
    "How many days of annual leave can I carry over into next year?",
    "What happens to a parcel that has no return number?",
    "How often must the Kestrel T5 be calibrated in waste water?",
    "Who won the football world cup in 1998?",
)
DEMO_GOING_ON = """
How to go on:
  make serve                                          the page, at http://127.0.0.1:8080/
  .venv/bin/groundwork ask "..." --tenant alder       ask from here; --groups finance sees more
  .venv/bin/groundwork ingest ~/documents             your own files, then ask without --tenant
  docs/tour.md                                        the code, in reading order"""


@deployments.command("serve")
def flows_serve() -> None:
    """Register the flows with the Prefect server at PREFECT_API_URL and run what it schedules, until stopped."""
    from flows.deployments import serve as serve_flows

    serve_flows()


@deployments.command("ingest")
def flows_ingest(
    paths: Annotated[list[str], typer.Argument(help="Files and folders, as the worker sees them.")],
    tenant: Tenant = "",
    readers: Annotated[str, typer.Option(help="Groups that may read them, separated by commas.")] = "",
) -> int:
    """Have a worker on the Prefect server run the ingest flow, and wait for it."""
    from flows.deployments import run_ingest

    return run_ingest(tenant or load_settings().tenant, paths, list(_names(readers)))


# --- printing -------------------------------------------------------------------------------------------------------


def _print_answer(given: "Answer") -> None:
    out.print(Text(f"Q  {given.question}", style="bold"))
    if given.refusal:
        out.print(Text(f"—  {given.refusal.reason}"))
        for citation in given.refusal.closest:
            out.print(Text(f"   closest: {_place(citation)}", style="dim"))
        return
    answer = Text("A  ")
    for sentence in given.sentences:
        answer.append(f"{sentence.text} ").append("".join(f"[{n}]" for n in sentence.citations) + " ", style="cyan")
    out.print(answer)
    for citation in given.citations:
        out.print(Text(f"   [{citation.number}] ", style="cyan").append(_place(citation), style="default"))
        out.print(Text(f"       “{' '.join(citation.quote.split())}”", style="dim"))


def _place(citation: "Citation") -> str:
    label = citation.location.label()
    return f"{citation.path}{' · ' + label if label else ''} · characters {citation.span.start}-{citation.span.end}"


def _print_evidence(evidence: "Evidence") -> None:
    table = Table("rank", "score", "lexical", "dense", "sentence", "where", "passage", box=None, pad_edge=False)
    for hit in evidence.hits:
        legs = [f"{leg.rank or '-'}" for leg in (hit.lexical, hit.dense, hit.sentence)]
        where = Text(f"{hit.path}\n", style="bold").append(hit.location.label(), style="dim")
        table.add_row(str(hit.rank), f"{hit.score:.3f}", *legs, where, Text(" ".join(hit.text.split())[:160]))
    Console(highlight=False).print(table)


def _print_report(report: "Report") -> None:
    out.print(_summary(report))


def _summary(report: "Report") -> str:
    states = ", ".join(f"{count} {state}" for state, count in sorted(report.counts.items())) or "nothing to do"
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items())
    return f"{states}; {report.chunks} chunks embedded" + (f" ({stages})" if stages else "")


def _report_json(report: "Report") -> dict[str, Any]:
    return {
        "run_id": str(report.run_id),
        "counts": report.counts,
        "chunks": report.chunks,
        "tokens": report.tokens,
        "seconds": {stage: round(seconds, 3) for stage, seconds in report.seconds.items()},
        "put_aside": [
            {"path": outcome.path, "reason": outcome.reason, "message": outcome.message}
            for outcome in report.outcomes
            if outcome.state == "quarantined"
        ],
    }


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0], title=title, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(highlight=False).print(table)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose groups, such as search_ms with p50 and p95, are columns of their own."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= {f"{name} {key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _print_facts(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        out.print(f"{name.replace('_', ' ')}: {value}")


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def _complain(sentence: str) -> int:
    err.print(Text("error: ", style="red").append(sentence, style="default"))
    return 1


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


def _progress(*more: str) -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}")]
    return Progress(*columns, _Rate(), *map(TextColumn, more), TimeRemainingColumn(), console=err)


# --- shared ---------------------------------------------------------------------------------------------------------


def _engine(settings: Settings) -> "Engine":
    from flows.engine import Engine

    return Engine(settings.home / "prefect")


def _services(settings: Settings) -> "Services":
    from knowledge.services import open_services

    return open_services(settings)


def _principal(settings: Settings, tenant: str, groups: str) -> Principal:
    return Principal(tenant or settings.tenant, _names(groups))


def _names(separated: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in separated.split(",") if name.strip())


if __name__ == "__main__":
    main()
