"""How much of what is secret or personal does redaction find, and how much else does it take out?

    .venv/bin/python -m bench.redaction                    a table for the sentences in ../shared/data/pii
    .venv/bin/python -m bench.redaction --records FILE     for others of the same form
    .venv/bin/python -m bench.redaction --show IBAN        also what is wrong or missed of a kind
    .venv/bin/python -m bench.redaction --json

A marked span counts as found when finds of its kind cover every letter and digit of it. A find counts as right when it
lies within marked spans of its kind (surrounding punctuation aside) or covers one wholly. `gone` is the share of marked
spans of which nothing is left, whichever kind it was taken for: that is what matters in a log. The records are cut into
two halves at random, by number; the rules were written with the first in sight, and with the values of the kinds that
have a form in both.

Exits with 1 where a kind that has a form of its own is found less than 95 % of the time, or its finds are right less
often than that.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import DATA_FOLDER
from core.redaction import DetectedEntity, EntityKind, find_entities
from core.types import Span

RECORDS_FILE = DATA_FOLDER / "pii" / "synthetic_records.json"
MIN_RATE = 0.95
SEED = 20261125
ENTITY_KINDS: Mapping[
    str, tuple[EntityKind, ...]
] = {  # what the records call a kind, and what we do
    "CREDIT_CARD": ("CARD",),
    "IBAN_CODE": ("IBAN",),
    "US_SSN": ("NATIONAL_ID",),
    "US_DRIVER_LICENSE": ("DRIVER_LICENSE",),
    "EMAIL_ADDRESS": ("EMAIL",),
    "PHONE_NUMBER": ("PHONE",),
    "IP_ADDRESS": ("IP",),
    "DOMAIN_NAME": ("URL",),
    "DATE_TIME": ("DATE", "BIRTH_DATE"),
    "AGE": ("AGE",),
    "ZIP_CODE": ("POSTAL_CODE",),
    "STREET_ADDRESS": ("ADDRESS",),
    "PERSON": ("PERSON",),
}
STRUCTURED_KINDS = tuple(ENTITY_KINDS)[
    :8
]  # a form of their own; the others are words, or numbers that only a sentence makes clear


@dataclass(frozen=True, slots=True)
class MarkedSpan:
    """A span that the records mark."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Record:
    """A sentence and what is marked in it."""

    text: str
    marked: tuple[MarkedSpan, ...]


@dataclass(slots=True)
class Tally:
    """What was counted for one kind."""

    marked: int = 0
    found: int = 0
    removed: int = 0
    detections: int = 0
    correct: int = 0
    wrong_kinds: Counter[str] = field(default_factory=Counter)  # what wrong finds were

    @property
    def recall(self) -> float:
        """The share of marked spans that were found."""
        return self.found / self.marked if self.marked else 1.0

    @property
    def precision(self) -> float:
        """The share of finds that are right."""
        return self.correct / self.detections if self.detections else 1.0


def read_records(path: Path) -> list[Record]:
    """Records as [{"full_text": ..., "spans": [{"entity_type", "start_position", "end_position"}]}]."""
    return [
        Record(
            record["full_text"],
            tuple(
                MarkedSpan(s["entity_type"], s["start_position"], s["end_position"])
                for s in record["spans"]
            ),
        )
        for record in json.loads(path.read_text(encoding="utf-8"))
    ]


def split_halves(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """The half that the rules were written with, and the other; see above for what was seen of that."""
    order = list(range(len(records)))
    random.Random(SEED).shuffle(order)
    middle = len(order) // 2
    return [records[place] for place in order[:middle]], [
        records[place] for place in order[middle:]
    ]


def count_by_kind(records: Iterable[Record], show: str = "") -> dict[str, Tally]:
    """Counts by the records' kinds; with `show`, what is wrong with one of them goes to standard error."""
    tallies: dict[str, Tally] = {}
    for record in records:
        finds = find_entities(record.text)
        for marked in record.marked:
            tally = tallies.setdefault(marked.kind, Tally())
            found = _is_covered(
                record.text,
                marked,
                [f for f in finds if f.kind in ENTITY_KINDS.get(marked.kind, ())],
            )
            tally.marked += 1
            tally.found += found
            tally.removed += _is_covered(record.text, marked, finds)
            if not found and marked.kind == show:
                sys.stderr.write(
                    f"missed {record.text[marked.start : marked.end]!r} in {record.text!r}\n"
                )
        for one in finds:
            name = next((name for name, ours in ENTITY_KINDS.items() if one.kind in ours), None)
            if name is None:
                continue
            tally = tallies.setdefault(name, Tally())
            tally.detections += 1
            if _is_correct(record, one, name):
                tally.correct += 1
                continue
            tally.wrong_kinds[_overlapping_kind(record, one)] += 1
            if name == show:
                sys.stderr.write(f"wrong  {record.text[slice(*one.span)]!r} in {record.text!r}\n")
    return tallies


def _is_covered(text: str, marked: MarkedSpan, finds: Sequence[DetectedEntity]) -> bool:
    """Whether no letter or digit of a marked span is left."""
    return all(
        any(one.span.start <= at < one.span.end for one in finds)
        for at in range(marked.start, marked.end)
        if text[at].isalnum()
    )


def _is_correct(record: Record, one: DetectedEntity, name: str) -> bool:
    spans = [marked for marked in record.marked if marked.kind == name]
    start, end = one.span
    within = all(
        any(marked.start <= at < marked.end for marked in spans)
        for at in range(start, end)
        if record.text[at].isalnum()
    )
    return within or any(start <= marked.start and marked.end <= end for marked in spans)


def _overlapping_kind(record: Record, one: DetectedEntity) -> str:
    """What is marked where a wrong find lies."""
    over = [
        marked.kind for marked in record.marked if Span(marked.start, marked.end).overlaps(one.span)
    ]
    return over[0] if over else "nothing"


def kinds_below_bound(tallies: Mapping[str, Tally]) -> list[str]:
    """The kinds with a form of their own that are found, or are right, too seldom."""
    return [
        kind
        for kind in STRUCTURED_KINDS
        if kind in tallies and min(tallies[kind].recall, tallies[kind].precision) < MIN_RATE
    ]


def build_rows(tallies: Mapping[str, Tally]) -> list[dict[str, Any]]:
    """A row for each kind, those with a form of their own first."""
    named = [*ENTITY_KINDS, *sorted(set(tallies) - set(ENTITY_KINDS))]
    return [
        {
            "kind": kind,
            "form": kind in STRUCTURED_KINDS,
            "marked": tally.marked,
            "found": tally.found,
            "recall": round(tally.recall, 3),
            "gone": round(tally.removed / tally.marked, 3) if tally.marked else None,
            "finds": tally.detections,
            "right": tally.correct,
            "precision": round(tally.precision, 3) if tally.detections else None,
            "instead": dict(tally.wrong_kinds),
        }
        for kind in named
        if (tally := tallies.get(kind))
    ]


def format_table(tallies: Mapping[str, Tally]) -> str:
    """The rows in Markdown."""
    lines = [
        "| kind | marked | found | recall | gone | finds | right | precision | wrong finds are |",
        "|---" * 9 + "|",
    ]
    for row in build_rows(tallies):
        name = f"**{row['kind']}**" if row["form"] else row["kind"]
        wrong = ", ".join(f"{count} {kind}" for kind, count in row["instead"].items())
        precision = "" if row["precision"] is None else f"{row['precision']:.3f}"
        lines.append(
            f"| {name} | {row['marked']} | {row['found']} | {row['recall']:.3f} | {row['gone'] or 0:.3f}"
            f" | {row['finds']} | {row['right']} | {precision} | {wrong} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Print the tables; 1 where a bound is missed, 2 where there are no records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, default=RECORDS_FILE)
    parser.add_argument(
        "--show", default="", metavar="KIND", help="what is wrong with one of the records' kinds"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not given.records.is_file():
        sys.stderr.write(f"error: {given.records} is not there; name a file with --records.\n")
        return 2
    records = read_records(given.records)
    began = time.perf_counter()
    parts = dict(
        zip(
            ("in sight", "other"),
            (count_by_kind(half, given.show) for half in split_halves(records)),
            strict=True,
        )
    )
    seconds = time.perf_counter() - began
    parts["all"] = whole = count_by_kind(records)
    speed = sum(len(record.text) for record in records) / seconds
    if given.json:
        report = {name: build_rows(tallies) for name, tallies in parts.items()}
        sys.stdout.write(
            json.dumps(
                {
                    **report,
                    "missed": kinds_below_bound(whole),
                    "characters_per_second": round(speed),
                }
            )
            + "\n"
        )
    else:
        for name, tallies in parts.items():
            sys.stdout.write(f"\n{name}\n\n{format_table(tallies)}\n")
        sys.stderr.write(
            f"{len(records)} records, {speed:,.0f} characters a second; kinds in bold have a form\n"
        )
        sys.stderr.write("".join(f"missed: {kind}\n" for kind in kinds_below_bound(whole)))
    return int(bool(kinds_below_bound(whole)))


if __name__ == "__main__":
    sys.exit(main())
