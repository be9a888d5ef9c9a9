"""The command line. Results go to standard output, progress and errors to standard error.

groundwork ingest docs/            ingest documents
groundwork ask "How ...?"          answer with citations, or refuse
groundwork serve                   run the service and its page
groundwork --help                  list all commands
"""

import os
import sys
from typing import NoReturn

import typer

from cli import deployments, documents, evaluation, models, operations, questions, runs, usage
from cli.console import print_error
from core import logs
from core.errors import GroundworkError

app = typer.Typer(
    help="Retrieval-augmented generation: grounded answers with citations from your documents.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(documents.ingest)
app.command()(questions.search)
app.command()(questions.ask)
app.command()(questions.serve)
app.command()(runs.runs)
app.command()(runs.sweep)
app.command()(usage.usage)
app.command()(models.models)
app.command()(operations.status)
app.command()(operations.doctor)
app.command()(operations.migrate)
app.command()(operations.partition)
app.command()(operations.demo)

document_app = typer.Typer(help="Show one document.")
document_app.command("show")(runs.document_show)
app.add_typer(document_app, name="document")

quarantine_app = typer.Typer(help="Files that could not be ingested, with the reason.")
quarantine_app.command("list")(runs.quarantine_list)
quarantine_app.command("show")(runs.quarantine_show)
quarantine_app.command("retry")(runs.quarantine_retry)
app.add_typer(quarantine_app, name="quarantine")

budget_app = typer.Typer(help="Limits of a tenant, a team or a key.")
budget_app.command("set")(usage.budget_set)
budget_app.command("list")(usage.budget_list)
budget_app.command("show")(usage.budget_show)
budget_app.command("remove")(usage.budget_remove)
app.add_typer(budget_app, name="budget")

cache_app = typer.Typer(help="Cached answers.")
cache_app.command("clear")(usage.cache_clear)
app.add_typer(cache_app, name="cache")

eval_app = typer.Typer(help="Measure retrieval and answers.")
eval_app.command("retrieval")(evaluation.eval_retrieval)
eval_app.command("answers")(evaluation.eval_answers)
eval_app.command("conversation")(evaluation.eval_conversation)
app.add_typer(eval_app, name="eval")

conversation_app = typer.Typer(help="Show or delete one of your conversations.")
conversation_app.command("show")(questions.conversation_show)
conversation_app.command("delete")(questions.conversation_delete)
app.add_typer(conversation_app, name="conversation")

flows_app = typer.Typer(help="Run the flows from a Prefect server.")
flows_app.command("serve")(deployments.flows_serve)
flows_app.command("ingest")(deployments.flows_ingest)
app.add_typer(flows_app, name="flows")


def main() -> NoReturn:
    """Run the command line.

    Exit 0 on success, 1 with one sentence that says what to do, 2 on wrong usage.
    """
    logs.install_redaction()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except GroundworkError as error:
        code = print_error(str(error))
    except typer.TyperException as error:
        message = error.format_message().rstrip(".").replace("Value error, ", "")
        print_error(f"{message}. Add --help to see the options.")
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        # Otherwise the flush at exit fails as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except Exception as error:  # a bug; Typer would print the values of variables
        sys.stderr.write(f"{logs.format_traceback(error)}\n")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
