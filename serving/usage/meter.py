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
from serving.usage.budgets import Measure, Payer, Standing, standings

QUERIES = load_queries(Path(__file__).with_name("meter.sql"))
GRACE_SECONDS = 60.0  # after a call's own deadline its reservation still counts so long
# What is lost when the server breaks down is some counts of its last half second; what was used is always on disk.
UNHURRIED = {"synchronous_commit": "off"}


class PostgresMeter:
    """The `Meter` of the gateway, on the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: dict[UUID, tuple[ModelRequest, bool]] = {}  # and whether a soft limit was passed
        self._due: deque[tuple[UUID, Usage]] = deque()

    def admit(self, principal: Principal) -> list[Standing]:
        """Count a request; returns how its payer stands with each budget.

        Raises:
            OverBudget: there may be no more requests in this minute, day or month.
        """
        payer = Payer.of(principal)
        with self._turn(payer) as (connection, standing):
            _check(standing, {"requests": Decimal(1)})
            if standing:
                _book(connection, payer, requests=1)
        return standing

    def reserve(self, request: ModelRequest, model: str, tokens: int, cost: Decimal) -> UUID:
        """See `Meter`: `tokens` and `cost` are the most that the call may use, what it reads and what it writes."""
        payer, reservation = Payer.of(request.principal), uuid4()
        with self._turn(payer) as (connection, standing):
            _check(standing, {"tokens": Decimal(tokens), "cost": cost})
            set_aside = {
                **_attributed(reservation, request, model), "tokens": tokens, "cost": cost,
                "seconds": request.seconds + GRACE_SECONDS,
            }  # fmt: skip
            connection.execute(QUERIES["reserve"], set_aside)
        self._open[reservation] = request, any(each.tight for each in standing)
        return reservation

    def settle(self, reservation: UUID, usage: Usage) -> None:
        """See `Meter`. Once for each reservation; a second time nothing happens. What can't be booked, since the
        database is away, is booked before the next.
        """
        self._due.append((reservation, usage))
        while self._due:
            due = self._due.popleft()
            try:
                self._settle(*due)
            except BaseException:
                self._due.appendleft(due)
                raise

    def _settle(self, reservation: UUID, usage: Usage) -> None:
        if reservation not in self._open:
            return
        request, tight = self._open[reservation]
        payer = Payer.of(request.principal)
        used = {
            **_attributed(reservation, request, usage.model), "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens, "cost": usage.cost, "counted": usage.counted,
            "outcome": usage.outcome, "tight": tight,
        }  # fmt: skip
        with self._database.writing(payer.tenant) as connection:
            connection.execute(QUERIES["lock"], payer.parameters)
            if connection.execute(QUERIES["settle"], used).rowcount:
                _book(connection, payer, tokens=usage.input_tokens + usage.output_tokens, cost=usage.cost)
        self._open.pop(reservation, None)

    def tight(self, principal: Principal) -> bool:
        """See `Meter`."""
        with self._database.writing(principal.tenant) as connection:
            return any(each.tight for each in standings(connection, Payer.of(principal)))

    @contextmanager
    def _turn(self, payer: Payer) -> Iterator[tuple[Connection, list[Standing]]]:
        """A transaction in which nobody else spends for the same payer, and how they stand.

        Balances that a new budget needs are opened beforehand: who waits for a turn must not hold another's.
        """
        while True:
            with self._database.writing(payer.tenant, UNHURRIED) as connection:
                connection.execute(QUERIES["lock"], payer.parameters)
                standing = standings(connection, payer)
                if all(each.opened for each in standing):
                    yield connection, standing
                    return
            with self._database.writing(payer.tenant, UNHURRIED) as connection:
                connection.execute(QUERIES["open"], payer.parameters)


def _check(standing: Sequence[Standing], more: Mapping[Measure, Decimal]) -> None:
    """See that so much more may be used.

    Raises:
        OverBudget: it may not. Of the budgets that are used up the one that resets last is told of: before it does no
            other helps.
    """
    refusals = [
        each.refusal(more[each.measure])
        for each in standing
        if each.measure in more and not each.allows(more[each.measure])
    ]
    if refusals:
        raise max(refusals, key=lambda refusal: refusal.retry_after)


def _book(connection: Connection, payer: Payer, requests: int = 0, tokens: int = 0, cost: Decimal = Decimal(0)) -> None:
    connection.execute(QUERIES["book"], {**payer.parameters, "requests": requests, "tokens": tokens, "cost": cost})


def _attributed(reservation: UUID, request: ModelRequest, model: str) -> dict[str, object]:
    """For whom and what a call is made."""
    payer = Payer.of(request.principal)
    return {
        "tenant": payer.tenant, "reservation_id": reservation, "request_id": request.request_id, "team": payer.team,
        "key": payer.key, "model": model, "purpose": request.purpose,
    }  # fmt: skip
