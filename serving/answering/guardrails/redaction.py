"""Secrets and personal data on the way to models and readers, as GROUNDWORK_REDACT says.

logs       only logs are redacted, which always holds (core/logs.py)
prompts    models read names such as <EMAIL_1>; what they write about them is put back before it is verified
answers    prompts, and in answers and their quotes [EMAIL] stands for the value
"""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from core.principal import Principal
from core.redaction import SENSITIVE_KINDS, Pseudonyms, redact
from core.settings import Settings
from serving.answering.types import Answer, AnswerEvent, Citation, Refusal, SentenceVerified
from serving.gateway.gateway import open_gateway
from serving.gateway.types import Meter, ModelReply, ModelRequest, Models, Usage

MAX_PSEUDONYM_CHARACTERS = 24  # characters of a name such as <DRIVER_LICENSE_12>


class RedactingModels(Models):
    """Models that never read a secret: each request's are hidden behind names, and restored in its reply."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def context_size(self, principal: Principal) -> int:
        return self._models.context_size(principal)

    @property
    def fingerprint(self) -> str:
        return self._models.fingerprint

    def stream(self, request: ModelRequest) -> ModelReply:
        names = Pseudonyms()
        hidden = [
            replace(message, content=names.hide(message.content)) for message in request.messages
        ]
        return _RestoringReply(self._models.stream(replace(request, messages=hidden)), names)


class _RestoringReply:
    """A reply with the values in place of their names, also where a name comes in several pieces."""

    def __init__(self, reply: ModelReply, names: Pseudonyms) -> None:
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
            whole = begun < 0 or ">" in held[begun:] or len(held) - begun > MAX_PSEUDONYM_CHARACTERS
            ready, held = (held, "") if whole else (held[:begun], held[begun:])
            if ready:
                yield self._names.restore(ready)
        if held:
            yield self._names.restore(held)

    def close(self) -> None:
        self._reply.close()


@contextmanager
def open_models(settings: Settings, meter: Meter | None = None) -> Iterator[Models | None]:
    """Yield the configured language models, redacted as the settings say; None if there is no models file.

    Raises:
        InvalidInput: the models file can't be used, or a key is not set.
    """
    gateway = open_gateway(settings, meter)
    if gateway is None:
        yield None
        return
    with closing(gateway):
        yield gateway if settings.redact == "logs" else RedactingModels(gateway)


def mask_events(events: Generator[AnswerEvent], settings: Settings) -> Generator[AnswerEvent]:
    """Yield the events, with secrets and personal data masked if the settings say so. Closing closes `events`."""
    with closing(events):
        for event in events:
            yield _mask_event(event) if settings.redact == "answers" else event


def _mask_event(event: AnswerEvent) -> AnswerEvent:
    if isinstance(event, SentenceVerified):
        return SentenceVerified(
            replace(event.sentence, text=_mask_text(event.sentence.text)),
            tuple(map(_mask_citation, event.citations)),
        )
    if isinstance(event, Answer):
        return replace(
            event,
            sentences=tuple(replace(each, text=_mask_text(each.text)) for each in event.sentences),
            citations=tuple(map(_mask_citation, event.citations)),
            refusal=_mask_refusal(event.refusal) if event.refusal else None,
        )
    return event


def _mask_refusal(refusal: Refusal) -> Refusal:
    return replace(refusal, closest=tuple(map(_mask_citation, refusal.closest)))


def _mask_citation(citation: Citation) -> Citation:
    return replace(citation, quote=_mask_text(citation.quote))


def _mask_text(text: str) -> str:
    return redact(text, SENSITIVE_KINDS).text
