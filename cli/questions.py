"""Commands for questions: `groundwork search`, `ask`, `conversation` and `serve`."""

from collections.abc import Iterable, Iterator
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
        help="Search only documents that meet a condition, such as 'path^products/' or"
        " 'metadata.year>=2024'. May be repeated; all must hold. See docs/reference/search.md.",
        metavar="CONDITION",
    ),
]


def search(
    question: str,
    tenant: TenantOption = "",
    groups: GroupsOption = "",
    limit: Annotated[int, typer.Option(help="Number of passages, 1 to 100.")] = 10,
    mode: ModeOption = "hybrid",
    where: WhereOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain each score and the work of the database.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find the passages that answer a question best."""
    from retrieval.filter_expressions import parse_where
    from retrieval.retriever import check_limit, check_question, retrieve

    question, limit = check_question(question), check_limit(limit)
    document_filter = parse_where(where or ())
    settings = load_settings()
    with open_configured_services(settings) as services:
        caller = build_principal(settings, tenant, groups)
        if mode != "lexical":
            services.embedder()  # load it now, so that the search time does not include it
        result = retrieve(
            services,
            caller,
            question,
            limit=limit,
            mode=mode,
            where=document_filter,
            explain=explain,
        )
    if as_json:
        from serving.api.schemas import SearchOut

        print_json(SearchOut.model_validate(result).model_dump(mode="json"))
    elif explain:
        print_explanation(result)
    else:
        _print_search_result(result)


def ask(
    question: str,
    tenant: TenantOption = "",
    groups: GroupsOption = "",
    mode: ModeOption = "hybrid",
    where: WhereOption = None,
    conversation: Annotated[
        str, typer.Option(help="Ask in a conversation: `new`, `last`, or an id.", metavar="ID")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Answer a question from the documents, with a citation for each sentence, or refuse."""
    from retrieval.filter_expressions import parse_where
    from retrieval.retriever import check_question
    from serving.answering.conversation.conversation import answer_in_conversation
    from serving.answering.generator.registry import create_generator
    from serving.answering.guardrails.redaction import open_models
    from serving.answering.pipeline import answer_question, extract_answer
    from serving.usage.meter import PostgresMeter

    question = check_question(question)
    document_filter = parse_where(where or ())
    settings = load_settings()
    with (
        open_configured_services(settings) as services,
        open_models(settings, PostgresMeter(services.database)) as models,
    ):
        caller = build_principal(settings, tenant, groups)
        generator = create_generator(settings, models, caller)
        if conversation:
            events = answer_in_conversation(
                services,
                caller,
                question,
                _resolve_conversation(services, caller, conversation),
                models,
                generator=generator,
                mode=mode,
                where=document_filter,
            )
            answer = extract_answer(events)
        else:
            answer = answer_question(
                services, caller, question, generator=generator, mode=mode, where=document_filter
            )
    if as_json:
        from serving.api.schemas import AnswerOut

        print_json(AnswerOut.model_validate(answer).model_dump(mode="json"))
    else:
        print_answer(answer)


def conversation_show(
    conversation: Annotated[str, typer.Argument(help="`last`, or an id.")],
    tenant: TenantOption = "",
    groups: GroupsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the questions of one of your conversations. Answers are not stored."""
    from serving.answering.conversation.history import ConversationHistory
    from serving.api.schemas import ConversationOut, TurnOut

    settings = load_settings()
    with open_configured_services(settings) as services:
        caller = build_principal(settings, tenant, groups)
        conversation_id = _resolve_conversation(services, caller, conversation)
        turns = ConversationHistory(services, caller).read_turns(conversation_id)
    if as_json:
        listed = [TurnOut.model_validate(turn) for turn in turns]
        print_json(
            ConversationOut(conversation=conversation_id, turns=listed).model_dump(mode="json")
        )
        return
    for turn in turns:
        out.print(Text(f"Q  {turn.question}"))
        if turn.asked_as != turn.question:
            out.print(Text(f"   asked as: {turn.asked_as}", style="dim"))
        out.print(Text(f"   {', '.join(turn.titles) or 'no document cited'}", style="dim"))


def conversation_delete(
    conversation: Annotated[str, typer.Argument(help="`last`, or an id.")],
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Delete one of your conversations."""
    from serving.answering.conversation.history import ConversationHistory

    settings = load_settings()
    with open_configured_services(settings) as services:
        caller = build_principal(settings, tenant, "")
        conversation_id = _resolve_conversation(services, caller, conversation)
        ConversationHistory(services, caller).delete(conversation_id)
    if as_json:
        print_json({"deleted": str(conversation_id)})
    else:
        out.print(f"Deleted {conversation_id}.")


def _resolve_conversation(services: "Services", caller: "Principal", conversation: str) -> UUID:
    """Return the id of a conversation: a new one for `new`, the latest for `last`, or the id that
    is given.

    Raises:
        InvalidInput: it is none of these, or there is no conversation yet.
    """
    from serving.answering.conversation.history import ConversationHistory

    history = ConversationHistory(services, caller)
    if conversation == "new":
        return history.create_conversation()
    if conversation == "last":
        latest = history.latest_conversation()
        if latest is None:
            raise InvalidInput("There is no conversation yet. Start one with --conversation new.")
        return latest
    try:
        return UUID(conversation)
    except ValueError as error:
        raise InvalidInput(
            "This is not a conversation. Use `new`, `last`, or the id that an answer shows."
        ) from error


def serve(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; default: GROUNDWORK_HOST.", show_default=False),
    ] = "",
    port: Annotated[
        int,
        typer.Option(help="Port; default: GROUNDWORK_PORT.", show_default=False, min=0, max=65535),
    ] = 0,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            help="Tenant that the page offers. May be repeated; the first is the default."
        ),
    ] = None,
) -> None:
    """Run the service: POST /v1/ask and /v1/search, the API pages at /docs, and a web page at /."""
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


def print_answer(answer: "Answer") -> None:
    """Print an answer with its citations, or a refusal with the closest passages."""
    out.print(Text(f"Q  {answer.question}", style="bold"))
    if answer.asked_as:
        out.print(Text(f"   asked as: {answer.asked_as}", style="dim"))
    if answer.refusal:
        out.print(Text(f"—  {answer.refusal.reason}"))
        for citation in answer.refusal.closest:
            out.print(Text(f"   closest: {_format_citation_location(citation)}", style="dim"))
        return
    text = Text("A  ")
    for sentence in answer.sentences:
        text.append(f"{sentence.text} ").append(f"{_format_numbers(sentence.citations)} ", "cyan")
    out.print(text)
    if answer.model:
        prompt = f"prompt {answer.prompt_version} ({answer.prompt})"
        out.print(Text(f"   written by {answer.model}, {prompt}", style="dim"))
    for note in _answer_notes(answer):
        out.print(Text(f"   {note}", style="yellow"))
    for citation in answer.citations:
        _print_citation(citation)


def _answer_notes(answer: "Answer") -> Iterator[str]:
    for flag in answer.flagged:
        yield f"skipped a suspected prompt injection in {flag.path}: it {', '.join(flag.signs)}"
    if answer.conflict:
        yield f"the sources disagree: {_format_numbers(answer.conflict, ', ')}"
    if answer.degraded:
        yield answer.degraded
    if answer.removed:
        yield f"left out sentences that the documents do not support: {', '.join(answer.removed)}"


def _format_numbers(numbers: Iterable[int], separator: str = "") -> str:
    return separator.join(f"[{number}]" for number in numbers)


def _print_citation(citation: "Citation") -> None:
    location = Text(_format_citation_location(citation), style="default")
    out.print(Text(f"   [{citation.number}] ", style="cyan").append(location))
    out.print(Text(f"       “{' '.join(citation.quote.split())}”", style="dim"))
    if citation.also:
        out.print(Text(f"       {format_duplicates(citation.also)}", style="dim"))


def _format_citation_location(citation: "Citation") -> str:
    characters = f"characters {citation.span.start}-{citation.span.end}"
    return " · ".join(filter(None, (citation.path, citation.location.label, characters)))


def _print_search_result(result: "SearchResult") -> None:
    if not result.hits:
        out.print("No passage shares a word or a meaning with the question.")
    Console(highlight=False, markup=False).print(build_hits_table(result.hits))
