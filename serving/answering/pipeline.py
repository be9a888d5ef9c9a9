"""From a question to a verified answer. Read `_answer_from_documents` first.

check      is the question allowed? (guardrails/screening.py)
retrieve   passages that the caller may see, without planted instructions
judge      do they hold an answer? If not, refuse and give the reason (answerability.py)
generate   draft sentences that name their evidence (generator/)
verify     repair or drop each sentence that its evidence does not support (verification/)
cite       number the quotes (citations.py)
"""

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace

from core.principal import Principal
from core.services import Services
from retrieval.context import CANDIDATE_HITS, build_context
from retrieval.filters import Filter
from retrieval.retriever import retrieve
from retrieval.types import DocumentCounts, SearchMode, SearchResult
from serving.answering.answer_cache import AnswerCache, replay_events
from serving.answering.answerability import assess_answerability
from serving.answering.citations import CitationNumbering, find_closest_passages, find_conflicts
from serving.answering.extractive import ExtractiveGenerator
from serving.answering.generator.answer_generator import AnswerGenerator
from serving.answering.guardrails.guardrail import DraftContext
from serving.answering.guardrails.redaction import mask_events
from serving.answering.guardrails.screening import (
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

MAX_REPAIRS = 2  # sentences of one answer that the generator may reword


def answer_question(
    services: Services,
    principal: Principal,
    question: str,
    *,
    generator: AnswerGenerator | None = None,
    mode: SearchMode = "hybrid",
    where: Filter | None = None,
) -> Answer:
    """Return the last event of `stream_answer`."""
    return extract_answer(
        stream_answer(services, principal, question, generator=generator, mode=mode, where=where)
    )


def extract_answer(events: Iterable[AnswerEvent]) -> Answer:
    """Return the whole answer, which is the last event."""
    return next(event for event in events if isinstance(event, Answer))


def stream_answer(
    services: Services,
    principal: Principal,
    question: str,
    *,
    generator: AnswerGenerator | None = None,
    mode: SearchMode = "hybrid",
    where: Filter | None = None,
    answer_cache: AnswerCache | None = None,
) -> Generator[AnswerEvent]:
    """Answer from the documents that the principal may see and `where` selects, or refuse.

    Yield `SearchCompleted`, each sentence once it is verified, and the whole `Answer` last. Secrets
    and personal data are masked as the settings say. Closing the stream cancels the work. The
    question must have been checked (`check_question`). Without a `generator` the answer quotes the
    documents.
    """
    job = _AnswerJob(services, principal, question, generator or ExtractiveGenerator(), mode, where)
    return mask_events(_answer_with_cache(job, answer_cache), services.settings)


@dataclass(frozen=True, slots=True)
class _AnswerJob:
    """One question with everything that decides its answer."""

    services: Services
    principal: Principal
    question: str
    generator: AnswerGenerator
    mode: SearchMode
    where: Filter | None
    started_at: float = field(default_factory=time.perf_counter)

    def total_milliseconds(self) -> float:
        return (time.perf_counter() - self.started_at) * 1000


def _answer_with_cache(job: _AnswerJob, answer_cache: AnswerCache | None) -> Generator[AnswerEvent]:
    if refusal := screen_question(job.question):
        yield _refuse_without_search(job, refusal)
        return
    entry = None
    if answer_cache:
        entry = answer_cache.find_entry(
            job.principal, job.question, job.mode, job.where, job.generator
        )
    if entry and entry.answer:
        total = {"total": job.total_milliseconds()}
        answer = replace(entry.answer, question=job.question, milliseconds=total, cached=True)
        yield from replay_events(answer)
        return
    with closing(_answer_from_documents(job)) as events:
        for event in events:
            if entry and isinstance(event, Answer):
                entry.store_answer(event)
            yield event


def _answer_from_documents(job: _AnswerJob) -> Generator[AnswerEvent]:
    evidence, flags = _retrieve_evidence(job)
    retrieved_at = time.perf_counter()
    yield SearchCompleted(evidence.searched.documents, evidence.searched.passages)
    judgement = assess_answerability(evidence)
    writer = _AnswerWriter(job.services, evidence, job.generator, flags)
    if not judgement.refusal:
        yield from writer.stream_sentences()
    answer = writer.build_answer(judgement.refusal, judgement.confidence)
    spent = {
        "answer": (time.perf_counter() - retrieved_at) * 1000,
        "total": job.total_milliseconds(),
    }
    yield replace(answer, milliseconds=evidence.milliseconds | spent)


def _retrieve_evidence(job: _AnswerJob) -> tuple[SearchResult, tuple[InjectionFlag, ...]]:
    """Return the passages that may be read, and the planted instructions found in them."""
    vector = None
    if job.mode == "lexical":  # the ranking needs no vector, but the steps after it do
        vector = job.services.embedder().encode([job.question])[0].tolist()
    result = retrieve(
        job.services,
        job.principal,
        job.question,
        limit=CANDIDATE_HITS,
        mode=job.mode,
        where=job.where,
        vector=vector,
    )
    return screen_evidence(build_context(result), job.services.settings.suspicious_passages)


def _refuse_without_search(job: _AnswerJob, refusal: Refusal) -> Answer:
    return Answer(
        question=job.question,
        status="refused",
        sentences=(),
        citations=(),
        refusal=refusal,
        generator=job.generator.name,
        searched=DocumentCounts(documents=0, passages=0),
        milliseconds={"total": job.total_milliseconds()},
    )


class _AnswerWriter:
    """Writes one answer: generate, verify, cite."""

    def __init__(
        self,
        services: Services,
        evidence: SearchResult,
        generator: AnswerGenerator,
        flags: tuple[InjectionFlag, ...],
    ) -> None:
        self._evidence, self._generator, self._flags = evidence, generator, flags
        self._draft_context = DraftContext(evidence, generator.instructions)
        self._verifier = Verifier(
            evidence, services.embedder(), entailment.load_entailment_model(services.settings)
        )
        self._citations = CitationNumbering(evidence)
        self._removed: list[FaultCode] = []
        self._repaired = self._repair_attempts = 0
        self._degraded: str | None = None

    def stream_sentences(self) -> Generator[SentenceVerified]:
        """Yield the verified sentences. If no model answers, quote the documents instead."""
        try:
            yield from self._stream_verified(self._generator)
        except (NoModelAvailable, ModelFailed) as error:
            self._degraded = str(error)
            if not self._citations.sentences:  # never mix the text of two generators
                self._generator = ExtractiveGenerator()
                yield from self._stream_verified(self._generator)

    def _stream_verified(self, generator: AnswerGenerator) -> Generator[SentenceVerified]:
        with closing(generator.generate(self._evidence)) as drafts:
            for draft in drafts:
                verdict = self._verify_or_repair(generator, draft)
                if verdict.fault:
                    self._removed.append(verdict.fault)
                if not verdict.sentence or self._citations.contains_sentence(verdict.sentence):
                    continue  # removed, or a repetition
                self._repaired += verdict.repaired
                yield self._citations.add_sentence(render_safe(verdict.sentence))

    def _verify_or_repair(self, generator: AnswerGenerator, draft: DraftSentence) -> Verdict:
        verdict = self._verify(draft)
        if not verdict.fault or self._repair_attempts == MAX_REPAIRS:
            return verdict
        self._repair_attempts += 1
        repaired = generator.repair_sentence(self._evidence, draft, verdict.fault)
        if repaired is None:
            return verdict
        second = self._verify(repaired)
        return replace(second, repaired=True) if second.sentence else verdict

    def _verify(self, draft: DraftSentence) -> Verdict:
        screened = screen_sentence(draft, self._draft_context)
        if isinstance(screened, str):
            return Verdict(None, screened)
        return self._verifier.verify_sentence(screened)

    def build_answer(self, refusal: Refusal | None, confidence: float) -> Answer:
        """Return the whole answer, after its last sentence."""
        sentences, citations = self._citations.sentences, self._citations.citations
        if not refusal and not sentences:
            refusal = Refusal("no_evidence", "No sentence of the documents answers this.", ())
        if refusal:
            refusal = replace(refusal, closest=tuple(find_closest_passages(self._evidence.hits)))
        generator = self._generator
        return Answer(
            question=self._evidence.question,
            status="refused" if refusal else "answered",
            sentences=tuple(sentences),
            citations=tuple(citations),
            refusal=refusal,
            generator=generator.name,
            searched=self._evidence.searched,
            confidence=confidence,
            removed=tuple(self._removed),
            repaired=self._repaired,
            degraded=self._degraded,
            model=generator.model,
            prompt=generator.prompt or None,
            prompt_version=generator.prompt_version if generator.prompt else None,
            flagged=self._flags,
            conflict=find_conflicts(citations),
        )
