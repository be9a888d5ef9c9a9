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
from retrieval.context import CANDIDATE_HITS, build_context
from retrieval.filters import Filter
from retrieval.retriever import check_question, retrieve
from retrieval.types import SearchMode, SearchResult
from serving.answering.answer_cache import AnswerCache, CacheableGenerator, replay_events
from serving.answering.answerability import assess_answerability
from serving.answering.citations import CitationNumbering, find_closest_passages, find_conflicts
from serving.answering.extractive import ExtractiveGenerator
from serving.answering.guardrails.redaction import mask_events
from serving.answering.guardrails.screening import (
    DraftContext,
    render_safe,
    screen_evidence,
    screen_question,
    screen_sentence,
)
from serving.answering.types import (
    Answer,
    AnswerEvent,
    DraftSentence,
    FaultCode,
    InjectionFlag,
    Refusal,
    SearchCompleted,
    SentenceVerified,
)
from serving.answering.verification import entailment
from serving.answering.verification.verifier import Verdict, Verifier
from serving.gateway.types import ModelFailed, NoModelAvailable

MAX_REPAIRS = 2  # sentences of an answer that a generator is asked for once more


class Generator(Protocol):
    """Whatever writes sentences from evidence: the extractive one needs no model, others call one.

    A generator is made for one question. Where what `generate` returns can be closed, it is, as soon as nobody reads.
    """

    @property
    def name(self) -> str:
        """What the answer says wrote it."""

    def generate(self, evidence: SearchResult) -> Iterable[DraftSentence]:
        """Sentences that answer `evidence.question`, one after the other; there may be none.

        Raises:
            NoModelAvailable, ModelFailed: the model it calls does not answer, or broke off.
        """


@runtime_checkable
class RepairingGenerator(Protocol):
    """A generator that can be told what is wrong with a sentence."""

    def mend(
        self, evidence: SearchResult, sentence: DraftSentence, fault: FaultCode
    ) -> DraftSentence | None:
        """Another wording of a sentence that its evidence did not carry, or None."""


@runtime_checkable
class ModelBackedGenerator(Protocol):
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


def answer_question(
    services: Services,
    principal: Principal,
    question: str,
    *,
    generator: Generator | None = None,
    mode: SearchMode = "hybrid",
    where: Filter | None = None,
) -> Answer:
    """Answer a question from what the principal may see, or refuse; `where` narrows the documents down.

    Raises:
        InvalidInput: an empty or overlong question, or a filter that is too large.
    """
    return extract_answer(
        stream_answer(services, principal, question, generator=generator, mode=mode, where=where)
    )


def extract_answer(events: Iterable[AnswerEvent]) -> Answer:
    """The answer itself, which is the last event."""
    return next(event for event in events if isinstance(event, Answer))


def stream_answer(
    services: Services,
    principal: Principal,
    question: str,
    *,
    generator: Generator | None = None,
    mode: SearchMode = "hybrid",
    where: Filter | None = None,
    answer_cache: AnswerCache | None = None,
) -> Iterator[AnswerEvent]:
    """The same on its way: what was searched, each sentence as soon as it is verified, and at last the whole.

    Secrets and personal data are left out of it where the policy says so (guardrails/redaction.py).

    An answer that `responses` has kept is given again. Leaving early (`close`) closes the generator.

    Raises:
        InvalidInput: see `answer`; before the first event.
    """
    told = _stream_unmasked(
        services, principal, question, generator or ExtractiveGenerator(), mode, where, answer_cache
    )
    return mask_events(told, services.settings)


def _stream_unmasked(
    services: Services,
    principal: Principal,
    question: str,
    generator: Generator,
    mode: SearchMode,
    where: Filter | None,
    answer_cache: AnswerCache | None,
) -> Iterator[AnswerEvent]:
    began = time.perf_counter()
    question, vector = check_question(question), None
    if refusal := screen_question(question):
        yield _refuse_without_search(question, refusal, generator, began)
        return
    entry = None
    if answer_cache and isinstance(generator, CacheableGenerator):
        entry = answer_cache.find_entry(principal, question, mode, where, generator)
        if entry.answer:
            again = {"total": (time.perf_counter() - began) * 1000}
            yield from replay_events(
                replace(entry.answer, question=question, milliseconds=again, cached=True)
            )
            return
    if (
        mode == "lexical"
    ):  # ranks nothing then, but the judgement and the choice of sentences rest on cosines
        vector = services.embedder().encode([question])[0].tolist()
    found = retrieve(
        services, principal, question, limit=CANDIDATE_HITS, mode=mode, where=where, vector=vector
    )
    evidence, flags = screen_evidence(build_context(found), services.settings.suspicious_passages)
    retrieved = time.perf_counter()
    yield SearchCompleted(evidence.searched.documents, evidence.searched.passages)
    judgement = assess_answerability(evidence)
    saying = _AnswerBuilder(services, evidence, generator, flags)
    if not judgement.refusal:
        yield from saying.stream_sentences()
    given = saying.build_answer(judgement.refusal, judgement.confidence)
    now = time.perf_counter()
    timed = {"answer": (now - retrieved) * 1000, "total": (now - began) * 1000}
    given = replace(given, milliseconds=evidence.milliseconds | timed)
    if entry:
        entry.store_answer(given)
    yield given


def _refuse_without_search(
    question: str, refusal: Refusal, generator: Generator, started_at: float
) -> Answer:
    """The refusal of a question that nothing was looked for to."""
    return Answer(
        question=question,
        status="refused",
        sentences=(),
        citations=(),
        refusal=refusal,
        generator=generator.name,
        documents=0,
        passages=0,
        milliseconds={"total": (time.perf_counter() - started_at) * 1000},
    )


class _AnswerBuilder:
    """One answer while it is being written."""

    def __init__(
        self,
        services: Services,
        evidence: SearchResult,
        generator: Generator,
        flags: tuple[InjectionFlag, ...],
    ) -> None:
        self._evidence, self._generator, self._flags = evidence, generator, flags
        self._draft_context = DraftContext(
            evidence, generator.instructions if isinstance(generator, ModelBackedGenerator) else ""
        )
        self._verifier = Verifier(
            evidence, services.embedder(), entailment.load_entailment_model(services.settings)
        )
        self._numbering = CitationNumbering(evidence)
        self._removed: list[FaultCode] = []
        self._repaired = self._repairs = 0
        self._degraded: str | None = None

    def stream_sentences(self) -> Iterator[SentenceVerified]:
        """The verified sentences. Where no model answers, those of the documents take the place of its own."""
        try:
            yield from self._verify_sentences(self._generator)
        except (NoModelAvailable, ModelFailed) as error:
            self._degraded = str(error)
            if not self._numbering.sentences:  # never two writers' text in one answer
                self._generator = ExtractiveGenerator()
                yield from self._verify_sentences(self._generator)

    def _verify_sentences(self, generator: Generator) -> Iterator[SentenceVerified]:
        sentences = generator.generate(self._evidence)
        try:
            for sentence in sentences:
                verdict = self._verify_or_repair(generator, sentence)
                if verdict.sentence and self._numbering.contains_sentence(verdict.sentence):
                    continue  # a writer that repeats itself
                if verdict.sentence:
                    self._repaired += verdict.repaired
                    yield self._numbering.add_sentence(render_safe(verdict.sentence))
                elif verdict.fault:
                    self._removed.append(verdict.fault)
        finally:
            if isinstance(sentences, SupportsClose):
                sentences.close()

    def _verify_or_repair(self, generator: Generator, sentence: DraftSentence) -> Verdict:
        """What guardrails and verifier say; of what is rejected the generator is asked for another wording, once."""
        verdict = self._verify_sentence(sentence)
        if (
            verdict.fault
            and isinstance(generator, RepairingGenerator)
            and self._repairs < MAX_REPAIRS
        ):
            self._repairs += 1
            other = generator.mend(self._evidence, sentence, verdict.fault)
            again = self._verify_sentence(other) if other else verdict
            verdict = replace(again, repaired=True) if again.sentence else verdict
        return verdict

    def _verify_sentence(self, sentence: DraftSentence) -> Verdict:
        said = screen_sentence(sentence, self._draft_context)
        return (
            Verdict(None, said) if isinstance(said, str) else self._verifier.verify_sentence(said)
        )

    def build_answer(self, refusal: Refusal | None, confidence: float) -> Answer:
        """The whole, after its last sentence."""
        said = self._numbering
        if not refusal and not said.sentences:
            refusal = Refusal("no_evidence", "No sentence of the documents answers this.", ())
        if refusal:
            refusal = replace(refusal, closest=tuple(find_closest_passages(self._evidence.hits)))
        modelled = self._generator if isinstance(self._generator, ModelBackedGenerator) else None
        return Answer(
            question=self._evidence.question,
            status="refused" if refusal else "answered",
            sentences=tuple(said.sentences),
            citations=tuple(said.citations),
            refusal=refusal,
            generator=self._generator.name,
            documents=self._evidence.searched.documents,
            passages=self._evidence.searched.passages,
            confidence=confidence,
            removed=tuple(self._removed),
            repaired=self._repaired,
            degraded=self._degraded,
            model=modelled.model if modelled else None,
            prompt=(modelled.prompt or None) if modelled else None,
            prompt_version=modelled.prompt_version if modelled and modelled.prompt else None,
            flagged=self._flags,
            conflict=find_conflicts(said.citations),
        )


@runtime_checkable
class SupportsClose(Protocol):
    """What can be told that nobody reads on."""

    def close(self) -> None:
        """Stop."""
