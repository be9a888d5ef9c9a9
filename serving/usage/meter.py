"""The meter: nothing is given out past a hard limit, and every call is booked to who made it.

admit      count a request against its payer's budgets, or refuse it
reserve    before a call to a model: set aside the most that it may use, or refuse it
settle     after it: book what it did use, and give back the rest

Requests of one payer take turns on the rows of their balances, each for an instant, so that no two spend the same
remainder; others have other rows. The rest of a minute, day or month is `hard` less what is spent and what calls under
way hold. A process that dies holds it until its reservations expire, and no longer.
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
RESERVATION_GRACE_SECONDS = 60.0  # after a call's own deadline its reservation still counts so long
# What is lost when the server breaks down is some counts of its last half second; what was used is always on disk.
ASYNCHRONOUS_COMMIT = {"synchronous_commit": "off"}


class PostgresMeter:
    """The `Meter` of the gateway, on the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open_reservations: dict[
            UUID, tuple[ModelRequest, bool]
        ] = {}  # and whether a soft limit was passed
        self._unwritten_usage: deque[tuple[UUID, Usage]] = deque()

    def admit_request(self, principal: Principal) -> list[BudgetStatus]:
        """Count a request; returns how its payer stands with each budget.

        Raises:
            OverBudget: there may be no more requests in this minute, day or month.
        """
        payer = BudgetSubject.from_principal(principal)
        with self._lock_balances(payer) as (connection, standing):
            _check_limits(standing, {"requests": Decimal(1)})
            if standing:
                _add_to_balances(connection, payer, requests=1)
        return standing

    def reserve(self, request: ModelRequest, model: str, tokens: int, cost: Decimal) -> UUID:
        """See `Meter`: `tokens` and `cost` are the most that the call may use, what it reads and what it writes."""
        payer, reservation = BudgetSubject.from_principal(request.principal), uuid4()
        with self._lock_balances(payer) as (connection, standing):
            _check_limits(standing, {"tokens": Decimal(tokens), "cost": cost})
            set_aside = {
                **_call_attributes(reservation, request, model),
                "tokens": tokens,
                "cost": cost,
                "seconds": request.timeout_seconds + RESERVATION_GRACE_SECONDS,
            }
            connection.execute(QUERIES["reserve"], set_aside)
        self._open_reservations[reservation] = (
            request,
            any(each.is_over_soft_limit for each in standing),
        )
        return reservation

    def commit_usage(self, reservation: UUID, usage: Usage) -> None:
        """See `Meter`. Once for each reservation; a second time nothing happens. What can't be booked, since the
        database is away, is booked before the next.
        """
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
        payer = BudgetSubject.from_principal(request.principal)
        used = {
            **_call_attributes(reservation, request, usage.model),
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cost": usage.cost,
            "counted": usage.counted_by_provider,
            "outcome": usage.outcome,
            "tight": tight,
        }
        with self._database.writing(payer.tenant) as connection:
            connection.execute(QUERIES["lock"], payer.sql_parameters)
            if connection.execute(QUERIES["settle"], used).rowcount:
                _add_to_balances(
                    connection,
                    payer,
                    tokens=usage.input_tokens + usage.output_tokens,
                    cost=usage.cost,
                )
        self._open_reservations.pop(reservation, None)

    def is_over_soft_limit(self, principal: Principal) -> bool:
        """See `Meter`."""
        with self._database.writing(principal.tenant) as connection:
            return any(
                each.is_over_soft_limit
                for each in fetch_budget_statuses(
                    connection, BudgetSubject.from_principal(principal)
                )
            )

    @contextmanager
    def _lock_balances(
        self, subject: BudgetSubject
    ) -> Iterator[tuple[Connection, list[BudgetStatus]]]:
        """A transaction in which nobody else spends for the same payer, and how they stand.

        Balances that a new budget needs are opened beforehand: who waits for a turn must not hold another's.
        """
        while True:
            with self._database.writing(subject.tenant, ASYNCHRONOUS_COMMIT) as connection:
                connection.execute(QUERIES["lock"], subject.sql_parameters)
                standing = fetch_budget_statuses(connection, subject)
                if all(each.has_balance for each in standing):
                    yield connection, standing
                    return
            with self._database.writing(subject.tenant, ASYNCHRONOUS_COMMIT) as connection:
                connection.execute(QUERIES["open"], subject.sql_parameters)


def _check_limits(
    statuses: Sequence[BudgetStatus], amounts: Mapping[BudgetMeasure, Decimal]
) -> None:
    """See that so much more may be used.

    Raises:
        OverBudget: it may not. Of the budgets that are used up the one that resets last is told of: before it does no
            other helps.
    """
    refusals = [
        each.over_budget_error(amounts[each.measure])
        for each in statuses
        if each.measure in amounts and not each.allows(amounts[each.measure])
    ]
    if refusals:
        raise max(refusals, key=lambda refusal: refusal.retry_after)


def _add_to_balances(
    connection: Connection,
    subject: BudgetSubject,
    requests: int = 0,
    tokens: int = 0,
    cost: Decimal = Decimal(0),
) -> None:
    connection.execute(
        QUERIES["book"],
        {**subject.sql_parameters, "requests": requests, "tokens": tokens, "cost": cost},
    )


def _call_attributes(reservation: UUID, request: ModelRequest, model: str) -> dict[str, object]:
    """For whom and what a call is made."""
    payer = BudgetSubject.from_principal(request.principal)
    return {
        "tenant": payer.tenant,
        "reservation_id": reservation,
        "request_id": request.request_id,
        "team": payer.team,
        "key": payer.key,
        "model": model,
        "purpose": request.purpose,
    }
