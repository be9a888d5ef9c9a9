"""Questions: `groundwork search`, `ask` and `serve`."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.text import Text

from cli.console import Groups, Json, Mode, Tenant, err, opened, out, principal, print_json
from cli.explanation import also, entries, print_explanation
from core.errors import InvalidInput
from core.settings import load_settings

if TYPE_CHECKING:
    from core.principal import Principal
    from core.services import Services
    from retrieval.types import Evidence
    from serving.answering.types import Answer, Citation

Where = Annotated[
    list[str] | None,
    typer.Option(
        help="Only documents for which this holds, such as 'path^products/' or 'metadata.year>=2024';"
        " may be repeated, all must hold. docs/search.md has the grammar.",
        metavar="CONDITION",
    ),
]


def search(
    question: str,
    tenant: Tenant = "",
    groups: Groups = "",
    limit: Annotated[int, typer.Option(help="How many passages, 1 to 100.")] = 10,
    mode: Mode = "hybrid",
    where: Where = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say how each score came about, and how the database found it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find the passages that answer a question best, and show each leg's rank."""
    from retrieval.filters import parse_where
    from retrieval.retriever import check_question, retrieve

    check_question(question)
    narrowed = parse_where(where or ())
    settings = load_settings()
    with opened(settings) as services:
        asker = principal(settings, tenant, groups)
        if mode != "lexical":
            services.embedder()  # loaded now, so that its loading is not taken for part of the search
        evidence = retrieve(services, asker, question, limit=limit, mode=mode, where=narrowed, explain=explain)
    if as_json:
        from serving.api.schemas import SearchOut

        print_json(SearchOut.of(evidence).model_dump(mode="json"))
    elif explain:
        print_explanation(evidence)
    else:
        _print_evidence(evidence)


def ask(
    question: str,
    tenant: Tenant = "",
    groups: Groups = "",
    mode: Mode = "hybrid",
    where: Where = None,
    conversation: Annotated[
        str, typer.Option(help="Ask in a conversation: `new`, `last`, or its id.", metavar="ID")
    ] = "",
    as_json: Json = False,
) -> None:
    """Answer a question from the documents, every sentence with its citation, or say that they don't hold it."""
    from retrieval.filters import parse_where
    from retrieval.retriever import check_question
    from serving.answering.conversation import converse
    from serving.answering.generator.backing import open_backing
    from serving.answering.generator.llm import generator
    from serving.answering.pipeline import answer, whole
    from serving.usage.meter import PostgresMeter

    check_question(question)
    narrowed = parse_where(where or ())
    settings = load_settings()
    with opened(settings) as services, closing(open_backing(settings, PostgresMeter(services.database))) as backing:
        asker = principal(settings, tenant, groups)
        writer = generator(backing.models, asker)
        if conversation:
            place = _place_in(services, asker, conversation)
            events = converse(
                services, asker, question, place, backing.models, generator=writer, mode=mode, where=narrowed
            )
            given = whole(events)
        else:
            given = answer(services, asker, question, generator=writer, mode=mode, where=narrowed)
    if as_json:
        from serving.api.schemas import AnswerOut

        print_json(AnswerOut.of(given).model_dump(mode="json"))
    else:
        print_answer(given)


def conversation_show(
    conversation: Annotated[str, typer.Argument(help="`last`, or its id.")],
    tenant: Tenant = "", groups: Groups = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Show what was asked in a conversation of yours; answers are not kept."""
    from serving.answering.conversation.history import History
    from serving.api.schemas import ConversationOut

    settings = load_settings()
    with opened(settings) as services:
        asker = principal(settings, tenant, groups)
        place = _place_in(services, asker, conversation)
        turns = History(services, asker).read(place)
    if as_json:
        print_json(ConversationOut.of(place, turns).model_dump(mode="json"))
        return
    for turn in turns:
        out.print(Text(f"Q  {turn.question}"))
        if turn.asked_as != turn.question:
            out.print(Text(f"   asked as: {turn.asked_as}", style="dim"))
        out.print(Text(f"   {', '.join(turn.titles) or 'no document cited'}", style="dim"))


def conversation_delete(
    conversation: Annotated[str, typer.Argument(help="`last`, or its id.")], tenant: Tenant = "", as_json: Json = False
) -> None:
    """Delete a conversation of yours, at once."""
    from serving.answering.conversation.history import History

    settings = load_settings()
    with opened(settings) as services:
        asker = principal(settings, tenant, "")
        place = _place_in(services, asker, conversation)
        History(services, asker).delete(place)
    if as_json:
        print_json({"deleted": str(place)})
    else:
        out.print(f"Deleted {place}.")


def _place_in(services: "Services", asker: "Principal", conversation: str) -> UUID:
    """The conversation that is meant: a new one, the last, or that of an id.

    Raises:
        InvalidInput: none of these; or `last`, where there is none.
    """
    from serving.answering.conversation.history import History

    history = History(services, asker)
    if conversation == "new":
        return history.begin()
    if conversation == "last":
        latest = history.latest()
        if latest is None:
            raise InvalidInput("There is no conversation yet; begin one with --conversation new.")
        return latest
    try:
        return UUID(conversation)
    except ValueError as error:
        raise InvalidInput("A conversation is `new`, `last`, or the id that an answer came with.") from error


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
    from retrieval.rerank import configured
    from serving.api.identity import identity_provider
    from serving.api.server import claim_port, run

    settings = load_settings()
    host, port = host or settings.host, port or settings.port
    identity = identity_provider(settings, host, tuple(tenant or ()))
    listener = claim_port(host, port)
    with opened(settings) as services:
        services.embedder()
        configured(settings)
        err.print(f"Groundwork answers at http://{host}:{port}/ (end with Ctrl-C)")
        run(services, identity, listener)


def print_answer(given: "Answer") -> None:
    """Print an answer with its citations, or the refusal with what is closest."""
    out.print(Text(f"Q  {given.question}", style="bold"))
    if given.asked_as:
        out.print(Text(f"   asked as: {given.asked_as}", style="dim"))
    if given.refusal:
        out.print(Text(f"—  {given.refusal.reason}"))
        for citation in given.refusal.closest:
            out.print(Text(f"   closest: {_place(citation)}", style="dim"))
        return
    answer = Text("A  ")
    for sentence in given.sentences:
        answer.append(f"{sentence.text} ").append("".join(f"[{n}]" for n in sentence.citations) + " ", style="cyan")
    out.print(answer)
    if given.model:
        out.print(Text(f"   written by {given.model}, prompt {given.prompt_version} ({given.prompt})", style="dim"))
    for flag in given.flagged:
        out.print(Text(f"   passed over in {flag.path}, since it {', '.join(flag.signs)}", style="yellow"))
    if given.conflict:
        out.print(Text(f"   the sources disagree: {', '.join(f'[{n}]' for n in given.conflict)}", style="yellow"))
    if given.degraded:
        out.print(Text(f"   {given.degraded}", style="yellow"))
    if given.removed:
        left_out = f"left out, since the documents do not carry it: {', '.join(given.removed)}"
        out.print(Text(f"   {left_out}", style="yellow"))
    for citation in given.citations:
        out.print(Text(f"   [{citation.number}] ", style="cyan").append(_place(citation), style="default"))
        out.print(Text(f"       “{' '.join(citation.quote.split())}”", style="dim"))
        if citation.also:
            out.print(Text(f"       {also(citation.also)}", style="dim"))


def _place(citation: "Citation") -> str:
    label = citation.location.label()
    return f"{citation.path}{' · ' + label if label else ''} · characters {citation.span.start}-{citation.span.end}"


def _print_evidence(evidence: "Evidence") -> None:
    if not evidence.hits:
        out.print("No passage shares a word or a meaning with the question.")
    Console(highlight=False, markup=False).print(entries(evidence.hits))
