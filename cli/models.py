"""Language models: `groundwork models`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import JsonOption, out, print_json
from core.errors import GroundworkError, InvalidInput
from core.principal import Principal
from core.settings import load_settings

if TYPE_CHECKING:
    from serving.gateway.models_file import ModelsFile, ModelSpec

SHOWN_FIELDS = "name tier model context input_price output_price residency risks".split()


def models(
    file: Annotated[
        str,
        typer.Argument(help="Models file; the default is GROUNDWORK_MODELS.", show_default=False),
    ] = "",
    ask: Annotated[
        bool,
        typer.Option("--ask", help="Send each model a short request; this costs a few tokens."),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Show the models of a models file in order of preference, and test whether they answer."""
    from serving.gateway.models_file import read_models

    file = file or load_settings().models
    if not file:
        raise InvalidInput(
            "There is no models file. Name one, or set GROUNDWORK_MODELS (docs/guides/gateway.md)."
        )
    models_file = read_models(Path(file))
    rows = [{name: getattr(model, name) for name in SHOWN_FIELDS} for model in models_file.models]
    if ask:
        rows = [
            {**row, **_probe_model(models_file, model)}
            for row, model in zip(rows, models_file.models, strict=True)
        ]
    if as_json:
        print_json(
            {
                "currency": models_file.currency,
                "models": rows,
                "tenants": sorted(models_file.tenants),
            }
        )
    else:
        for row in rows:
            out.print(_format_model(row, models_file.currency))
        out.print(
            f"Tenants with their own policy: {', '.join(sorted(models_file.tenants)) or 'none'}."
        )
    return int(any(row.get("answers", True) is not True for row in rows))


def _probe_model(file: "ModelsFile", model: "ModelSpec") -> dict[str, Any]:
    """Call a model without the policies, and return its answer time, or why it did not answer."""
    from core import logs
    from core.http import HttpPool
    from serving.gateway.gateway import Gateway
    from serving.gateway.models_file import TenantPolicy
    from serving.gateway.providers.base import open_provider
    from serving.gateway.types import Message, ModelRequest

    logs.configure_cli_logging()
    began, pool = time.perf_counter(), HttpPool()
    alone = file.model_copy(update={"models": (model,), "default": TenantPolicy(), "tenants": {}})
    question = [Message("user", "Reply with the one word: ready")]
    request = ModelRequest(
        question, Principal("models"), "models", max_tokens=64, risk=model.risks[0]
    )
    answers: bool | str = True
    try:
        list(Gateway(alone, {model.name: open_provider(model, pool)}).stream(request))
    except GroundworkError as error:
        answers = str(error)
    finally:
        pool.close()
    return {"answers": answers, "milliseconds": round((time.perf_counter() - began) * 1000)}


def _format_model(row: dict[str, Any], currency: str) -> str:
    line = (
        f"{row['name']}: {row['tier']}, {row['model']}, {row['context']} tokens,"
        f" {row['input_price']} and {row['output_price']} {currency} per million tokens,"
        f" in {row['residency']}, for {', '.join(row['risks'])} data"
    )
    if "answers" not in row:
        return line
    if row["answers"] is True:
        return f"{line}\n  answers in {row['milliseconds']} ms"
    return f"{line}\n  {row['answers']}"
