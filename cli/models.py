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

SHOWN_FIELDS = (
    "name",
    "tier",
    "model",
    "context",
    "input_price",
    "output_price",
    "residency",
    "risks",
)


def models(
    file: Annotated[
        str, typer.Argument(help="A models file; without it GROUNDWORK_MODELS.", show_default=False)
    ] = "",
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask each model for a word; it costs a few tokens.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """What a models file says, in the order in which models are asked, and whether they answer."""
    from serving.gateway.models_file import read_models

    file = file or load_settings().models
    if not file:
        raise InvalidInput(
            "There is no models file; name one, or set GROUNDWORK_MODELS (docs/guides/gateway.md)."
        )
    read = read_models(Path(file))
    rows = [{name: getattr(model, name) for name in SHOWN_FIELDS} for model in read.models]
    if ask:
        rows = [
            {**row, **_probe_model(read, model)}
            for row, model in zip(rows, read.models, strict=True)
        ]
    if as_json:
        print_json({"currency": read.currency, "models": rows, "tenants": sorted(read.tenants)})
    else:
        for row in rows:
            out.print(_format_model(row, read.currency))
        out.print(f"Policies of their own: {', '.join(sorted(read.tenants)) or 'no tenant'}.")
    return int(any(row.get("answers", True) is not True for row in rows))


def _probe_model(file: "ModelsFile", model: "ModelSpec") -> dict[str, Any]:
    """Whether a model answers, else why not, and in how many milliseconds; past policies, which are for tenants."""
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
        f"{row['name']}: {row['tier']}, {row['model']}, {row['context']} tokens, {row['input_price']} and"
        f" {row['output_price']} {currency} a million, in {row['residency']}, for what is {', '.join(row['risks'])}"
    )
    if "answers" not in row:
        return line
    return f"{line}\n  " + (
        f"answers in {row['milliseconds']} ms" if row["answers"] is True else row["answers"]
    )
