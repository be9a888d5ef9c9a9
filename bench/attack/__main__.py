"""Attack on tenant isolation: fill a database with canaries, send requests through every interface.

    .venv/bin/python -m bench.attack                              100,000 requests on 50 tenants
    .venv/bin/python -m bench.attack --requests 2000 --tenants 6  a quick look

It creates a database on the embedded server of a temporary home folder (or of --home) and drops it
at the end. A leak is anything that the caller may not see, in any part of a reply: text, title,
path, metadata, id, header, error or log line; a number that depends on it; a reply that differs
between hidden and absent documents. Then the same attacks run with row-level security off, without
the tenant in any statement, and with every token accepted: there they must leak, otherwise they
would prove nothing. The exit code is 1 if there is a leak, or if the control has none.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.attack.running import Result, measure_attack
from cli.console import create_progress_bar


def format_table(result: Result) -> str:
    """Return the result in Markdown."""
    head = [
        "| attack | requests | returned own documents | leaks | leaks in the control |",
        "|---|---|---|---|---|",
    ]
    rows = [
        f"| {name} | {count.requests:,} | {count.own:,} | {count.leaks:,} | "
        f"{_control(result, name)} |"
        for name, count in result.counts.items()
    ]
    total = f"| **all** | **{result.requests:,}** | {result.own:,} | **{result.leaks:,}** | |"
    damage = result.damage or "No document was changed."
    logs = f"\n{result.log_lines:,} log lines read, {result.log_leaks:,} with a leak. {damage}"
    return "\n".join([*head, *rows, total, logs])


def _control(result: Result, name: str) -> str:
    count = result.control.get(name)
    return f"{count.leaks:,} of {count.requests:,}" if count else "-"


def main() -> int:
    """Print the table; return 1 if there is a leak, or if an attack of the control has none."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument(
        "--home", type=Path, help="home folder of the embedded server; default: a temporary one"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    if arguments.tenants < 2 or arguments.requests < 1 or arguments.threads < 1:
        parser.error("use at least 2 tenants, 1 request and 1 thread")
    with (
        tempfile.TemporaryDirectory(prefix="attack-") as temporary,
        create_progress_bar() as progress,
    ):
        bars: dict[str, object] = {}

        def on_progress(stage: str, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.advance(bars[stage])  # type: ignore[arg-type]

        result = measure_attack(
            arguments.home or Path(temporary),
            Path(temporary),
            arguments.requests,
            arguments.tenants,
            arguments.threads,
            arguments.seed,
            on_progress,
        )
    sys.stdout.write(
        (json.dumps(result.to_json(), indent=2) if arguments.json else format_table(result)) + "\n"
    )
    for example in result.examples()[:20]:
        sys.stderr.write(f"{example}\n")
    if blind := result.undetected_attacks():
        sys.stderr.write(f"The control had no leak in: {', '.join(blind)}.\n")
    return 1 if result.failed or result.undetected_attacks() else 0


if __name__ == "__main__":
    sys.exit(main())
