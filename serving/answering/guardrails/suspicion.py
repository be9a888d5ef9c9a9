"""Passages with planted instructions: flagged for all to see, and put behind the others or left out.

Their planted sentences are no evidence in any case: nothing quotes them, and no model reads them
(serving/answering/guardrails/prompt_injection.py).
"""

from dataclasses import replace
from typing import Literal

from retrieval.types import Evidence, Hit
from serving.answering.guardrails.prompt_injection import ENOUGH, Planted, planted, speaks_to_a_machine
from serving.answering.types import Flag

Suspicious = Literal["demote", "drop"]
IN_A_HEADING = ("speaks to a machine in a heading",)


def watch(evidence: Evidence, suspicious: Suspicious) -> tuple[Evidence, tuple[Flag, ...]]:
    """The evidence with suspicious passages last, or without them, and a flag for each planted sentence."""
    flags = {hit.chunk_id: tuple(_flags(hit)) for hit in evidence.hits}
    if not any(flags.values()):
        return evidence, ()
    clean = [hit for hit in evidence.hits if not flags[hit.chunk_id]]
    rest = [hit for hit in evidence.hits if flags[hit.chunk_id]] if suspicious == "demote" else []
    hits = tuple(replace(hit, rank=rank) for rank, hit in enumerate([*clean, *rest], start=1))
    return replace(evidence, hits=hits), tuple(flag for some in flags.values() for flag in some)


def _flags(hit: Hit) -> list[Flag]:
    found = list(planted(hit))
    if any(speaks_to_a_machine(line) for line in (hit.title, *hit.context.splitlines())):
        found.append(Planted(hit.span, ENOUGH, IN_A_HEADING))
    return [Flag(hit.document_id, hit.title, hit.path, each.span, each.score, each.signs) for each in found]
