"""Recall and precision of redaction, by kind of secret or personal data.

    .venv/bin/python -m bench.redaction                  a table for the data in ../shared/data/pii
    .venv/bin/python -m bench.redaction --records FILE   other records of the same form
    .venv/bin/python -m bench.redaction --show IBAN      also the errors of one kind
    .venv/bin/python -m bench.redaction --json

A marked span counts as found if detections of its kind cover every letter and digit of it. A
detection counts as correct if it lies within marked spans of its kind (except for punctuation) or
covers one completely. `removed` is the share of marked spans of which nothing is left, by a
detection of any kind: this counts for a log. The records are divided at random into two halves.
The rules were written with the first half visible, and with the values of the structured kinds
visible in both.

The exit code is 1 if a structured kind is found less than 95 % of the time, or if less than 95 % of
its detections are correct.
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
ENTITY_KINDS: Mapping[str, tuple[EntityKind, ...]] = {  # kind in the records: kinds of the product
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
]  # with a form of their own; the others depend on the sentence


@dataclass(frozen=True, slots=True)
class MarkedSpan:
    """Span marked in a record, with its kind."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Record:
    """Sentence with its marked spans."""

    text: str
    marked: tuple[MarkedSpan, ...]


@dataclass(slots=True)
class Tally:
    """Counts of one kind."""

    marked: int = 0
    found: int = 0
    removed: int = 0
    detections: int = 0
    correct: int = 0
    wrong_kinds: Counter[str] = field(default_factory=Counter)  # marked kinds at wrong detections

    @property
    def recall(self) -> float:
        """Share of marked spans that were found."""
        return self.found / self.marked if self.marked else 1.0

    @property
    def precision(self) -> float:
        """Share of detections that are correct."""
        return self.correct / self.detections if self.detections else 1.0


def read_records(path: Path) -> list[Record]:
    """Read [{"full_text": ..., "spans": [{"entity_type", "start_position", "end_position"}]}]."""
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
    """Return the half that was visible when the rules were written, and the other."""
    order = list(range(len(records)))
    random.Random(SEED).shuffle(order)  # noqa: S311
    middle = len(order) // 2
    return [records[index] for index in order[:middle]], [
        records[index] for index in order[middle:]
    ]


def count_by_kind(records: Iterable[Record], show: str = "") -> dict[str, Tally]:
    """Count by kind of the records; write the errors of the kind `show` to standard error."""
    tallies: dict[str, Tally] = {}
    for record in records:
        detected = find_entities(record.text)
        for marked in record.marked:
            tally = tallies.setdefault(marked.kind, Tally())
            found = _is_covered(
                record.text,
                marked,
                [e for e in detected if e.kind in ENTITY_KINDS.get(marked.kind, ())],
            )
            tally.marked += 1
            tally.found += found
            tally.removed += _is_covered(record.text, marked, detected)
            if not found and marked.kind == show:
                sys.stderr.write(
                    f"missed {record.text[marked.start : marked.end]!r} in {record.text!r}\n"
                )
        for entity in detected:
            name = next(
                (name for name, kinds in ENTITY_KINDS.items() if entity.kind in kinds), None
            )
            if name is None:
                continue
            tally = tallies.setdefault(name, Tally())
            tally.detections += 1
            if _is_correct(record, entity, name):
                tally.correct += 1
                continue
            tally.wrong_kinds[_overlapping_kind(record, entity)] += 1
            if name == show:
                sys.stderr.write(
                    f"wrong  {record.text[slice(*entity.span)]!r} in {record.text!r}\n"
                )
    return tallies


def _is_covered(text: str, marked: MarkedSpan, detected: Sequence[DetectedEntity]) -> bool:
    """Return whether no letter or digit of a marked span is left."""
    return all(
        any(entity.span.start <= at < entity.span.end for entity in detected)
        for at in range(marked.start, marked.end)
        if text[at].isalnum()
    )


def _is_correct(record: Record, entity: DetectedEntity, name: str) -> bool:
    spans = [marked for marked in record.marked if marked.kind == name]
    start, end = entity.span
    within = all(
        any(marked.start <= at < marked.end for marked in spans)
        for at in range(start, end)
        if record.text[at].isalnum()
    )
    return within or any(start <= marked.start and marked.end <= end for marked in spans)


def _overlapping_kind(record: Record, entity: DetectedEntity) -> str:
    """Return the marked kind at the place of a wrong detection."""
    kinds = [
        marked.kind
        for marked in record.marked
        if Span(marked.start, marked.end).overlaps(entity.span)
    ]
    return kinds[0] if kinds else "nothing"


def kinds_below_bound(tallies: Mapping[str, Tally]) -> list[str]:
    """Return the structured kinds with too low recall or precision."""
    return [
        kind
        for kind in STRUCTURED_KINDS
        if kind in tallies and min(tallies[kind].recall, tallies[kind].precision) < MIN_RATE
    ]


def build_rows(tallies: Mapping[str, Tally]) -> list[dict[str, Any]]:
    """Return a row for each kind, the structured kinds first."""
    kinds = [*ENTITY_KINDS, *sorted(set(tallies) - set(ENTITY_KINDS))]
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
        for kind in kinds
        if (tally := tallies.get(kind))
    ]


def format_table(tallies: Mapping[str, Tally]) -> str:
    """Return the rows in Markdown."""
    lines = [
        "| kind | marked | found | recall | removed | detections | correct | precision | "
        "wrong detections |",
        "|---" * 9 + "|",
    ]
    for row in build_rows(tallies):
        name = f"**{row['kind']}**" if row["form"] else row["kind"]
        wrong = ", ".join(f"{count} {kind}" for kind, count in row["instead"].items())
        precision = "" if row["precision"] is None else f"{row['precision']:.3f}"
        lines.append(
            f"| {name} | {row['marked']} | {row['found']} | {row['recall']:.3f} | "
            f"{row['gone'] or 0:.3f}"
            f" | {row['finds']} | {row['right']} | {precision} | {wrong} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Print the tables; return 1 if a bound is missed, 2 without records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, default=RECORDS_FILE)
    parser.add_argument(
        "--show", default="", metavar="KIND", help="print the errors of one kind of the records"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.records.is_file():
        sys.stderr.write(
            f"error: {arguments.records} does not exist. Name a file with --records.\n"
        )
        return 2
    records = read_records(arguments.records)
    began = time.perf_counter()
    parts = dict(
        zip(
            ("visible half", "other half"),
            (count_by_kind(half, arguments.show) for half in split_halves(records)),
            strict=True,
        )
    )
    seconds = time.perf_counter() - began
    parts["all"] = whole = count_by_kind(records)
    speed = sum(len(record.text) for record in records) / seconds
    if arguments.json:
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
            f"{len(records)} records, {speed:,.0f} characters a second; structured kinds are "
            f"in bold\n"
        )
        sys.stderr.write("".join(f"missed: {kind}\n" for kind in kinds_below_bound(whole)))
    return int(bool(kinds_below_bound(whole)))


if __name__ == "__main__":
    sys.exit(main())
