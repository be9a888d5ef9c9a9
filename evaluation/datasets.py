"""What is measured on: BEIR's queries and judgements, questions with gold answers, the golden file of the sample."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from core.errors import InvalidInput

QuestionKind = Literal["answerable", "unanswerable", "forbidden"]
Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question of a retrieval benchmark."""

    query_id: str
    text: str


@dataclass(frozen=True, slots=True)
class CorpusQuestion:
    """A question about a corpus: the passage it was written for, whether that answers it, and the accepted answers."""

    question: str
    passage_id: str
    answerable: bool
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GoldenQuestion:
    """A question to a tenant by a member of some groups.

    An answer must cite one of `documents` and hold all of `contains`. `withheld` are paths that a forbidden question
    must not bring to light.
    """

    question_id: str
    question: str
    tenant: str
    groups: tuple[str, ...]
    kind: QuestionKind
    documents: tuple[str, ...]
    contains: tuple[str, ...]
    withheld: tuple[str, ...] = ()


def read_queries(file: Path) -> list[Query]:
    """The queries of a BEIR `queries.jsonl`.

    Raises:
        InvalidInput: no such file, nothing in it, or a line that is not an object with `_id` and `text`.
    """
    rows = _read_json_lines(file, "queries.jsonl", ("_id", "text"))
    return [Query(str(row["_id"]), str(row["text"])) for row in rows]


def read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """The judgements of a BEIR `qrels.tsv`: query id, document id, grade; a header line may stand above them.

    Raises:
        InvalidInput: no such file, nothing in it, or a line that is not these three.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(_read_lines(file, "qrels.tsv"), start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        if number == 1 and fields[-1].strip() == "score":
            continue
        try:
            query_id, name, grade = (field.strip() for field in fields)
            qrels.setdefault(query_id, {})[name] = int(grade)
        except ValueError as error:
            raise InvalidInput(
                f"{file}, line {number}: each line must be a query id, a document id and a whole number, with tabs."
            ) from error
    if not qrels:
        raise InvalidInput(f"{file} holds no judgement.")
    return qrels


def read_questions(file: Path) -> list[CorpusQuestion]:
    """The questions of a `questions.jsonl`.

    Raises:
        InvalidInput: no such file, nothing in it, or a line that is not an object with `question`, `passage_id` and
            `answerable`.
    """
    rows = _read_json_lines(file, "questions.jsonl", ("question", "passage_id", "answerable"))
    return [
        CorpusQuestion(
            str(row["question"]),
            str(row["passage_id"]),
            bool(row["answerable"]),
            tuple(str(answer) for answer in row.get("answers") or ()),
        )
        for row in rows
    ]


def read_golden(file: Path) -> list[GoldenQuestion]:
    """The questions of a golden file.

    Raises:
        InvalidInput: no such file, no YAML list, or an entry that lacks something; the sentence names the entry.
    """
    if not file.is_file():
        raise InvalidInput(f"There is no golden file at {file}; name a YAML list of questions.")
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} is not readable as YAML; correct it.") from error
    if not isinstance(entries, list) or not entries:
        raise InvalidInput(f"{file} holds no list of questions.")
    return [
        _parse_golden_question(file, number, entry) for number, entry in enumerate(entries, start=1)
    ]


def _parse_golden_question(file: Path, number: int, entry: Any) -> GoldenQuestion:
    try:
        kind: QuestionKind = entry["kind"]
        lists = {
            key: tuple(map(str, entry.get(key) or ()))
            for key in ("groups", "documents", "contains", "withheld")
        }
        golden = GoldenQuestion(
            question_id=str(entry["id"]),
            question=str(entry["question"]),
            tenant=str(entry["tenant"]),
            kind=kind,
            **lists,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{file}, entry {number}: it needs id, question, tenant and kind."
        ) from error
    if kind not in get_args(QuestionKind):
        raise InvalidInput(
            f"{file}, entry {golden.question_id}: its kind must be one of {', '.join(get_args(QuestionKind))}."
        )
    return golden


def _read_json_lines(
    file: Path, format_name: str, keys: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    found = False
    for number, line in enumerate(_read_lines(file, format_name), start=1):
        try:
            row = json.loads(line)
            complete = all(key in row for key in keys)
        except (ValueError, TypeError) as error:
            raise InvalidInput(_format_missing_keys(file, number, keys)) from error
        if not isinstance(row, dict) or not complete:
            raise InvalidInput(_format_missing_keys(file, number, keys))
        found = True
        yield row
    if not found:
        raise InvalidInput(f"{file} is empty; name a {format_name}.")


def _format_missing_keys(file: Path, number: int, keys: tuple[str, ...]) -> str:
    return f"{file}, line {number}: each line must be a JSON object with {', '.join(keys)}."


def _read_lines(file: Path, format_name: str) -> list[str]:
    if not file.is_file():
        raise InvalidInput(f"There is no file at {file}; name a {format_name}.")
    try:
        return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8 text.") from error
