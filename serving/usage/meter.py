"""The meter enforces hard limits and attributes each call to its caller.

admit_request   count a request against its subject's budgets, or refuse it
reserve         before a call to a model: reserve the most that it may use, or refuse it
commit_usage    after the call: record what it used, and release the rest

Requests of one subject lock the rows of its balances for a moment, so that no two spend the same
remainder. What is left of a period is `hard` minus what is spent and what running calls hold. The
reservations of a dead process expire.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

from core.db.database import Connection, Database
from core.db.queries import load_queries
from core.principal import Principal
from serving.gateway.types import ModelRequest, Usage
from serving.usage.budgets import BudgetMeasure, BudgetStatus, BudgetSubject, fetch_budget_statuses

QUERIES = load_queries(Path(__file__).with_name("meter.sql"))
RESERVATION_GRACE_SECONDS = 60.0  # a reservation counts this long after the deadline of its call
# A crash of the server may lose counts of its last half second. Recorded usage is always on disk.
ASYNCHRONOUS_COMMIT = {"synchronous_commit": "off"}


class PostgresMeter:
    """The `Meter` of the gateway, on the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Each request with its `tight` flag: a soft limit was exceeded.
        self._open_reservations: dict[UUID, tuple[ModelRequest, bool]] = {}
        self._unwritten_usage: deque[tuple[UUID, Usage]] = deque()

    def admit_request(self, principal: Principal) -> list[BudgetStatus]:
        """Count a request, and return the budgets of its subject as they were before it.

        Raises:
            OverBudget: the requests of this minute, day or month are used up.
        """
        subject = BudgetSubject.from_principal(principal)
        with self._lock_balances(subject) as (connection, statuses):
            _check_limits(statuses, {"requests": Decimal(1)})
            if statuses:
                _add_to_balances(connection, subject, requests=1)
        return statuses

    def reserve(self, request: ModelRequest, model: str, tokens: int, cost: Decimal) -> UUID:
        """See `Meter`. `tokens` and `cost` are the most that prompt and reply together may use."""
        subject, reservation = BudgetSubject.from_principal(request.principal), uuid4()
        with self._lock_balances(subject) as (connection, statuses):
            _check_limits(statuses, {"tokens": Decimal(tokens), "cost": cost})
            reserved = {
                **_call_attributes(reservation, request, model),
                "tokens": tokens,
                "cost": cost,
                "seconds": request.timeout_seconds + RESERVATION_GRACE_SECONDS,
            }
            connection.execute(QUERIES["reserve"], reserved)
        is_tight = any(status.is_over_soft_limit for status in statuses)
        self._open_reservations[reservation] = (request, is_tight)
        return reservation

    def commit_usage(self, reservation: UUID, usage: Usage) -> None:
        """See `Meter`. May be repeated. Usage that can't be written now follows with the next."""
        self._unwritten_usage.append((reservation, usage))
        while self._unwritten_usage:
            due = self._unwritten_usage.popleft()
            try:
                self._write_usage(*due)
            except BaseException:
                self._unwritten_usage.appendleft(due)
                raise

    def _write_usage(self, reservation: UUID, usage: Usage) -> None:
        if reservation not in self._open_reservations:
            return
        request, tight = self._open_reservations[reservation]
        subject = BudgetSubject.from_principal(request.principal)
        used = {
            **_call_attributes(reservation, request, usage.model),
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cost": usage.cost,
            "counted": usage.counted_by_provider,
            "outcome": usage.outcome,
            "tight": tight,
        }
        with self._database.writing(subject.tenant) as connection:
            connection.execute(QUERIES["lock_balances"], subject.sql_parameters)
            if connection.execute(QUERIES["commit_usage"], used).rowcount:
                _add_to_balances(
                    connection,
                    subject,
                    tokens=usage.input_tokens + usage.output_tokens,
                    cost=usage.cost,
                )
        self._open_reservations.pop(reservation, None)

    def is_over_soft_limit(self, principal: Principal) -> bool:
        """Return true if any budget of the principal is past its soft limit."""
        with self._database.writing(principal.tenant) as connection:
            statuses = fetch_budget_statuses(connection, BudgetSubject.from_principal(principal))
        return any(status.is_over_soft_limit for status in statuses)

    @contextmanager
    def _lock_balances(
        self, subject: BudgetSubject
    ) -> Iterator[tuple[Connection, list[BudgetStatus]]]:
        """Yield a transaction in which no other call spends for this subject, and the budgets.

        Missing balances are created in a transaction before it, which holds no lock while it waits.
        """
        while True:
            with self._database.writing(subject.tenant, ASYNCHRONOUS_COMMIT) as connection:
                connection.execute(QUERIES["lock_balances"], subject.sql_parameters)
                statuses = fetch_budget_statuses(connection, subject)
                if all(each.has_balance for each in statuses):
                    yield connection, statuses
                    return
            with self._database.writing(subject.tenant, ASYNCHRONOUS_COMMIT) as connection:
                connection.execute(QUERIES["open_balances"], subject.sql_parameters)


def _check_limits(
    statuses: Sequence[BudgetStatus], amounts: Mapping[BudgetMeasure, Decimal]
) -> None:
    """Check that these amounts fit into all budgets.

    Raises:
        OverBudget: one is exceeded; of several, the one that resets last.
    """
    refusals = []
    for status in statuses:
        amount = amounts.get(status.measure)
        if amount is not None and not status.allows(amount):
            refusals.append(status.over_budget_error(amount))
    if refusals:
        raise max(refusals, key=lambda refusal: refusal.retry_after)


def _add_to_balances(
    connection: Connection,
    subject: BudgetSubject,
    requests: int = 0,
    tokens: int = 0,
    cost: Decimal = Decimal(0),
) -> None:
    amounts = {"requests": requests, "tokens": tokens, "cost": cost}
    connection.execute(QUERIES["add_to_balances"], {**subject.sql_parameters, **amounts})


def _call_attributes(reservation: UUID, request: ModelRequest, model: str) -> dict[str, object]:
    subject = BudgetSubject.from_principal(request.principal)
    return {
        "tenant": subject.tenant,
        "reservation_id": reservation,
        "request_id": request.request_id,
        "team": subject.team,
        "key": subject.key,
        "model": model,
        "purpose": request.purpose,
    }
