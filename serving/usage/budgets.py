"""Budgets: how much a tenant, a team or a key may use in a minute, a day or a month, and how they stand.

Whoever runs the service sets them, with `groundwork budget set`; the application can only read them.
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

WILDCARD_NAME = (
    "*"  # the name that stands for each team, or each key, that has no budget of its own
)


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be used in one minute, day or month of UTC: past `soft` a cheaper model should do, past `hard` nothing
    is given out. `name` is '' for the tenant, else a team's name or a `Principal.key`; or EACH.

    Raises:
        InvalidInput: no limit at all, a negative one, or a soft one above the hard one.
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
        if not all(limit.is_finite() and limit >= 0 for limit in limits) or limits != sorted(
            limits
        ):
            raise InvalidInput(
                "A budget's limits are numbers from 0 up, the soft one at most as high as the hard one."
            )


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """How a payer stands with a budget just now: `spent` in this minute, day or month, `held` by calls under way.

    `seconds` are left until `resets_at`. `opened` says whether what is spent is kept count of already.
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
        """Whether the soft limit is passed."""
        return self.soft is not None and self.spent + self.held >= self.soft

    def allows(self, amount: Decimal) -> bool:
        """Whether so much more stays within the hard limit, whatever becomes of the calls under way."""
        return self.hard is None or self.spent + self.held + amount <= self.hard

    def over_budget_error(self, amount: Decimal) -> OverBudget:
        """What to say where it does not: when it resets, or that calls under way will give something back."""
        assert self.hard is not None
        whose = {"tenant": "The tenant", "team": f"The team {self.name}", "key": "The caller"}[
            self.scope
        ]
        allowed = f"{whose} may use {format_decimal(self.hard)} {_measure_unit(self.measure)} in a {self.per}"
        resets = self.resets_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if amount > self.hard:
            sentence = f"{allowed}, and this alone may take {format_decimal(amount)}; ask for less, or ask for a larger budget."
        elif self.spent + amount <= self.hard:
            return OverBudget(
                f"{allowed}; calls under way hold what is left of it. Try again in a few seconds.",
                1,
            )
        else:
            sentence = f"{allowed}, and {format_decimal(self.spent)} are used; the budget resets at {resets}."
        return OverBudget(sentence, max(1, ceil(self.seconds_left)))

    def describe(self) -> str:
        """One line, without a name in it."""
        of = f" of {format_decimal(self.hard)}" if self.hard is not None else ""
        resets = self.resets_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{self.scope} {self.measure} a {self.per}: {format_decimal(self.spent)}{of} used, resets {resets}"


def format_decimal(number: Decimal) -> str:
    """A number without an exponent or closing noughts."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _measure_unit(measure: BudgetMeasure) -> str:
    return {"requests": "requests", "tokens": "tokens", "cost": "of cost"}[measure]


@dataclass(frozen=True, slots=True)
class BudgetSubject:
    """Whose budgets a request counts against: its tenant's, its team's where it has one, its key's."""

    tenant: str
    team: str
    key: str

    @classmethod
    def from_principal(cls, principal: Principal) -> "BudgetSubject":
        """Whoever asks pays."""
        return cls(principal.tenant, principal.team, principal.usage_key)

    @property
    def sql_parameters(self) -> dict[str, Any]:
        """As the statements take it."""
        named = [("tenant", ""), ("team", self.team), ("key", self.key)]
        scopes, names = zip(
            *[(scope, name) for scope, name in named if name or scope == "tenant"], strict=True
        )
        return {"tenant": self.tenant, "scopes": list(scopes), "names": list(names)}


def fetch_budget_statuses(connection: Connection, subject: BudgetSubject) -> list[BudgetStatus]:
    """How a payer stands with each budget that applies. `connection` writes for the payer's tenant."""
    with connection.cursor(row_factory=class_row(BudgetStatus)) as cursor:
        return cursor.execute(QUERIES["standing"], subject.sql_parameters).fetchall()


def fetch_budgets(database: Database, tenant: str) -> list[Budget]:
    """The budgets of a tenant."""
    with (
        database.writing(tenant) as connection,
        connection.cursor(row_factory=class_row(Budget)) as cursor,
    ):
        return cursor.execute(QUERIES["budgets"], {"tenant": tenant}).fetchall()


def set_budget(conninfo: str, tenant: str, budget: Budget) -> None:
    """Set a budget, or change its limits. `conninfo` is of a role that owns Groundwork's tables.

    Raises:
        InvalidInput: no usable name.
        Unavailable: no database, or too few rights.
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
    """Remove a budget. `conninfo` is of a role that owns Groundwork's tables.

    Raises:
        NotFound: there is none.
        Unavailable: no database, or too few rights.
    """
    which = {"tenant": tenant, "scope": scope, "name": name, "per": per, "measure": measure}
    with owner_transaction(conninfo, tenant, "set budgets") as connection:
        if not connection.execute(QUERIES["remove_budget"], which).rowcount:
            raise NotFound(
                "There is no such budget; `groundwork budget list` shows those that there are."
            )


def find_tightest_budget(statuses: Sequence[BudgetStatus]) -> BudgetStatus | None:
    """Of the budgets whose soft limit is passed, the one with the least left of it."""
    passed = [each for each in statuses if each.is_over_soft_limit]
    return max(
        passed, key=lambda each: each.spent / (each.hard or each.soft or Decimal(1)), default=None
    )
