"""Comparison of chunkers by the share of questions whose answer is in the retrieved chunks.

    python -m bench.chunking [DATA]            DATA holds squad/; `--articles 2` for a quick look

The passages of each SQuAD article that have questions are joined into one Markdown document, which
every setting cuts in its own way; the chunks of all articles compete. A question counts as answered
if one of the retrieved chunks contains the whole answer at the place that the asker marked. Chunks
are taken best first while their texts fit into 500 and into 1,000 tokens, so that large chunks have
no advantage. `dense` ranks by the cosine of question and chunk; `hybrid` by half of that and half
of BM25 (bm25s, the terms of the product), each scaled to between 0 and 1 over all chunks. In
brackets behind the figures for 1,000 tokens is the 95 % interval of the difference from the
default, by resampling of the questions.

`with context` embeds and indexes the title too, as ingestion does; `text alone` does not.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import build_parser
from bench.retrieval import bootstrap_interval
from core.embedding import Embedder, load_embedder
from core.settings import load_settings
from core.text.sentences import split_sentences
from core.text.terms import extract_terms
from core.types import Chunk, Location, Span
from ingest.chunkers import fixed, sentence_window, structure
from ingest.chunkers.registry import Chunker
from ingest.chunkers.token_counter import TokenOffsets
from ingest.parsers.file_parser import parse_file
from ingest.parsers.types import ParsedDocument

BUDGETS = (500, 1_000)
DEFAULT = "structure 180"

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Question:
    """Question, the document that answers it, and the spans of its answers, any of which counts."""

    text: str
    document: str
    answers: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Chunk of a document, and the text of it that is embedded and indexed."""

    document: str
    span: Span
    shown: str
    tokens: int


def fixed_size_chunker(size: int, overlap: int) -> Chunker:
    """Return a chunker that cuts after `size` tokens and repeats `overlap` in the next chunk."""

    def chunk(
        parsed: ParsedDocument, title: str, token_offsets: TokenOffsets, max_tokens: int
    ) -> list[Chunk]:
        starts = [*token_offsets(parsed.text), len(parsed.text)]
        firsts = range(0, max(1, len(starts) - 1 - overlap), size - overlap)
        spans = [
            Span(starts[first], starts[min(first + size, len(starts) - 1)]) for first in firsts
        ]
        return [
            Chunk(
                place,
                span,
                parsed.text[slice(*span)],
                title,
                Location(),
                tuple(split_sentences(parsed.text, span)),
                size,
            )
            for place, span in enumerate(spans)
        ]

    return chunk


# Name -> the chunker, and True if the context is embedded and indexed too.
SETTINGS: Mapping[str, tuple[Chunker, bool]] = {
    DEFAULT: (structure.chunk_document, True),
    "structure 180, text alone": (structure.chunk_document, False),
    "structure 120": (partial(structure.chunk_document, target_tokens=120), True),
    "structure 120, text alone": (partial(structure.chunk_document, target_tokens=120), False),
    "structure 60": (partial(structure.chunk_document, target_tokens=60), True),
    "fixed": (fixed.chunk_document, True),
    "sentence-window": (sentence_window.chunk_document, True),
    "every 180 tokens": (fixed_size_chunker(180, 0), True),
    "every 180 tokens, 30 overlap": (fixed_size_chunker(180, 30), True),
    "every 180 tokens, 60 overlap": (fixed_size_chunker(180, 60), True),
    "every 120 tokens, 20 overlap": (fixed_size_chunker(120, 20), True),
}


def main() -> None:
    """Measure all settings and print a table."""
    parser = build_parser("bench.chunking", __doc__)
    parser.add_argument(
        "--articles", type=int, default=0, help="number of articles from the first on; 0: all"
    )
    arguments = parser.parse_args()
    settings = load_settings()
    embedder = load_embedder(settings.embedding_model, settings.embedding_dtype)
    documents, questions = read(arguments.data / "squad", arguments.articles)
    question_vectors = embedder.encode([question.text for question in questions])
    results = {
        name: outcomes(setting, documents, questions, question_vectors, embedder)
        for name, setting in SETTINGS.items()
    }
    _print(results, len(documents), len(questions))


def read(folder: Path, most: int = 0) -> tuple[dict[str, ParsedDocument], list[Question]]:
    """Return the articles as documents, by title, and their answerable questions."""
    passages = {row["_id"]: row for row in _rows(folder / "corpus.jsonl")}
    rows = [row for row in _rows(folder / "questions.jsonl") if row["answerable"]]
    titles = list(dict.fromkeys(passages[row["passage_id"]]["title"] for row in rows))[
        : most or None
    ]
    documents = {
        title: _document(
            title, [passage["text"] for passage in passages.values() if passage["title"] == title]
        )
        for title in titles
    }
    questions = [
        Question(row["question"], title, spans)
        for row in rows
        if (title := passages[row["passage_id"]]["title"]) in documents
        if (
            spans := _answers(
                documents[title].text, passages[row["passage_id"]]["text"], row["answers"]
            )
        )
    ]
    return documents, questions


def outcomes(
    setting: tuple[Chunker, bool],
    documents: Mapping[str, ParsedDocument],
    questions: Sequence[Question],
    question_vectors: NDArray[np.float32],
    embedder: Embedder,
) -> dict[str, list[float]]:
    """Return 1 or 0 per question, by ranking and budget, and the tokens of each chunk."""
    pieces: list[Piece] = []
    for title, parsed in documents.items():
        pieces += _cut(setting, title, parsed, embedder)
    shown = [piece.shown for piece in pieces]
    dense: Scores = (question_vectors @ embedder.encode(shown).T).astype(np.float64)
    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index([extract_terms(text) for text in shown], show_progress=False)
    lexical = np.stack([index.get_scores(extract_terms(question.text)) for question in questions])
    rankings = {"dense": dense, "hybrid": _scaled(dense) + _scaled(lexical)}
    results = {"tokens": [float(piece.tokens) for piece in pieces]}
    for (name, scores), budget in product(rankings.items(), BUDGETS):
        hits = results[f"{name} {budget}"] = []
        for question, row in zip(questions, scores, strict=True):
            ranked = [pieces[index] for index in np.argsort(-row)]
            hits.append(float(_contains_answer(question, ranked, budget)))
    return results


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, file.read_text(encoding="utf-8").splitlines())


def _document(title: str, passages: Sequence[str]) -> ParsedDocument:
    markdown = "\n\n".join([f"# {title}", *(passage.replace("\n", " ") for passage in passages)])
    return parse_file(f"{title}.md", markdown.encode())[1]


def _answers(text: str, passage: str, answers: Sequence[str]) -> tuple[Span, ...]:
    """Return the spans of the answers; none if Markdown changed the text of the passage."""
    begin = text.find(passage)
    if begin < 0:
        return ()
    places = ((passage.find(answer), answer) for answer in answers)
    return tuple(Span(begin + at, begin + at + len(answer)) for at, answer in places if at >= 0)


def _cut(
    setting: tuple[Chunker, bool], title: str, parsed: ParsedDocument, embedder: Embedder
) -> Iterator[Piece]:
    cut, with_context = setting
    for chunk in cut(parsed, title, embedder.token_starts, embedder.max_input_tokens):
        shown = f"{chunk.context}\n{chunk.text}" if with_context else chunk.text
        yield Piece(title, chunk.span, shown, len(embedder.token_starts(chunk.text)))


def _scaled(scores: Scores) -> Scores:
    low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
    scaled: Scores = (scores - low) / np.maximum(high - low, 1e-9)
    return scaled


def _contains_answer(question: Question, ranked: Sequence[Piece], budget: int) -> bool:
    for piece in ranked:
        budget -= piece.tokens
        if budget < 0:
            return False
        if piece.document == question.document and any(
            piece.span.start <= answer.start and answer.end <= piece.span.end
            for answer in question.answers
        ):
            return True
    return False


def _print(
    results: Mapping[str, Mapping[str, Sequence[float]]], documents: int, questions: int
) -> None:
    columns = [f"{name} {budget}" for name, budget in product(("dense", "hybrid"), BUDGETS)]
    table = Table(
        "setting",
        "chunks",
        "tokens",
        *columns,
        box=None,
        pad_edge=False,
        title=f"SQuAD: {documents} documents, {questions} questions",
    )
    for name, outcome in results.items():
        cells = [
            _cell(outcome[column], results[DEFAULT][column], column, name) for column in columns
        ]
        table.add_row(
            name, str(len(outcome["tokens"])), f"{np.mean(outcome['tokens']):.0f}", *cells
        )
    Console(highlight=False, width=140).print(table)


def _cell(outcome: Sequence[float], default: Sequence[float], column: str, name: str) -> str:
    mean = f"{np.mean(outcome):.3f}"
    if name == DEFAULT or not column.endswith(str(BUDGETS[-1])):
        return mean
    low, high = bootstrap_interval(
        [one - other for one, other in zip(outcome, default, strict=True)]
    )
    return f"{mean} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
