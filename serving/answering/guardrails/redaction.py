"""Secrets and personal data on the way to models and readers, as GROUNDWORK_REDACT says.

logs       only logs are redacted, which always holds (core/logs.py)
prompts    models read names such as <EMAIL_1>; what they write about them is put back before it is verified
answers    prompts, and in answers and their quotes [EMAIL] stands for the value
"""

from collections.abc import Iterator
from dataclasses import replace

from core.redaction import SENSITIVE, Pseudonyms, redact
from core.settings import Settings
from serving.answering.types import Answer, Citation, Event, Refusal, Said
from serving.gateway.types import ModelRequest, Models, Reply, Usage

LONGEST_NAME = 24  # characters of a name such as <DRIVER_LICENSE_12>


class Discreet:
    """Models that never read a secret: each request's are hidden behind names, and restored in its reply."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def stream(self, request: ModelRequest) -> Reply:
        """See `Models`."""
        names = Pseudonyms()
        hidden = [replace(message, content=names.hide(message.content)) for message in request.messages]
        return _Restored(self.models.stream(replace(request, messages=hidden)), names)


class _Restored:
    """A reply with the values in place of their names, also where a name comes in several pieces."""

    def __init__(self, reply: Reply, names: Pseudonyms) -> None:
        self._reply, self._names = reply, names

    @property
    def model(self) -> str:
        return self._reply.model

    @property
    def usage(self) -> Usage | None:
        return self._reply.usage

    def __iter__(self) -> Iterator[str]:
        held = ""
        for piece in self._reply:
            held += piece
            begun = held.rfind("<")
            whole = begun < 0 or ">" in held[begun:] or len(held) - begun > LONGEST_NAME
            ready, held = (held, "") if whole else (held[:begun], held[begun:])
            if ready:
                yield self._names.restore(ready)
        if held:
            yield self._names.restore(held)

    def close(self) -> None:
        self._reply.close()


def discreet(models: Models | None, settings: Settings) -> Models | None:
    """The models, as far as the policy lets them read."""
    return models if models is None or settings.redact == "logs" else Discreet(models)


def behind(models: Models | None) -> Models | None:
    """The models that are asked at last, whatever stands before them."""
    return models.models if isinstance(models, Discreet) else models


def masked(events: Iterator[Event], settings: Settings) -> Iterator[Event]:
    """An answer on its way, without secrets and personal data where the policy says so. `close` closes `events`."""
    try:
        for event in events:
            yield _masked(event) if settings.redact == "answers" else event
    finally:
        close = getattr(events, "close", None)
        if close:
            close()


def _masked(event: Event) -> Event:
    if isinstance(event, Said):
        return Said(
            replace(event.sentence, text=_mask(event.sentence.text)), tuple(map(_masked_citation, event.citations))
        )
    if isinstance(event, Answer):
        return replace(
            event, sentences=tuple(replace(each, text=_mask(each.text)) for each in event.sentences),
            citations=tuple(map(_masked_citation, event.citations)),
            refusal=_masked_refusal(event.refusal) if event.refusal else None,
        )  # fmt: skip
    return event


def _masked_refusal(refusal: Refusal) -> Refusal:
    return replace(refusal, closest=tuple(map(_masked_citation, refusal.closest)))


def _masked_citation(citation: Citation) -> Citation:
    return replace(citation, quote=_mask(citation.quote))


def _mask(text: str) -> str:
    return redact(text, SENSITIVE).text
