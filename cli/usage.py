"""Costs and their limits: `groundwork usage`, `budget` and `cache`."""

from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.console import (
    JsonOption,
    TenantOption,
    open_admin_conninfo,
    open_configured_services,
    out,
    print_json,
    print_rows,
)
from core.errors import InvalidInput
from core.principal import Principal
from core.settings import load_settings

if TYPE_CHECKING:
    from serving.usage.budgets import Budget, BudgetScope, BudgetStatus

MeasureArgument = Annotated[
    Literal["requests", "tokens", "cost"], typer.Argument(help="The unit of the limit.")
]
PeriodArgument = Annotated[
    Literal["minute", "day", "month"], typer.Argument(help="The period, in UTC.")
]
TeamOption = Annotated[
    str, typer.Option(help="Team name; '*' sets the default for teams without their own budget.")
]
KeyOption = Annotated[
    str, typer.Option(help="Subject of a caller's tokens; '*' sets the default for other callers.")
]
LimitOption = Annotated[str, typer.Option(help="A number.", show_default=False)]


def usage(
    by: Annotated[
        Literal["day", "model", "team", "key", "purpose"], typer.Option(help="Group by this.")
    ] = "day",
    since: Annotated[
        str, typer.Option(help="A day or time in UTC, such as 2026-11-01; the default is all.")
    ] = "",
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show tokens and cost of all calls to language models, also of failed and cancelled ones."""
    from serving.usage.report import fetch_unaccounted_usage, fetch_usage

    settings, start = load_settings(), _parse_time(since)
    tenant = tenant or settings.tenant
    with open_configured_services(settings) as services:
        rows = fetch_usage(services.database, tenant, by, start)
        unaccounted = fetch_unaccounted_usage(services.database, tenant, start)
    if as_json:
        print_json(
            {
                "tenant": tenant,
                "by": by,
                "used": [asdict(row) for row in rows],
                "lost": asdict(unaccounted),
            }
        )
        return
    if rows:
        total = {
            name: sum(getattr(row, name) for row in rows)
            for name in rows[0].__slots__
            if name != "name"
        }
        print_rows(
            f"Usage of {tenant} by {by}", [asdict(row) for row in rows] + [{"name": "all", **total}]
        )
    else:
        out.print("No call to a language model yet.")
    if unaccounted.calls:
        out.print(
            f"{unaccounted.calls} calls ended without a usage report (at most"
            f" {unaccounted.tokens} tokens, {unaccounted.cost})."
        )


def budget_set(
    measure: MeasureArgument,
    per: PeriodArgument,
    hard: LimitOption = "",
    soft: LimitOption = "",
    team: TeamOption = "",
    key: KeyOption = "",
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Set a limit on the use of a tenant, a team or a key.

    Above the soft limit a cheaper model answers; above the hard one requests are refused until the
    period ends. Needs GROUNDWORK_ADMIN_DATABASE_URL unless the database is embedded.
    """
    from serving.usage.budgets import Budget, set_budget

    tenant = tenant or load_settings().tenant
    scope, name = _resolve_budget_scope(tenant, team, key)
    budget = Budget(scope, name, per, measure, _parse_limit(soft), _parse_limit(hard))
    with open_admin_conninfo() as conninfo:
        set_budget(conninfo, tenant, budget)
    if as_json:
        print_json({"tenant": tenant, **asdict(budget)})
    else:
        out.print(f"{tenant}: {_format_budget(budget)}")


def budget_remove(
    measure: MeasureArgument,
    per: PeriodArgument,
    team: TeamOption = "",
    key: KeyOption = "",
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Remove a budget; needs GROUNDWORK_ADMIN_DATABASE_URL unless the database is embedded."""
    from serving.usage.budgets import remove_budget

    tenant = tenant or load_settings().tenant
    scope, name = _resolve_budget_scope(tenant, team, key)
    with open_admin_conninfo() as conninfo:
        remove_budget(conninfo, tenant, scope, name, per, measure)
    if as_json:
        print_json({"tenant": tenant, "scope": scope, "name": name, "per": per, "measure": measure})
    else:
        out.print("The budget is removed.")


def budget_list(tenant: TenantOption = "", as_json: JsonOption = False) -> None:
    """List the budgets of a tenant, of its teams and its keys."""
    from serving.usage.budgets import fetch_budgets

    settings = load_settings()
    with open_configured_services(settings) as services:
        budgets = fetch_budgets(services.database, tenant or settings.tenant)
    if as_json:
        print_json([asdict(budget) for budget in budgets])
    elif budgets:
        print_rows(
            "Budgets",
            [
                {**asdict(budget), "soft": budget.soft or "", "hard": budget.hard or ""}
                for budget in budgets
            ],
        )
    else:
        out.print("No budget: everything is allowed.")


def budget_show(
    team: Annotated[str, typer.Option(help="Team of the caller.")] = "",
    key: Annotated[str, typer.Option(help="Subject of the caller's tokens.")] = "",
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the budgets that apply to a caller, and how much of them is used."""
    from serving.usage.budgets import BudgetSubject, fetch_budget_statuses

    settings = load_settings()
    asker = Principal(tenant or settings.tenant, team=team, subject=key or "local")
    with (
        open_configured_services(settings) as services,
        services.database.writing(asker.tenant) as connection,
    ):
        budgets = fetch_budget_statuses(connection, BudgetSubject.from_principal(asker))
    if as_json:
        print_json([_budget_status_row(status) for status in budgets])
    elif budgets:
        print_rows("Budgets", [_budget_status_row(status) for status in budgets])
    else:
        out.print("No budget applies: everything is allowed.")


def cache_clear(tenant: TenantOption = "", as_json: JsonOption = False) -> None:
    """Delete all cached answers."""
    from serving.answering.answer_cache import clear_cache

    settings = load_settings()
    with open_configured_services(settings) as services:
        forgotten = clear_cache(services, tenant or settings.tenant)
    if as_json:
        print_json({"forgotten": forgotten})
    else:
        out.print(f"{forgotten} cached answers are deleted.")


def _resolve_budget_scope(tenant: str, team: str, key: str) -> "tuple[BudgetScope, str]":
    from serving.usage.budgets import WILDCARD_NAME

    if team and key:
        raise InvalidInput("A budget is for a team or for a key. Use --team or --key, or neither.")
    if key:
        return "key", key if key == WILDCARD_NAME else Principal(tenant, subject=key).usage_key
    return ("team", team) if team else ("tenant", "")


def _parse_limit(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation as error:
        raise InvalidInput(f"{text!r} is not a number. Use a number as a limit.") from error


def _parse_time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text) if text else None
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} is not a day or a time. Use --since with a day such as 2026-11-01."
        ) from error
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time


def _format_budget(budget: "Budget") -> str:
    owner = "the tenant" if budget.scope == "tenant" else f"{budget.scope} {budget.name}"
    limits = ", ".join(
        f"{name} {value}"
        for name, value in (("soft", budget.soft), ("hard", budget.hard))
        if value is not None
    )
    return f"{owner} may use {budget.measure} in a {budget.per}: {limits}"


def _budget_status_row(status: "BudgetStatus") -> dict[str, Any]:
    row = asdict(status)
    del row["has_balance"], row["seconds_left"]
    return {
        **row,
        "resets_at": status.resets_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tight": status.is_over_soft_limit,
    }
