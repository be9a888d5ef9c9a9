"""Passages with planted instructions: flagged for all to see, and put behind the others or left out.

Their planted sentences are no evidence in any case: nothing quotes them, and no model reads them
(serving/answering/guardrails/prompt_injection.py).
"""

from dataclasses import replace
from typing import Literal

from retrieval.types import Hit, SearchResult
from serving.answering.guardrails.prompt_injection import (
    MIN_INJECTION_SCORE,
    Injection,
    find_injections,
    is_injection,
)
from serving.answering.types import InjectionFlag

SuspiciousAction = Literal["demote", "drop"]
HEADING_SIGNS = ("speaks to a machine in a heading",)


def flag_suspicious_passages(
    evidence: SearchResult, action: SuspiciousAction
) -> tuple[SearchResult, tuple[InjectionFlag, ...]]:
    """The evidence with suspicious passages last, or without them, and a flag for each planted sentence."""
    flags = {hit.chunk_id: tuple(_build_flags(hit)) for hit in evidence.hits}
    if not any(flags.values()):
        return evidence, ()
    clean = [hit for hit in evidence.hits if not flags[hit.chunk_id]]
    rest = [hit for hit in evidence.hits if flags[hit.chunk_id]] if action == "demote" else []
    hits = tuple(replace(hit, rank=rank) for rank, hit in enumerate([*clean, *rest], start=1))
    return replace(evidence, hits=hits), tuple(flag for some in flags.values() for flag in some)


def _build_flags(hit: Hit) -> list[InjectionFlag]:
    found = list(find_injections(hit))
    if any(is_injection(line) for line in (hit.title, *hit.context.splitlines())):
        found.append(Injection(hit.span, MIN_INJECTION_SCORE, HEADING_SIGNS))
    return [
        InjectionFlag(hit.document_id, hit.title, hit.path, each.span, each.score, each.signs)
        for each in found
    ]
