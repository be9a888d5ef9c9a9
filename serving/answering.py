"""A question in, a grounded answer out. Read this first.

retrieve   the passages that the asker may see, best first, and gather the evidence from them
judge      is the answer in them? if not, refuse and say why
generate   a draft whose sentences name their evidence
verify     every quote must stand where the draft says; what fails is dropped
"""

import time
from typing import Protocol

from knowledge.database import Principal
from knowledge.services import Services
from retrieval.filters import Filter
from retrieval.gather import CANDIDATES, gather
from retrieval.retriever import check_question, retrieve
from retrieval.types import Evidence, Mode
from serving import extractive
from serving.citations import cite, verify
from serving.sufficiency import judge
from serving.types import Answer, Draft, Refusal


class Generator(Protocol):
    """Whatever writes a draft from evidence: the extractive one needs no model, others call one."""

    @property
    def name(self) -> str:
        """What the answer says wrote it."""

    def generate(self, evidence: Evidence) -> Draft:
        """A draft for `evidence.question`; it may be empty."""


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
    began = time.perf_counter()
    generator = generator or extractive.Extractive()
    question, vector = check_question(question), None
    if mode == "lexical":  # ranks nothing then, but the judgement and the choice of sentences rest on cosines
        vector = services.embedder().encode([question])[0].tolist()
    found = retrieve(services, principal, question, limit=CANDIDATES, mode=mode, where=where, vector=vector)
    evidence = gather(found)
    retrieved = time.perf_counter()
    judgement = judge(evidence)
    refusal = judgement.refusal
    verified = Draft(()) if refusal else verify(generator.generate(evidence), evidence)
    if not refusal and not verified.sentences:
        refusal = Refusal("no_evidence", "No sentence of the documents answers this.", ())
    now = time.perf_counter()
    timed = {"answer": (now - retrieved) * 1000, "total": (now - began) * 1000}
    return cite(evidence, verified, refusal, generator.name, evidence.milliseconds | timed, judgement.confidence)
