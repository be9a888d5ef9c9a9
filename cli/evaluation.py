"""Is it any good: `groundwork eval retrieval` and `eval answers`."""

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
from core.settings import load_settings

if TYPE_CHECKING:
    from core.services import Services


def eval_retrieval(
    folder: Annotated[Path, typer.Argument(help="A folder in BEIR's form.")],
    corpus: Annotated[Path | None, typer.Option(help="Instead of DIR/corpus.jsonl.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Instead of DIR/queries.jsonl.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="Instead of DIR/qrels.tsv.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure nDCG@10, recall@100 and MRR@10 of lexical, dense and hybrid retrieval.

    Where GROUNDWORK_RERANKER names a reranker, also of hybrid retrieval with it.
    The corpus is kept as a tenant of its own, so that a second evaluation doesn't embed it again.
    """
    from evaluation.corpus import corpus_tenant, read_corpus
    from evaluation.datasets import read_qrels, read_queries
    from evaluation.retrieval import evaluate_retrieval, select_judged_queries
    from retrieval.reranker import load_reranker

    judgements = read_qrels(qrels or folder / "qrels.tsv")
    asked = select_judged_queries(read_queries(queries or folder / "queries.jsonl"), judgements)
    passages = read_corpus(corpus or folder / "corpus.jsonl")
    settings = load_settings()
    reranker = load_reranker(settings)
    with open_configured_services(settings) as services, create_progress_bar() as progress:
        tenant = corpus_tenant(passages)
        _ingest_corpus(services, tenant, passages, progress)
        bar = progress.add_task("Asking", total=(4 if reranker else 3) * len(asked))
        reports = evaluate_retrieval(
            services,
            Principal(tenant),
            asked,
            judgements,
            ("lexical", "dense", "hybrid"),
            create_progress_callback(progress, bar),
            reranker,
        )
    if as_json:
        print_json(
            {
                "passages": len(passages),
                "queries": len(asked),
                "modes": {r.name: r.as_dict() for r in reports},
            }
        )
    else:
        print_rows("Retrieval", [{"mode": r.name, **flatten_row(r.as_dict())} for r in reports])


def eval_answers(
    golden: Annotated[
        Path, typer.Argument(help="A golden file; its tenants must have been ingested.")
    ] = Path("sample/golden.yaml"),
    corpus: Annotated[
        Path | None, typer.Option(help="With --questions: passages, as BEIR's corpus.jsonl.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="With --corpus: questions with their gold answers.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure answers, citations and refusals: on a golden file, or on --corpus and --questions in SQuAD's form. Where
    settings name language models, or an entailment model, those write the answers, and this has to agree.
    """
    from evaluation.answers import evaluate_golden, evaluate_questions
    from evaluation.datasets import read_golden, read_questions

    if (corpus is None) != (questions is None):
        raise InvalidInput(
            "Give --corpus and --questions together, or neither to use a golden file."
        )
    settings = load_settings()
    if corpus is not None and questions is not None:
        from evaluation.corpus import corpus_tenant, read_corpus
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
            there = {passage.passage_id for passage in passages}
            report = evaluate_questions(
                services, tenant, asked, there, create_progress_callback(progress, bar), models
            ).as_dict()
    else:
        cases = read_golden(golden)
        with open_configured_services(settings) as services, create_progress_bar() as progress:
            bar = progress.add_task("Asking", total=len(cases))
            report = evaluate_golden(
                services, cases, create_progress_callback(progress, bar)
            ).as_dict()
    if as_json:
        print_json(report)
    else:
        print_rows(
            "Answers",
            [{key: value for key, value in report.items() if not isinstance(value, list | dict)}],
        )
        for wrong in report.get("failed", []):
            out.print(f"{wrong['question_id']}: {'; '.join(wrong['failures'])}")


def eval_conversation(
    dialogues: Annotated[
        Path, typer.Argument(help="Golden dialogues; their tenant must have been ingested.")
    ] = Path("sample/dialogues.yaml"),
    tenant: Annotated[str, typer.Option(help="The tenant that the dialogues are about.")] = "alder",
    as_json: JsonOption = False,
) -> None:
    """Measure whether follow-up questions are understood: what they find as they are put, and rewritten."""
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
        outcomes = evaluate_dialogues(
            services, Principal(tenant), golden, create_progress_callback(progress, bar), models
        )
    wrong = [
        {"dialogue": o.turn.dialogue, "question": o.turn.question, "asked_as": o.asked_as}
        for o in outcomes
        if not o.found_with_rewriting or o.was_rewritten != o.turn.is_follow_up
    ]
    if as_json:
        print_json({**summarise_outcomes(outcomes), "wrong": wrong})
    else:
        print_rows("Conversation", [dict(summarise_outcomes(outcomes))])
        for each in wrong:
            out.print(f"{each['dialogue']}: {each['question']} -> {each['asked_as']}")


def _ingest_corpus(
    services: "Services", tenant: str, passages: list[Any], progress: Progress
) -> None:
    from evaluation.corpus import ingest_corpus

    bar = progress.add_task("Embedding the corpus", total=len(passages))
    for settled in ingest_corpus(services, tenant, passages):
        progress.advance(bar, settled)
