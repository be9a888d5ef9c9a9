"""Questions: `groundwork search`, `ask` and `serve`."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.text import Text

from cli.console import (
    GroupsOption,
    JsonOption,
    ModeOption,
    TenantOption,
    build_principal,
    err,
    open_configured_services,
    out,
    print_json,
)
from cli.search_explanation import build_hits_table, format_duplicates, print_explanation
from core.errors import InvalidInput
from core.settings import load_settings

if TYPE_CHECKING:
    from core.principal import Principal
    from core.services import Services
    from retrieval.types import SearchResult
    from serving.answering.types import Answer, Citation

WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Only documents for which this holds, such as 'path^products/' or 'metadata.year>=2024';"
        " may be repeated, all must hold. docs/reference/search.md has the grammar.",
        metavar="CONDITION",
    ),
]


def search(
    question: str,
    tenant: TenantOption = "",
    groups: GroupsOption = "",
    limit: Annotated[int, typer.Option(help="How many passages, 1 to 100.")] = 10,
    mode: ModeOption = "hybrid",
    where: WhereOption = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Say how each score came about, and how the database found it."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find the passages that answer a question best, and show each leg's rank."""
    from retrieval.filter_expressions import parse_where
    from retrieval.retriever import check_limit, check_question, retrieve

    question, limit = check_question(question), check_limit(limit)
    narrowed = parse_where(where or ())
    settings = load_settings()
    with open_configured_services(settings) as services:
        asker = build_principal(settings, tenant, groups)
        if mode != "lexical":
            services.embedder()  # loaded now, so that its loading is not taken for part of the search
        evidence = retrieve(
            services, asker, question, limit=limit, mode=mode, where=narrowed, explain=explain
        )
    if as_json:
        from serving.api.schemas import SearchOut

        print_json(SearchOut.model_validate(evidence).model_dump(mode="json"))
    elif explain:
        print_explanation(evidence)
    else:
        _print_search_result(evidence)


def ask(
    question: str,
    tenant: TenantOption = "",
    groups: GroupsOption = "",
    mode: ModeOption = "hybrid",
    where: WhereOption = None,
    conversation: Annotated[
        str, typer.Option(help="Ask in a conversation: `new`, `last`, or its id.", metavar="ID")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Answer a question from the documents, every sentence with its citation, or say that they don't hold it."""
    from retrieval.filter_expressions import parse_where
    from retrieval.retriever import check_question
    from serving.answering.conversation.conversation import answer_in_conversation
    from serving.answering.generator.registry import create_generator
    from serving.answering.guardrails.redaction import open_models
    from serving.answering.pipeline import answer_question, extract_answer
    from serving.usage.meter import PostgresMeter

    question = check_question(question)
    narrowed = parse_where(where or ())
    settings = load_settings()
    with (
        open_configured_services(settings) as services,
        open_models(settings, PostgresMeter(services.database)) as models,
    ):
        asker = build_principal(settings, tenant, groups)
        writer = create_generator(settings, models, asker)
        if conversation:
            place = _resolve_conversation(services, asker, conversation)
            events = answer_in_conversation(
                services,
                asker,
                question,
                place,
                models,
                generator=writer,
                mode=mode,
                where=narrowed,
            )
            given = extract_answer(events)
        else:
            given = answer_question(
                services, asker, question, generator=writer, mode=mode, where=narrowed
            )
    if as_json:
        from serving.api.schemas import AnswerOut

        print_json(AnswerOut.model_validate(given).model_dump(mode="json"))
    else:
        print_answer(given)


def conversation_show(
    conversation: Annotated[str, typer.Argument(help="`last`, or its id.")],
    tenant: TenantOption = "",
    groups: GroupsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what was asked in a conversation of yours; answers are not kept."""
    from serving.answering.conversation.history import ConversationHistory
    from serving.api.schemas import ConversationOut, TurnOut

    settings = load_settings()
    with open_configured_services(settings) as services:
        asker = build_principal(settings, tenant, groups)
        place = _resolve_conversation(services, asker, conversation)
        turns = ConversationHistory(services, asker).read_turns(place)
    if as_json:
        listed = [TurnOut.model_validate(turn) for turn in turns]
        print_json(ConversationOut(conversation=place, turns=listed).model_dump(mode="json"))
        return
    for turn in turns:
        out.print(Text(f"Q  {turn.question}"))
        if turn.asked_as != turn.question:
            out.print(Text(f"   asked as: {turn.asked_as}", style="dim"))
        out.print(Text(f"   {', '.join(turn.titles) or 'no document cited'}", style="dim"))


def conversation_delete(
    conversation: Annotated[str, typer.Argument(help="`last`, or its id.")],
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Delete a conversation of yours, at once."""
    from serving.answering.conversation.history import ConversationHistory

    settings = load_settings()
    with open_configured_services(settings) as services:
        asker = build_principal(settings, tenant, "")
        place = _resolve_conversation(services, asker, conversation)
        ConversationHistory(services, asker).delete(place)
    if as_json:
        print_json({"deleted": str(place)})
    else:
        out.print(f"Deleted {place}.")


def _resolve_conversation(services: "Services", asker: "Principal", conversation: str) -> UUID:
    """The conversation that is meant: a new one, the last, or that of an id.

    Raises:
        InvalidInput: none of these; or `last`, where there is none.
    """
    from serving.answering.conversation.history import ConversationHistory

    history = ConversationHistory(services, asker)
    if conversation == "new":
        return history.create_conversation()
    if conversation == "last":
        latest = history.latest_conversation()
        if latest is None:
            raise InvalidInput("There is no conversation yet; begin one with --conversation new.")
        return latest
    try:
        return UUID(conversation)
    except ValueError as error:
        raise InvalidInput(
            "A conversation is `new`, `last`, or the id that an answer came with."
        ) from error


def serve(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; without it GROUNDWORK_HOST.", show_default=False),
    ] = "",
    port: Annotated[
        int,
        typer.Option(
            help="Port; without it GROUNDWORK_PORT.", show_default=False, min=0, max=65535
        ),
    ] = 0,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            help="A tenant that the page offers; may be repeated, the first is the default."
        ),
    ] = None,
) -> None:
    """Run the service: POST /v1/ask and /v1/search, GET /docs, and a page to ask on at /."""
    from retrieval.reranker import load_reranker
    from serving.api.identity import open_identity_provider
    from serving.api.server import claim_port, run_server

    settings = load_settings()
    host, port = host or settings.host, port or settings.port
    identity = open_identity_provider(settings, host, tuple(tenant or ()))
    listener = claim_port(host, port)
    with open_configured_services(settings) as services:
        services.embedder()
        load_reranker(settings)
        err.print(f"Groundwork answers at http://{host}:{port}/ (end with Ctrl-C)")
        run_server(services, identity, listener)


def print_answer(given: "Answer") -> None:
    """Print an answer with its citations, or the refusal with what is closest."""
    out.print(Text(f"Q  {given.question}", style="bold"))
    if given.asked_as:
        out.print(Text(f"   asked as: {given.asked_as}", style="dim"))
    if given.refusal:
        out.print(Text(f"—  {given.refusal.reason}"))
        for citation in given.refusal.closest:
            out.print(Text(f"   closest: {_format_citation_location(citation)}", style="dim"))
        return
    answer = Text("A  ")
    for sentence in given.sentences:
        answer.append(f"{sentence.text} ").append(
            "".join(f"[{n}]" for n in sentence.citations) + " ", style="cyan"
        )
    out.print(answer)
    if given.model:
        out.print(
            Text(
                f"   written by {given.model}, prompt {given.prompt_version} ({given.prompt})",
                style="dim",
            )
        )
    for flag in given.flagged:
        out.print(
            Text(f"   passed over in {flag.path}, since it {', '.join(flag.signs)}", style="yellow")
        )
    if given.conflict:
        out.print(
            Text(
                f"   the sources disagree: {', '.join(f'[{n}]' for n in given.conflict)}",
                style="yellow",
            )
        )
    if given.degraded:
        out.print(Text(f"   {given.degraded}", style="yellow"))
    if given.removed:
        left_out = f"left out, since the documents do not carry it: {', '.join(given.removed)}"
        out.print(Text(f"   {left_out}", style="yellow"))
    for citation in given.citations:
        out.print(
            Text(f"   [{citation.number}] ", style="cyan").append(
                _format_citation_location(citation), style="default"
            )
        )
        out.print(Text(f"       “{' '.join(citation.quote.split())}”", style="dim"))
        if citation.also:
            out.print(Text(f"       {format_duplicates(citation.also)}", style="dim"))


def _format_citation_location(citation: "Citation") -> str:
    label = citation.location.label
    return f"{citation.path}{' · ' + label if label else ''} · characters {citation.span.start}-{citation.span.end}"


def _print_search_result(evidence: "SearchResult") -> None:
    if not evidence.hits:
        out.print("No passage shares a word or a meaning with the question.")
    Console(highlight=False, markup=False).print(build_hits_table(evidence.hits))
