"""The command line: a thin face on the folders. Results go to standard output, progress and errors to standard error.

groundwork ingest docs/            take documents in
groundwork ask "How ...?"          an answer with citations, or an honest refusal
groundwork serve                   the service and its page
groundwork --help                  the rest
"""

import os
import sys
from typing import NoReturn

import typer

from cli import deployments, documents, ledger, measuring, models, operation, questions, usage
from cli.console import complain
from core import logs
from core.errors import GroundworkError

app = typer.Typer(
    help="Retrieval-augmented generation: documents in, grounded answers with citations out.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(documents.ingest)
app.command()(questions.search)
app.command()(questions.ask)
app.command()(questions.serve)
app.command()(ledger.runs)
app.command()(ledger.sweep)
app.command()(usage.usage)
app.command()(models.models)
app.command()(operation.status)
app.command()(operation.doctor)
app.command()(operation.migrate)
app.command()(operation.partition)
app.command()(operation.demo)

document = typer.Typer(help="Look at one document.")
document.command("show")(ledger.document_show)
app.add_typer(document, name="document")

quarantine = typer.Typer(help="Files that could not be taken in, and why.")
quarantine.command("list")(ledger.quarantine_list)
quarantine.command("show")(ledger.quarantine_show)
quarantine.command("retry")(ledger.quarantine_retry)
app.add_typer(quarantine, name="quarantine")

budget = typer.Typer(help="What a tenant, a team or a key may use.")
budget.command("set")(usage.budget_set)
budget.command("list")(usage.budget_list)
budget.command("show")(usage.budget_show)
budget.command("remove")(usage.budget_remove)
app.add_typer(budget, name="budget")

cache = typer.Typer(help="The answers that are kept to be given again.")
cache.command("clear")(usage.cache_clear)
app.add_typer(cache, name="cache")

evaluate = typer.Typer(help="Measure retrieval and answers.")
evaluate.command("retrieval")(measuring.eval_retrieval)
evaluate.command("answers")(measuring.eval_answers)
evaluate.command("conversation")(measuring.eval_conversation)
app.add_typer(evaluate, name="eval")

conversation = typer.Typer(help="Look at a conversation of yours, or delete it.")
conversation.command("show")(questions.conversation_show)
conversation.command("delete")(questions.conversation_delete)
app.add_typer(conversation, name="conversation")

flows = typer.Typer(help="Run the flows from a Prefect server.")
flows.command("serve")(deployments.flows_serve)
flows.command("ingest")(deployments.flows_ingest)
app.add_typer(flows, name="flows")


def main() -> NoReturn:
    """Run the command line: exit 0 only on success, 1 with one sentence for what a person can mend, 2 for usage."""
    logs.protect()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except GroundworkError as error:
        code = complain(str(error))
    except typer.TyperException as error:
        said = error.format_message().rstrip(".").replace("Value error, ", "")
        complain(f"{said}; add --help to see what can be given.")
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the last flush complains as well
        code = 141
    except Exception as error:  # a fault of ours; typer would print it with what it says
        sys.stderr.write(f"{logs.told(error)}\n")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
