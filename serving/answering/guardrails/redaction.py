"""Redaction of secrets and personal data in prompts and answers, as GROUNDWORK_REDACT says.

logs       redact only logs, which is always done (core/logs.py)
prompts    also replace values by pseudonyms such as <EMAIL_1> in prompts, and restore them in the
           reply before it is verified
answers    also replace values by their kind, such as [EMAIL], in answers and quotes
"""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from core.redaction import SENSITIVE_KINDS, Pseudonyms, redact
from core.settings import Settings
from serving.answering.types import Answer, AnswerEvent, Citation, Refusal, SentenceVerified
from serving.gateway.gateway import open_gateway
from serving.gateway.types import Meter, ModelReply, ModelRequest, Models, ModelsDecorator, Usage

MAX_PSEUDONYM_CHARACTERS = 24  # <DRIVER_LICENSE_12> has 19


class RedactingModels(ModelsDecorator):
    """Models that read pseudonyms in place of secrets and personal data."""

    def stream(self, request: ModelRequest) -> ModelReply:
        """See `Models`."""
        pseudonyms = Pseudonyms()
        messages = [
            replace(message, content=pseudonyms.hide(message.content))
            for message in request.messages
        ]
        reply = self._models.stream(replace(request, messages=messages))
        return _RestoringReply(reply, pseudonyms)


class _RestoringReply:
    """A reply with the values restored, also if a pseudonym arrives in several pieces."""

    def __init__(self, reply: ModelReply, pseudonyms: Pseudonyms) -> None:
        self._reply, self._pseudonyms = reply, pseudonyms

    @property
    def model(self) -> str:
        return self._reply.model

    @property
    def usage(self) -> Usage | None:
        return self._reply.usage

    def __iter__(self) -> Iterator[str]:
        buffer = ""
        for piece in self._reply:
            buffer += piece
            end = _find_open_pseudonym(buffer)
            ready, buffer = buffer[:end], buffer[end:]
            if ready:
                yield self._pseudonyms.restore(ready)
        if buffer:
            yield self._pseudonyms.restore(buffer)

    def close(self) -> None:
        self._reply.close()


def _find_open_pseudonym(text: str) -> int:
    """Return the start of an unfinished pseudonym at the end of a text, or the text's length."""
    start = text.rfind("<")
    is_open = start >= 0 and ">" not in text[start:]
    return start if is_open and len(text) - start <= MAX_PSEUDONYM_CHARACTERS else len(text)


@contextmanager
def open_models(settings: Settings, meter: Meter | None = None) -> Iterator[Models | None]:
    """Yield the configured language models, or None if there is no models file.

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
    """Yield the events of an answer, redacted if the settings say so. Closing closes `events`."""
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
            sentences=tuple(replace(s, text=_mask_text(s.text)) for s in event.sentences),
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
