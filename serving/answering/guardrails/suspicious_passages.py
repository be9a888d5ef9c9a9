"""Passages with prompt injections: flagged in the answer, and ranked last or left out.

An injected sentence itself is never evidence: it is not quoted, and no model reads it
(serving/answering/guardrails/prompt_injection.py).
"""

from collections.abc import Iterator
from dataclasses import replace

from retrieval.types import Hit, SearchResult
from serving.answering.guardrails.guardrail import SuspiciousAction
from serving.answering.guardrails.prompt_injection import (
    MIN_INJECTION_SCORE,
    Injection,
    find_injections,
    is_injection,
)
from serving.answering.types import InjectionFlag

HEADING_SIGNS = ("speaks to a machine in a heading",)


def flag_suspicious_passages(
    evidence: SearchResult, action: SuspiciousAction
) -> tuple[SearchResult, tuple[InjectionFlag, ...]]:
    """Return the evidence with suspicious passages last or left out, and a flag per injection."""
    flags: list[InjectionFlag] = []
    clean: list[Hit] = []
    suspicious: list[Hit] = []
    for hit in evidence.hits:
        hit_flags = list(_build_flags(hit))
        flags += hit_flags
        (suspicious if hit_flags else clean).append(hit)
    if not flags:
        return evidence, ()
    hits = clean + suspicious if action == "demote" else clean
    ranked = tuple(replace(hit, rank=rank) for rank, hit in enumerate(hits, start=1))
    return replace(evidence, hits=ranked), tuple(flags)


def _build_flags(hit: Hit) -> Iterator[InjectionFlag]:
    injections = [*find_injections(hit)]
    if any(map(is_injection, (hit.title, *hit.context.splitlines()))):
        injections.append(Injection(hit.span, MIN_INJECTION_SCORE, HEADING_SIGNS))
    for injection in injections:
        yield InjectionFlag(
            hit.document_id, hit.title, hit.path, injection.span, injection.score, injection.signs
        )
