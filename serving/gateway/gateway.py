"""The gateway: a request goes to the best model that may be asked and answers. Read this first.

route      the models that may be asked, the best first (routing.py, models.py)
choose     the first whose circuit is closed and that has a place free (breaker.py, admission.py)
reserve    ask the meter whether the tenant can pay
call       wait for the first piece, within deadlines (providers/, transport.py)
fall back  on a fault before that piece: another model, or the same again, twice at most (retries.py)

Once a piece is there the reply is that model's alone.
"""

import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import structlog

from core.errors import GroundworkError, OverBudget
from core.settings import Settings
from serving.gateway.models import ModelsFile, ModelSpec, read_models
from serving.gateway.providers import Delta, Provider, open_provider
from serving.gateway.resilience.admission import Gate
from serving.gateway.resilience.breaker import Breaker, State
from serving.gateway.resilience.faults import UpstreamFault
from serving.gateway.resilience.retries import MOST_RETRIES, RetryBudget, jitter
from serving.gateway.routing import route
from serving.gateway.tokens import most_read, open_tokens
from serving.gateway.transport import Pool, Watch
from serving.gateway.types import (
    Meter,
    ModelFailed,
    ModelRequest,
    NoModelAvailable,
    Outcome,
    Overloaded,
    Reply,
    Usage,
    leaving,
)

BYTES_A_TOKEN, BYTES_AT_LEAST = 4096, 1 << 20  # of a reply as it comes; a token's event takes some 300
CHARACTERS_A_TOKEN = 32  # of a reply's text; tokens have 4 on average

log = structlog.get_logger("groundwork.gateway")


def open_gateway(settings: Settings, meter: Meter | None = None) -> "Gateway | None":
    """The gateway to the models of the file that the settings name; None where they name none.

    Raises:
        InvalidInput: the file can't be used, or a key is not set.
    """
    if not settings.models:
        return None
    file, pool = read_models(Path(settings.models)), Pool()
    return Gateway(file, {model.name: open_provider(model, pool) for model in file.models}, meter, pool)


def estimate(text: str) -> int:
    """About how many tokens a text has, rather too many: one for each three bytes. To choose a model by, not to pay."""
    return len(text.encode()) // 3 + 1


class Site:
    """A model, what runs it, and what is known of how it fares."""

    def __init__(self, spec: ModelSpec, provider: Provider) -> None:
        self.spec, self.provider = spec, provider
        self.breaker, self.gate = Breaker(), Gate(spec.concurrency, spec.waiting)
        self.tokens = open_tokens(spec.tokenizer, spec.base_url)

    @property
    def state(self) -> State:
        """Its circuit's."""
        return self.breaker.state

    def enter(self) -> bool:
        """Take a place and the circuit's leave, if both are to be had now."""
        return self._admitted(self.gate.enter)

    def queue(self, seconds: float, cancelled: threading.Event) -> bool:
        """The same, waiting for a place."""
        return self._admitted(lambda: self.gate.wait(seconds, cancelled))

    def _admitted(self, enter: Callable[[], bool]) -> bool:
        if self.breaker.wait() > 0 or not enter():
            return False
        if self.breaker.admit():
            return True
        self.gate.leave(None)
        return False


class Gateway:
    """Models for everyone in the process: build one at start-up, `close` it at the end."""

    def __init__(
        self, file: ModelsFile, providers: Mapping[str, Provider], meter: Meter | None = None, pool: Pool | None = None
    ) -> None:
        self.file, self.meter, self._pool = file, meter, pool
        self.sites = {model.name: Site(model, providers[model.name]) for model in file.models}
        self.retries = RetryBudget()
        self.chance = random.Random()  # noqa: S311 - nobody gains by guessing how long we wait

    def stream(self, request: ModelRequest, cancelled: threading.Event | None = None) -> Reply:
        """A reply whose first piece is there. Setting `cancelled`, or what is `leaving`, ends it at any time.

        Raises:
            NoModelAvailable, Overloaded, OverBudget: see `Models.stream`.
        """
        self.retries.earn()
        return _Turn(self, request, cancelled or leaving.get() or threading.Event()).reply()

    def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            self._pool.close()


class _Turn:
    """One request on its way through the models."""

    def __init__(self, gateway: Gateway, request: ModelRequest, cancelled: threading.Event) -> None:
        self.gateway, self.request, self.cancelled = gateway, request, cancelled
        self.patience = gateway.file.patience
        self.ends = time.monotonic() + min(request.seconds, self.patience.total)
        self.input_tokens = sum(estimate(message.content) + 4 for message in request.messages)
        tight = gateway.meter is not None and gateway.meter.tight(request.principal)
        models = route(gateway.file, request, self.input_tokens, tight=tight)
        self._sites = [gateway.sites[model.name] for model in models]
        self._faults: dict[str, UpstreamFault] = {}
        self._reads: dict[str, int] = {}

    def reply(self) -> Reply:
        """The first model's that answers."""
        for call in range(1 + MOST_RETRIES):
            if call and not self.gateway.retries.spend():
                break
            site, reservation = self._choose(call)
            try:
                reply = _Reply(self, site, reservation)
            except UpstreamFault as fault:
                self._faults[site.spec.name] = fault
                if fault.kind == "cancelled":
                    break
            else:
                if call:
                    self.gateway.retries.give_back()
                return reply
        raise self._nothing()

    @property
    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    def seconds_for_first(self, spec: ModelSpec) -> float:
        """How long a model's first piece may take. A reply that comes whole may take longer; half of what is left, so
        that time remains for another model where there is one.
        """
        if spec.streaming:
            return self.patience.first
        return max(self.left / 2, self.patience.first) if len(self._sites) > 1 else self.left

    def _choose(self, call: int) -> tuple[Site, UUID | None]:
        """The next model, with a place taken and its price reserved."""
        while True:
            site = self._enter(call)
            try:
                return site, self._reserve(site)
            except OverBudget as error:
                site.gate.leave(None)
                site.breaker.left()
                self._price_out(site.spec, error)
            except BaseException:
                site.gate.leave(None)
                site.breaker.left()
                raise

    def _enter(self, call: int) -> Site:
        """A model that may be called now: one that has not failed yet, else one that may do better a second time."""
        fresh = [site for site in self._sites if site.spec.name not in self._faults]
        if found := next((site for site in fresh if site.enter()), None):
            return found
        ready = [site for site in fresh if site.breaker.wait() == 0]
        if found := next((site for site in ready if site.queue(self.left / 2, self.cancelled)), None):
            return found
        for site in self._sites:
            fault = self._faults.get(site.spec.name)
            if fault and not fault.lasting and self._again(site, call):
                return site
        raise self._nothing(ready)

    def _again(self, site: Site, call: int) -> bool:
        """Wait as long as the provider asked for, or a little, and enter; not where that takes half of what is left."""
        seconds = max(site.breaker.wait(), jitter(call - 1, self.gateway.chance))
        if site.breaker.state != "closed" or seconds > self.left / 2 or self.cancelled.wait(seconds):
            return False
        return site.enter() or site.queue(self.left / 2, self.cancelled)

    def reads(self, site: Site) -> int:
        """The most tokens that a model reads of this request, as its own tokenizer has it where there is one."""
        if site.spec.name not in self._reads:
            self._reads[site.spec.name] = most_read(site.tokens, self.request)
        return self._reads[site.spec.name]

    def _reserve(self, site: Site) -> UUID | None:
        """Set aside what a call may cost at most."""
        if self.gateway.meter is None:
            return None
        reads, writes = self.reads(site), self.request.max_tokens
        return self.gateway.meter.reserve(self.request, site.spec.name, reads + writes, site.spec.cost(reads, writes))

    def _price_out(self, spec: ModelSpec, error: OverBudget) -> None:
        """Go on with models that cost less than one that was too dear, where the tenant's policy has it so."""
        policy = self.gateway.file.policy(self.request.principal.tenant)
        self._sites = [site for site in self._sites if self._price(site.spec) < self._price(spec)]
        if policy.over_budget == "refuse" or not self._sites:
            raise error

    def _price(self, spec: ModelSpec) -> Decimal:
        return spec.cost(self.input_tokens, self.request.max_tokens)

    def _nothing(self, busy: Sequence[Site] = ()) -> NoModelAvailable:
        """Why there is no reply, and when it is worth asking again."""
        if busy and not self._faults:
            seconds = min(site.gate.expected() for site in busy)
            return Overloaded("All models are busy; ask again in a moment.", max(1, math.ceil(seconds)))
        faults = [fault.sentence(name) for name, fault in self._faults.items()]
        resting = [site for site in self._sites if site.spec.name not in self._faults and site.breaker.wait() > 0]
        faults += [f"The model {site.spec.name!r} has failed too often lately and is left alone." for site in resting]
        waits = [site.breaker.wait() for site in self._sites]
        after = max(1, math.ceil(min(waits))) if waits and min(waits) > 0 else None
        return NoModelAvailable(" ".join(["No language model answered.", *faults]), after)


class _Reply:
    """A reply on its way; it holds a place at its model until it is read, closed or forgotten."""

    def __init__(self, turn: _Turn, site: Site, reservation: UUID | None) -> None:
        self._turn, self._site, self._reservation = turn, site, reservation
        self._began, self._lock, self._over = time.monotonic(), threading.Lock(), False
        self._counted_input: int | None = None
        self._counted_output: int | None = None
        self._finished, self._written = False, ""
        self.usage: Usage | None = None
        request, patience = turn.request, turn.patience
        most_bytes = BYTES_AT_LEAST + BYTES_A_TOKEN * request.max_tokens
        self._watch = Watch(turn.ends, patience.connect, most_bytes, turn.cancelled)
        self._deltas = site.provider.reply(request, self._watch)
        self._watch.allow(turn.seconds_for_first(site.spec))
        self._first = self._read()

    @property
    def model(self) -> str:
        """The name, in the models file, of the model that writes."""
        return self._site.spec.name

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        with self._lock:
            text, self._first = self._first, None
            if text is None and not self._over:
                self._watch.allow(self._turn.patience.between)
                try:
                    text = self._read()
                except UpstreamFault as fault:
                    raise ModelFailed(f"{fault.sentence(self.model)} Ask again.") from fault
        if text is None:
            raise StopIteration
        return text

    def close(self) -> None:
        """Stop reading, and stop paying; whoever just waits for a piece in another thread stops waiting."""
        self._watch.cancel()
        with self._lock:
            self._first = None
            if not self._over:
                self._end(UpstreamFault("cancelled"))

    def __del__(self) -> None:
        if not getattr(self, "_over", True):
            self.close()

    def _read(self) -> str | None:
        """The next piece of text, None after the last.

        Raises:
            UpstreamFault: there is none, though the reply is not whole.
        """
        try:
            for delta in iter(lambda: next(self._deltas, None), None):
                self._note(delta)
                if delta.text:
                    return delta.text
            if not self._finished or not self._written:
                raise UpstreamFault("cut" if self._written else "empty")
        except UpstreamFault as fault:
            self._end(fault)
            raise
        except BaseException:
            self._end(UpstreamFault("cancelled"))
            raise
        self._end(None)
        return None

    def _note(self, delta: Delta) -> None:
        if not isinstance(delta.text, str):
            raise UpstreamFault("broken")
        self._written += delta.text
        self._finished |= delta.finished
        self._watch.finished = self._finished
        self._counted_input = self._counted_input if delta.input_tokens is None else delta.input_tokens
        self._counted_output = self._counted_output if delta.output_tokens is None else delta.output_tokens
        if len(self._written) > CHARACTERS_A_TOKEN * self._turn.request.max_tokens:
            raise UpstreamFault("too_large")
        if delta.thinking:
            self._watch.allow(self._turn.patience.between)

    def _end(self, fault: UpstreamFault | None) -> None:
        """Hang up, give back the place, tell the circuit, and pay; once."""
        self._over = True
        try:
            self._deltas.close()
        finally:
            seconds = time.monotonic() - self._began
            self._site.gate.leave(seconds)
            if fault is None:
                self._site.breaker.succeeded()
            else:
                self._site.breaker.failed(fault)
            self.usage = self._consumed(fault)
            self._settle()
            self._log(fault, seconds)

    def _consumed(self, fault: UpstreamFault | None) -> Usage:
        """Tokens as the provider counted them, else as we do; none where the model never began."""
        began = fault is None or fault.billed or bool(self._written)
        read = self._turn.reads(self._site) if began and self._counted_input is None else 0
        wrote = self._site.tokens.count(self._written) if self._counted_output is None else 0
        input_tokens = read if self._counted_input is None else self._counted_input
        output_tokens = wrote if self._counted_output is None else self._counted_output
        counted = self._counted_input is not None and self._counted_output is not None
        cost = self._site.spec.cost(input_tokens, output_tokens)
        outcome: Outcome = "done" if fault is None else "cancelled" if fault.kind == "cancelled" else "failed"
        return Usage(self.model, input_tokens, output_tokens, cost, counted or not began, outcome)

    def _settle(self) -> None:
        """Book it. A reply that was paid for is not taken back because the books are closed; the log has it then."""
        if self._reservation is None or self._turn.gateway.meter is None or self.usage is None:
            return
        try:
            self._turn.gateway.meter.settle(self._reservation, self.usage)
        except GroundworkError as error:
            log.error("usage not booked", model=self.model, reservation=str(self._reservation), error=str(error))

    def _log(self, fault: UpstreamFault | None, seconds: float) -> None:
        log.info(
            "model",
            request_id=self._turn.request.request_id.hex,
            model=self.model,
            purpose=self._turn.request.purpose,
            outcome=fault.kind if fault else "whole",
            milliseconds=round(seconds * 1000, 1),
            input_tokens=self.usage.input_tokens if self.usage else 0,
            output_tokens=self.usage.output_tokens if self.usage else 0,
        )
