"""Budgets of a tenant, a team or a key for a minute, a day or a month, and their present use.

The operator sets them with `groundwork budget set`; the application can only read them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Any, Literal

from psycopg.rows import class_row

from core.db.database import Connection, Database, owner_transaction
from core.db.queries import load_queries
from core.errors import InvalidInput, NotFound, OverBudget
from core.principal import Principal, check_name

QUERIES = load_queries(Path(__file__).with_name("budgets.sql"))

BudgetScope = Literal["tenant", "team", "key"]
BudgetPeriod = Literal["minute", "day", "month"]
BudgetMeasure = Literal["requests", "tokens", "cost"]

WILDCARD_NAME = "*"  # each team, or each key, without a budget of its own


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits per UTC minute, day or month: above `soft` a cheaper model answers, above `hard` none.

    `name` is '' for the tenant, else the name of a team, a `Principal.usage_key`, or WILDCARD_NAME.

    Raises:
        InvalidInput: there is no limit, a negative one, or a soft one above the hard one.
    """

    scope: BudgetScope
    name: str
    per: BudgetPeriod
    measure: BudgetMeasure
    soft: Decimal | None = None
    hard: Decimal | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.soft, self.hard) if limit is not None]
        if not limits:
            raise InvalidInput("A budget needs a limit: soft, hard or both.")
        are_valid = all(limit.is_finite() and limit >= 0 for limit in limits)
        if not are_valid or limits != sorted(limits):
            raise InvalidInput(
                "A limit must be a number from 0 up, and the soft limit at most the hard limit."
            )


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """State of a budget: `spent` in this minute, day or month, and `held` by running calls.

    `seconds_left` run until `resets_at`. Without a balance nothing is counted yet.
    """

    scope: BudgetScope
    name: str
    per: BudgetPeriod
    measure: BudgetMeasure
    soft: Decimal | None
    hard: Decimal | None
    spent: Decimal
    held: Decimal
    resets_at: datetime
    seconds_left: float
    has_balance: bool

    @property
    def is_over_soft_limit(self) -> bool:
        """True if the soft limit is reached."""
        return self.soft is not None and self.spent + self.held >= self.soft

    def allows(self, amount: Decimal) -> bool:
        """Return true if an amount fits into the hard limit next to all running calls."""
        return self.hard is None or self.spent + self.held + amount <= self.hard

    def over_budget_error(self, amount: Decimal) -> OverBudget:
        """Return the error for an amount that does not fit, with the time until a retry."""
        assert self.hard is not None
        owners = {"tenant": "The tenant", "team": f"The team {self.name}", "key": "The caller"}
        unit = "of cost" if self.measure == "cost" else self.measure
        limit = f"{owners[self.scope]} may use {format_decimal(self.hard)} {unit} in a {self.per}"
        retry_after = max(1, ceil(self.seconds_left))
        if amount > self.hard:
            return OverBudget(
                f"{limit}, and this alone may take {format_decimal(amount)}. Ask for less, or for a"
                " larger budget.",
                retry_after,
            )
        if self.spent + amount <= self.hard:
            return OverBudget(
                f"{limit}, and running calls hold the rest. Try again in a few seconds.", 1
            )
        return OverBudget(
            f"{limit}, and {format_decimal(self.spent)} are used."
            f" The budget resets at {self._reset_time}.",
            retry_after,
        )

    def describe(self) -> str:
        """Return one line without the name of the team or key."""
        used = format_decimal(self.spent)
        if self.hard is not None:
            used += f" of {format_decimal(self.hard)}"
        return f"{self.scope} {self.measure} a {self.per}: {used} used, resets {self._reset_time}"

    @property
    def _reset_time(self) -> str:
        return self.resets_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_decimal(number: Decimal) -> str:
    """Return a number without an exponent and trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True, slots=True)
class BudgetSubject:
    """Tenant, team (may be empty) and key whose budgets a request counts against."""

    tenant: str
    team: str
    key: str

    @classmethod
    def from_principal(cls, principal: Principal) -> "BudgetSubject":
        """Return the subject that a principal is charged as."""
        return cls(principal.tenant, principal.team, principal.usage_key)

    @property
    def sql_parameters(self) -> dict[str, Any]:
        """Parameters of the statements: scopes and names as pairs."""
        pairs = (("tenant", ""), ("team", self.team), ("key", self.key))
        names = {scope: name for scope, name in pairs if name or scope == "tenant"}
        return {"tenant": self.tenant, "scopes": list(names), "names": list(names.values())}


def fetch_budget_statuses(connection: Connection, subject: BudgetSubject) -> list[BudgetStatus]:
    """Return each budget that applies to a subject, in a transaction for its tenant."""
    with connection.cursor(row_factory=class_row(BudgetStatus)) as cursor:
        return cursor.execute(QUERIES["budget_statuses"], subject.sql_parameters).fetchall()


def fetch_budgets(database: Database, tenant: str) -> list[Budget]:
    """Return the budgets of a tenant."""
    with (
        database.writing(tenant) as connection,
        connection.cursor(row_factory=class_row(Budget)) as cursor,
    ):
        return cursor.execute(QUERIES["budgets"], {"tenant": tenant}).fetchall()


def set_budget(conninfo: str, tenant: str, budget: Budget) -> None:
    """Set a budget, or change its limits. The role of `conninfo` must own Groundwork's tables.

    Raises:
        InvalidInput: the name is not valid.
        Unavailable: the database does not answer, or the role has too few rights.
    """
    if budget.name:
        check_name(budget.scope, budget.name)
    with owner_transaction(conninfo, tenant, "set budgets") as connection:
        connection.execute(QUERIES["set_budget"], asdict(budget))


def remove_budget(
    conninfo: str,
    tenant: str,
    scope: BudgetScope,
    name: str,
    per: BudgetPeriod,
    measure: BudgetMeasure,
) -> None:
    """Remove a budget. The role of `conninfo` must own Groundwork's tables.

    Raises:
        NotFound: there is no such budget.
        Unavailable: the database does not answer, or the role has too few rights.
    """
    which = {"tenant": tenant, "scope": scope, "name": name, "per": per, "measure": measure}
    with owner_transaction(conninfo, tenant, "set budgets") as connection:
        if not connection.execute(QUERIES["remove_budget"], which).rowcount:
            raise NotFound("There is no such budget. `groundwork budget list` shows all budgets.")


def find_tightest_budget(statuses: Sequence[BudgetStatus]) -> BudgetStatus | None:
    """Return the budget with the largest share spent, of those above their soft limit."""
    exceeded = [status for status in statuses if status.is_over_soft_limit]
    return max(exceeded, key=_spent_part, default=None)


def _spent_part(status: BudgetStatus) -> Decimal:
    return status.spent / (status.hard or status.soft or Decimal(1))
