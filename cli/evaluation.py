"""Evaluation commands: `groundwork eval retrieval`, `eval answers` and `eval conversation`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from cli.console import (
    JsonOption,
    create_progress_bar,
    create_progress_callback,
    flatten_row,
    open_configured_services,
    out,
    print_json,
    print_rows,
)
from core.errors import InvalidInput
from core.principal import Principal
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    from core.services import Services
    from evaluation.corpus import CorpusPassage


def eval_retrieval(
    folder: Annotated[Path, typer.Argument(help="Folder with a benchmark in BEIR's format.")],
    corpus: Annotated[
        Path | None, typer.Option(help="Passages. Default: corpus.jsonl in the folder.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Queries. Default: queries.jsonl in the folder.")
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Relevance judgements. Default: qrels.tsv in the folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure nDCG@10, recall@100 and MRR@10 of lexical, dense and hybrid retrieval.

    If GROUNDWORK_RERANKER names a reranker, hybrid retrieval is also measured with it.
    The corpus becomes a tenant of its own, so that a second evaluation need not embed it again.
    """
    from evaluation.corpus import corpus_tenant, read_corpus
    from evaluation.datasets import read_qrels, read_queries
    from evaluation.retrieval import evaluate_retrieval, select_judged_queries
    from retrieval.reranker import load_reranker

    judgements = read_qrels(qrels or folder / "qrels.tsv")
    judged = select_judged_queries(read_queries(queries or folder / "queries.jsonl"), judgements)
    passages = read_corpus(corpus or folder / "corpus.jsonl")
    settings = load_settings()
    reranker = load_reranker(settings)
    with open_configured_services(settings) as services, create_progress_bar() as progress:
        tenant = corpus_tenant(passages)
        _ingest_corpus(services, tenant, passages, progress)
        bar = progress.add_task("Asking", total=(4 if reranker else 3) * len(judged))
        reports = evaluate_retrieval(
            services,
            Principal(tenant),
            judged,
            judgements,
            ("lexical", "dense", "hybrid"),
            create_progress_callback(progress, bar),
            reranker,
        )
    modes = {report.name: report.as_dict() for report in reports}
    if as_json:
        print_json({"passages": len(passages), "queries": len(judged), "modes": modes})
    else:
        rows = [{"mode": mode, **flatten_row(figures)} for mode, figures in modes.items()]
        print_rows("Retrieval", rows)


def eval_answers(
    golden: Annotated[
        Path, typer.Argument(help="Golden file. Its tenants must have been ingested.")
    ] = Path("sample/golden.yaml"),
    corpus: Annotated[
        Path | None, typer.Option(help="With --questions: passages in BEIR's corpus.jsonl format.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="With --corpus: questions with their accepted answers.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure answers, citations and refusals on a golden file, or on a corpus with questions.

    With --corpus, configured language models write the answers. A configured entailment model must
    agree with each sentence in both cases.
    """
    if (corpus is None) != (questions is None):
        raise InvalidInput(
            "Give --corpus and --questions together, or neither to use a golden file."
        )
    settings = load_settings()
    if corpus is not None and questions is not None:
        report = _evaluate_corpus_questions(settings, corpus, questions)
    else:
        report = _evaluate_golden(settings, golden)
    if as_json:
        print_json(report)
        return
    row = {name: value for name, value in report.items() if not isinstance(value, list | dict)}
    print_rows("Answers", [row])
    for failed in report.get("failed", []):
        out.print(f"{failed['question_id']}: {'; '.join(failed['failures'])}")


def _evaluate_corpus_questions(settings: Settings, corpus: Path, questions: Path) -> dict[str, Any]:
    from evaluation.answers import evaluate_questions
    from evaluation.corpus import corpus_tenant, read_corpus
    from evaluation.datasets import read_questions
    from serving.answering.guardrails.redaction import open_models

    passages, asked = read_corpus(corpus), read_questions(questions)
    tenant = corpus_tenant(passages)
    with (
        open_configured_services(settings) as services,
        open_models(settings) as models,
        create_progress_bar() as progress,
    ):
        _ingest_corpus(services, tenant, passages, progress)
        bar = progress.add_task("Asking", total=len(asked))
        passage_ids = {passage.passage_id for passage in passages}
        on_progress = create_progress_callback(progress, bar)
        return evaluate_questions(services, tenant, asked, passage_ids, on_progress, models)


def _evaluate_golden(settings: Settings, golden: Path) -> dict[str, Any]:
    from evaluation.answers import evaluate_golden
    from evaluation.datasets import read_golden

    questions = read_golden(golden)
    with open_configured_services(settings) as services, create_progress_bar() as progress:
        bar = progress.add_task("Asking", total=len(questions))
        on_progress = create_progress_callback(progress, bar)
        return evaluate_golden(services, questions, on_progress).as_dict()


def eval_conversation(
    dialogues: Annotated[
        Path, typer.Argument(help="Golden dialogues. Their tenant must have been ingested.")
    ] = Path("sample/dialogues.yaml"),
    tenant: Annotated[str, typer.Option(help="Tenant of the dialogues.")] = "alder",
    as_json: JsonOption = False,
) -> None:
    """Measure how many follow-up questions find the answer, as asked and rewritten."""
    from evaluation.dialogues import evaluate_dialogues, read_dialogues, summarise_outcomes
    from serving.answering.guardrails.redaction import open_models

    golden = read_dialogues(dialogues)
    settings = load_settings()
    with (
        open_configured_services(settings) as services,
        open_models(settings) as models,
        create_progress_bar() as progress,
    ):
        bar = progress.add_task("Asking", total=sum(map(len, golden)))
        on_progress = create_progress_callback(progress, bar)
        outcomes = evaluate_dialogues(services, Principal(tenant), golden, on_progress, models)
    wrong = [
        {"dialogue": o.turn.dialogue, "question": o.turn.question, "asked_as": o.asked_as}
        for o in outcomes
        if not o.found_with_rewriting or o.was_rewritten != o.turn.is_follow_up
    ]
    summary = summarise_outcomes(outcomes)
    if as_json:
        print_json({**summary, "wrong": wrong})
        return
    print_rows("Conversation", [dict(summary)])
    for turn in wrong:
        out.print(f"{turn['dialogue']}: {turn['question']} -> {turn['asked_as']}")


def _ingest_corpus(
    services: "Services", tenant: str, passages: "list[CorpusPassage]", progress: Progress
) -> None:
    from evaluation.corpus import ingest_corpus

    bar = progress.add_task("Embedding the corpus", total=len(passages))
    for stored in ingest_corpus(services, tenant, passages):
        progress.advance(bar, stored)
