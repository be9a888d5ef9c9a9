"""Readers of BEIR's queries and judgements, of questions with answers, and of golden files."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from core.errors import InvalidInput
from retrieval.retriever import check_question

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
    """A question about a corpus, with the passage it was written for and accepted answers."""

    question: str
    passage_id: str
    answerable: bool
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GoldenQuestion:
    """A question to a tenant by a member of some groups.

    An answer must cite one of `documents` and hold all of `contains`. The answer to a forbidden
    question must not show the paths in `withheld`.
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
    """Return the queries of a BEIR `queries.jsonl`.

    Raises:
        InvalidInput: the file is missing or empty, or a line has no `_id` or `text`.
    """
    rows = read_json_lines(file, "queries.jsonl", ("_id", "text"))
    return [Query(str(row["_id"]), check_question(str(row["text"]))) for row in rows]


def read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """Return the judgements of a BEIR `qrels.tsv`; the first line may be a header.

    Raises:
        InvalidInput: the file is missing or empty, or a line has another form.
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
                f"{file}, line {number}: each line must be a query id, a document id and a whole"
                " number, with tabs."
            ) from error
    if not qrels:
        raise InvalidInput(f"{file} has no judgements. Use a qrels.tsv.")
    return qrels


def read_questions(file: Path) -> list[CorpusQuestion]:
    """Return the questions of a `questions.jsonl`.

    Raises:
        InvalidInput: the file is missing or empty, or a line is not an object with `question`,
            `passage_id` and `answerable`.
    """
    rows = read_json_lines(file, "questions.jsonl", ("question", "passage_id", "answerable"))
    return [
        CorpusQuestion(
            check_question(str(row["question"])),
            str(row["passage_id"]),
            bool(row["answerable"]),
            tuple(str(answer) for answer in row.get("answers") or ()),
        )
        for row in rows
    ]


def read_golden(file: Path) -> list[GoldenQuestion]:
    """Return the questions of a golden file.

    Raises:
        InvalidInput: the file is missing or not a YAML list, or an entry lacks something.
    """
    if not file.is_file():
        raise InvalidInput(f"There is no golden file at {file}. Name a YAML list of questions.")
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} is not YAML. Correct it.") from error
    if not isinstance(entries, list) or not entries:
        raise InvalidInput(
            f"{file} is not a list of questions. Use the form of sample/golden.yaml."
        )
    return [_parse_golden(file, number, entry) for number, entry in enumerate(entries, start=1)]


def _parse_golden(file: Path, number: int, entry: Any) -> GoldenQuestion:
    try:
        golden = GoldenQuestion(
            question_id=str(entry["id"]),
            question=check_question(str(entry["question"])),
            tenant=str(entry["tenant"]),
            groups=_read_strings(entry, "groups"),
            kind=entry["kind"],
            documents=_read_strings(entry, "documents"),
            contains=_read_strings(entry, "contains"),
            withheld=_read_strings(entry, "withheld"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{file}, entry {number}: it needs id, question, tenant and kind."
        ) from error
    kinds = get_args(QuestionKind)
    if golden.kind not in kinds:
        raise InvalidInput(f"{file}, entry {number}: its kind must be one of {', '.join(kinds)}.")
    return golden


def _read_strings(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(map(str, entry.get(key) or ()))


def read_json_lines(
    file: Path, format_name: str, keys: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Yield the object on each line of a file.

    Raises:
        InvalidInput: the file is missing or empty, or a line is not an object with all `keys`.
    """
    lines = _read_lines(file, format_name)
    if not lines:
        raise InvalidInput(f"{file} is empty. Name a {format_name}.")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not row.keys() >= set(keys):
            raise InvalidInput(
                f"{file}, line {number}: each line must be a JSON object with {', '.join(keys)}."
            )
        yield row


def _read_lines(file: Path, format_name: str) -> list[str]:
    if not file.is_file():
        raise InvalidInput(f"There is no file at {file}. Name a {format_name}.")
    try:
        return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8 text. Convert it.") from error
