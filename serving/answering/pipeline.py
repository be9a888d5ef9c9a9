"""A question in, a grounded answer out. Read this first.

ask        is it a question to be answered at all? (guardrails/policies.py, and what follows from it below)
retrieve   the passages that the asker may see, best first, and gather the evidence from them
judge      is the answer in them? if not, refuse and say why
generate   sentences that name their evidence, one after the other
verify     each must be carried by a quote that stands where it says; what fails is mended once, or dropped
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol, runtime_checkable

from core.principal import Principal
from core.services import Services
from retrieval.context import CANDIDATES, gather
from retrieval.filters import Filter
from retrieval.retriever import check_question, retrieve
from retrieval.types import Evidence, Mode
from serving.answering.answerability import judge
from serving.answering.cache import Repeatable, Responses, replayed
from serving.answering.citations import Numbering, closest, conflicting
from serving.answering.extractive import Extractive
from serving.answering.guardrails.policies import Drafting, leaving, readable_evidence, refused, sayable
from serving.answering.guardrails.redaction import masked
from serving.answering.types import Answer, DraftSentence, Event, Fault, Flag, Refusal, Said, Searched
from serving.answering.verification import entailment
from serving.answering.verification.verifier import Verdict, Verifier
from serving.gateway.types import ModelFailed, NoModelAvailable

REPAIRS = 2  # sentences of an answer that a generator is asked for once more


class Generator(Protocol):
    """Whatever writes sentences from evidence: the extractive one needs no model, others call one.

    A generator is made for one question. Where what `generate` returns can be closed, it is, as soon as nobody reads.
    """

    @property
    def name(self) -> str:
        """What the answer says wrote it."""

    def generate(self, evidence: Evidence) -> Iterable[DraftSentence]:
        """Sentences that answer `evidence.question`, one after the other; there may be none.

        Raises:
            NoModelAvailable, ModelFailed: the model it calls does not answer, or broke off.
        """


@runtime_checkable
class Mending(Protocol):
    """A generator that can be told what is wrong with a sentence."""

    def mend(self, evidence: Evidence, sentence: DraftSentence, fault: Fault) -> DraftSentence | None:
        """Another wording of a sentence that its evidence did not carry, or None."""


@runtime_checkable
class Modelled(Protocol):
    """A generator that calls a language model: which one it was, the SHA-256 of what it was told, the name and version
    of the prompt, and what that says in its own words.
    """

    model: str | None
    prompt: str

    @property
    def prompt_version(self) -> str:
        """As answers have it: answer 1."""

    @property
    def instructions(self) -> str:
        """What no answer may repeat."""


def answer(
    services: Services,
    principal: Principal,
    question: str,
    *,
    generator: Generator | None = None,
    mode: Mode = "hybrid",
    where: Filter | None = None,
) -> Answer:
    """Answer a question from what the principal may see, or refuse; `where` narrows the documents down.

    Raises:
        InvalidInput: an empty or overlong question, or a filter that is too large.
    """
    return whole(stream(services, principal, question, generator=generator, mode=mode, where=where))


def whole(events: Iterable[Event]) -> Answer:
    """The answer itself, which is the last event."""
    return next(event for event in events if isinstance(event, Answer))


def stream(
    services: Services,
    principal: Principal,
    question: str,
    *,
    generator: Generator | None = None,
    mode: Mode = "hybrid",
    where: Filter | None = None,
    responses: Responses | None = None,
) -> Iterator[Event]:
    """The same on its way: what was searched, each sentence as soon as it is verified, and at last the whole.

    Secrets and personal data are left out of it where the policy says so (guardrails/redaction.py).

    An answer that `responses` has kept is given again. Leaving early (`close`) closes the generator.

    Raises:
        InvalidInput: see `answer`; before the first event.
    """
    told = _told(services, principal, question, generator or Extractive(), mode, where, responses)
    return masked(told, services.settings)


def _told(
    services: Services,
    principal: Principal,
    question: str,
    generator: Generator,
    mode: Mode,
    where: Filter | None,
    responses: Responses | None,
) -> Iterator[Event]:
    began = time.perf_counter()
    question, vector = check_question(question), None
    if refusal := refused(question):
        yield _unasked(question, refusal, generator, began)
        return
    entry = None
    if responses and isinstance(generator, Repeatable):
        entry = responses.look(principal, question, mode, where, generator)
        if entry.answer:
            again = {"total": (time.perf_counter() - began) * 1000}
            yield from replayed(replace(entry.answer, question=question, milliseconds=again, cached=True))
            return
    if mode == "lexical":  # ranks nothing then, but the judgement and the choice of sentences rest on cosines
        vector = services.embedder().encode([question])[0].tolist()
    found = retrieve(services, principal, question, limit=CANDIDATES, mode=mode, where=where, vector=vector)
    evidence, flags = readable_evidence(gather(found), services.settings.suspicious_passages)
    retrieved = time.perf_counter()
    yield Searched(evidence.documents, evidence.chunks)
    judgement = judge(evidence)
    saying = _Saying(services, evidence, generator, flags)
    if not judgement.refusal:
        yield from saying.events()
    given = saying.answer(judgement.refusal, judgement.confidence)
    now = time.perf_counter()
    timed = {"answer": (now - retrieved) * 1000, "total": (now - began) * 1000}
    given = replace(given, milliseconds=evidence.milliseconds | timed)
    if entry:
        entry.keep(given)
    yield given


def _unasked(question: str, refusal: Refusal, generator: Generator, began: float) -> Answer:
    """The refusal of a question that nothing was looked for to."""
    return Answer(
        question=question, status="refused", sentences=(), citations=(), refusal=refusal, generator=generator.name,
        documents=0, passages=0, milliseconds={"total": (time.perf_counter() - began) * 1000},
    )  # fmt: skip


class _Saying:
    """One answer while it is being written."""

    def __init__(self, services: Services, evidence: Evidence, generator: Generator, flags: tuple[Flag, ...]) -> None:
        self._evidence, self._generator, self._flags = evidence, generator, flags
        self._drafting = Drafting(evidence, generator.instructions if isinstance(generator, Modelled) else "")
        self._verifier = Verifier(evidence, services.embedder(), entailment.configured(services.settings))
        self._numbering = Numbering(evidence)
        self._removed: list[Fault] = []
        self._repaired = self._mended = 0
        self._degraded: str | None = None

    def events(self) -> Iterator[Said]:
        """The verified sentences. Where no model answers, those of the documents take the place of its own."""
        try:
            yield from self._verified(self._generator)
        except (NoModelAvailable, ModelFailed) as error:
            self._degraded = str(error)
            if not self._numbering.sentences:  # never two writers' text in one answer
                self._generator = Extractive()
                yield from self._verified(self._generator)

    def _verified(self, generator: Generator) -> Iterator[Said]:
        sentences = generator.generate(self._evidence)
        try:
            for sentence in sentences:
                verdict = self._verdict(generator, sentence)
                if verdict.sentence and self._numbering.has(verdict.sentence):
                    continue  # a writer that repeats itself
                if verdict.sentence:
                    self._repaired += verdict.repaired
                    yield self._numbering.say(leaving(verdict.sentence))
                elif verdict.fault:
                    self._removed.append(verdict.fault)
        finally:
            if isinstance(sentences, Closing):
                sentences.close()

    def _verdict(self, generator: Generator, sentence: DraftSentence) -> Verdict:
        """What guardrails and verifier say; of what is rejected the generator is asked for another wording, once."""
        verdict = self._checked(sentence)
        if verdict.fault and isinstance(generator, Mending) and self._mended < REPAIRS:
            self._mended += 1
            other = generator.mend(self._evidence, sentence, verdict.fault)
            again = self._checked(other) if other else verdict
            verdict = replace(again, repaired=True) if again.sentence else verdict
        return verdict

    def _checked(self, sentence: DraftSentence) -> Verdict:
        said = sayable(sentence, self._drafting)
        return Verdict(None, said) if isinstance(said, str) else self._verifier.verdict(said)

    def answer(self, refusal: Refusal | None, confidence: float) -> Answer:
        """The whole, after its last sentence."""
        said = self._numbering
        if not refusal and not said.sentences:
            refusal = Refusal("no_evidence", "No sentence of the documents answers this.", ())
        if refusal:
            refusal = replace(refusal, closest=tuple(closest(self._evidence.hits)))
        modelled = self._generator if isinstance(self._generator, Modelled) else None
        return Answer(
            question=self._evidence.question, status="refused" if refusal else "answered",
            sentences=tuple(said.sentences), citations=tuple(said.citations), refusal=refusal,
            generator=self._generator.name, documents=self._evidence.documents, passages=self._evidence.chunks,
            confidence=confidence, removed=tuple(self._removed), repaired=self._repaired, degraded=self._degraded,
            model=modelled.model if modelled else None, prompt=(modelled.prompt or None) if modelled else None,
            prompt_version=modelled.prompt_version if modelled and modelled.prompt else None, flagged=self._flags,
            conflict=conflicting(said.citations),
        )  # fmt: skip


@runtime_checkable
class Closing(Protocol):
    """What can be told that nobody reads on."""

    def close(self) -> None:
        """Stop."""
