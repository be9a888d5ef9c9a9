"""Speed of ingestion, compared with LlamaIndex's pipeline and with the model alone.

    make bench-ingest                          or: python -m bench.ingest [DATA]      200 files
    python -m bench.ingest --growth            all files, then 1 % changed, 1 % removed, then none

DATA holds powershell-docs.tar.gz. The 200 files are every fifteenth in the order of their paths.
Each contestant is a separate process, one after the other; the clock starts when its model is
loaded and has run once. Memory is the largest sum of the process and its children, without
PostgreSQL, which is shared and already runs. Processor seconds are those of the contestant, again
without PostgreSQL.

limit: the model on every core, without parsing and database, on every third of the same texts, with
the same precision, each different text once. It is measured with the batches of
`core/embedding.py`, and with those of sentence-transformers, sorted by length in batches of 16; the
faster one counts. Tokens are those that the model processed. Groundwork stores files with the same
bytes once and embeds the same text once; LlamaIndex embeds all of its input.

LlamaIndex: IngestionPipeline of SentenceSplitter (256 tokens, 20 of them overlap),
HuggingFaceEmbedding with the same weights, and PGVectorStore in hybrid mode, otherwise with its
defaults. It needs the dependency group `bench`.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict
from rich.console import Console
from rich.table import Table

from bench import build_parser, llamaindex
from core.embedders.sentence_transformer import SentenceTransformerEmbedder
from core.model_files import find_model
from core.services import Services, open_services, start_embedded_postgres
from core.settings import Settings, load_settings
from ingest.chunkers.registry import load_chunker
from ingest.parsers.file_parser import parse_file
from ingest.pipeline import build_source_spec, ingest_sources, plan_run

ARCHIVE_NAME = "powershell-docs.tar.gz"
SAMPLE_FILES = 200
CHANGE_INTERVAL = 100  # one file in 100 is changed, another one removed
TEXT_INTERVAL = 3  # one text in 3 is measured for the limit
MEMORY_POLL_SECONDS = 0.2

Result = dict[str, Any]


def main() -> None:
    """Run the contestants and print the tables."""
    parser = build_parser("bench.ingest", __doc__)
    parser.add_argument(
        "--files", type=int, default=SAMPLE_FILES, help="number of files in the comparison"
    )
    parser.add_argument(
        "--growth", action="store_true", help="all files, then a few changes, then none"
    )
    parser.add_argument(
        "--sentences", choices=("on", "off"), default="on", help="sentence vectors, with --growth"
    )
    parser.add_argument(
        "--contestant", choices=CONTESTANTS, help="internal: the task of this process"
    )
    arguments = parser.parse_args()
    if arguments.contestant:
        sys.stdout.write(json.dumps(CONTESTANTS[arguments.contestant](arguments.data)))
        return
    with (
        tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder,
        _start_server(Path(folder)) as address,
    ):
        all_files, sample = _unpack_archive(
            arguments.data / ARCHIVE_NAME, Path(folder), arguments.files
        )
        if arguments.growth:
            _print_growth(
                _run_contestant("growth", all_files, address, arguments.sentences),
                arguments.sentences,
            )
        else:
            _print_comparison(_compare_contestants(sample, address))


# --- parent process -------------------------------------------------------------------------------


@contextmanager
def _start_server(folder: Path) -> Iterator[str]:
    """Start an embedded server; yield the address for the application."""
    embedded, _ = start_embedded_postgres(Settings(home=folder, database_url=""))
    try:
        yield embedded.conninfo("groundwork_app")
    finally:
        embedded.stop()


def _unpack_archive(archive: Path, folder: Path, count: int) -> tuple[Path, Path]:
    """Return the folder of all files and the folder of the sample."""
    all_files, sample = folder / "whole", folder / "sample"
    with tarfile.open(archive) as opened:
        opened.extractall(all_files, filter="data")
    files = _list_files(all_files)
    for file in files[:: max(1, len(files) // count)][:count]:
        (sample / file.relative_to(all_files)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, sample / file.relative_to(all_files))
    return all_files, sample


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _compare_contestants(sample: Path, address: str) -> dict[str, Result]:
    """Return the results by name, in the order of the table."""
    peers = (
        {"LlamaIndex": _run_contestant("llamaindex", sample, address)}
        if llamaindex.can_ingest()
        else {}
    )
    return peers | {
        "Groundwork, passages alone": _run_contestant("groundwork", sample, address, "off"),
        "Groundwork": _run_contestant("groundwork", sample, address, "on"),
        "limit, passages alone": _run_contestant("limit", sample, address, "off"),
        "limit": _run_contestant("limit", sample, address, "on"),
    }


def _run_contestant(contestant: str, folder: Path, address: str, sentences: str = "on") -> Result:
    """Run one contestant in its process; add its peak memory to the result."""
    Console(stderr=True).print(f"{contestant}, sentence vectors {sentences} ...")
    environment = {
        **os.environ,
        "GROUNDWORK_DATABASE_URL": address,
        "GROUNDWORK_SENTENCE_VECTORS": sentences,
        "GROUNDWORK_HOME": str(folder.parent),
    }
    command = [sys.executable, "-m", "bench.ingest", str(folder), "--contestant", contestant]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        peak = [0]
        watch = threading.Thread(target=_watch_memory, args=(process, peak), daemon=True)
        watch.start()
        output, _ = process.communicate()
        watch.join()
    if process.returncode:
        raise SystemExit(f"{contestant} ended with {process.returncode}")
    return {**json.loads(output), "memory": peak[0]}


def _watch_memory(process: "subprocess.Popen[str]", peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], measure_memory(process.pid))
        time.sleep(MEMORY_POLL_SECONDS)


def measure_memory(pid: int) -> int:
    """Return the bytes of a process and its descendants; 0 if unknown or ended."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
        children = [
            file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")
        ]
    except OSError:
        return 0
    return resident + sum(measure_memory(int(child)) for group in children for child in group)


# --- contestants ----------------------------------------------------------------------------------


def ingest_with_groundwork(folder: Path) -> Result:
    """Ingest the folder with the calls that the flow uses."""
    with open_services(load_settings()) as services:
        return _measure_ingest(services, folder, f"bench-{services.settings.sentence_vectors}")


def ingest_with_changes(folder: Path) -> Result:
    """Ingest the folder; again after changes and removals; again without changes."""
    with open_services(load_settings()) as services:
        tenant = f"growth-{services.settings.sentence_vectors}"
        first = _measure_ingest(services, folder, tenant)
        _change_files(folder)
        second = _measure_ingest(services, folder, tenant)
        began = time.perf_counter()
        third = plan_run(services, tenant, [build_source_spec(str(folder))])
        nothing = {
            "files": 0,
            "chunks": 0,
            "tokens": 0,
            "seconds": time.perf_counter() - began,
            "counts": {},
        }
        if not third.is_empty:
            raise SystemExit("the third run found changes; it should find none")
    return {"first": first, "second": second, "third": nothing}


def _measure_ingest(services: Services, folder: Path, tenant: str) -> Result:
    embedder = services.embedder()
    assert isinstance(embedder, SentenceTransformerEmbedder)
    embedder.encode(["a first text, so that nothing is loaded while we measure"] * 2)
    before = embedder.encoded_tokens
    with _measure_seconds() as times:
        report = ingest_sources(services, tenant, [build_source_spec(str(folder))])
    files = sum(count for state, count in report.counts.items() if state != "unchanged")
    return {
        "files": files,
        "chunks": report.chunks,
        "tokens": embedder.encoded_tokens - before,
        "counts": report.counts,
        "stages": report.seconds,
        **times,
    }


def _change_files(folder: Path) -> None:
    files = _list_files(folder)
    for file in files[1::CHANGE_INTERVAL]:
        with file.open("a", encoding="utf-8") as opened:
            opened.write("\n\nThis paragraph was added when the file was changed.\n")
    for file in files[2::CHANGE_INTERVAL]:
        file.unlink()


def measure_model_limit(folder: Path) -> Result:
    """Embed the folder's texts with the model alone."""
    settings = load_settings()
    embedder = SentenceTransformerEmbedder(settings.embedding_model, settings.embedding_dtype)
    files = len(_list_files(folder))
    texts = list(dict.fromkeys(_chunk_texts(folder, embedder, settings)))[::TEXT_INTERVAL]
    embedder.encode(texts[:64])
    batchings: dict[str, Callable[[], object]] = {
        "as batched here": lambda: embedder.encode(texts),
        "sentence-transformers alone": lambda: embedder._model.encode(
            texts, batch_size=16, show_progress_bar=False
        ),
    }
    results: list[Result] = []
    before = embedder.encoded_tokens
    for name, encode in batchings.items():
        with _measure_seconds() as times:
            encode()
        results.append({"files": files, "chunks": len(texts), "way": name, **times})
    tokens = embedder.encoded_tokens - before
    return min(results, key=lambda result: float(result["seconds"])) | {
        "tokens": tokens,
        "ways": {result["way"]: tokens / result["seconds"] for result in results},
    }


def _chunk_texts(
    folder: Path, embedder: SentenceTransformerEmbedder, settings: Settings
) -> Iterator[str]:
    cut = load_chunker(settings.chunker)
    for file in _list_files(folder):
        _, parsed = parse_file(file.name, file.read_bytes())
        for chunk in cut(
            parsed, parsed.title or file.stem, embedder.token_starts, embedder.max_input_tokens
        ):
            yield f"{chunk.context}\n{chunk.text}"
            if settings.sentence_vectors == "on":
                yield from (parsed.text[span.start : span.end] for span in chunk.sentences)


def ingest_with_llamaindex(folder: Path) -> Result:
    """Ingest the same files with LlamaIndex's pipeline."""
    host = str(conninfo_to_dict(load_settings().database_url)["host"])
    texts = {
        str(file.relative_to(folder)): file.read_text("utf-8", "replace")
        for file in _list_files(folder)
    }
    with llamaindex.open_pipeline(host, str(find_model(Settings().embedding_model))) as run:
        with _measure_seconds() as times:
            nodes = run(texts)
        count = SentenceTransformerEmbedder(Settings().embedding_model, "float32")
        tokens = sum(
            min(len(count.token_starts(text)), count.max_input_tokens) + 2 for text in nodes
        )
    return {"files": len(texts), "chunks": len(nodes), "tokens": tokens, **times}


@contextmanager
def _measure_seconds() -> Iterator[dict[str, float]]:
    """Measure seconds and processor seconds of the block."""
    times: dict[str, float] = {}
    began, used = time.perf_counter(), sum(os.times()[:4])
    yield times
    times |= {"seconds": time.perf_counter() - began, "processor": sum(os.times()[:4]) - used}


CONTESTANTS: Mapping[str, Callable[[Path], Result]] = {
    "groundwork": ingest_with_groundwork,
    "growth": ingest_with_changes,
    "limit": measure_model_limit,
    "llamaindex": ingest_with_llamaindex,
}


# --- tables ---------------------------------------------------------------------------------------


def _print_comparison(results: Mapping[str, Result]) -> None:
    table = Table(
        "pipeline",
        "s",
        "processor s",
        "chunks",
        "chunks/s",
        "tokens",
        "tokens/s",
        "MB",
        box=None,
        pad_edge=False,
        title=f"{results['limit']['files']} files of powershell-docs",
    )
    for name, result in results.items():
        table.add_row(
            name,
            f"{result['seconds']:.1f}",
            f"{result['processor']:.1f}",
            f"{result['chunks']:,}",
            f"{per_second(result, 'chunks'):.1f}",
            f"{result['tokens']:,}",
            f"{per_second(result, 'tokens'):,.0f}",
            f"{result['memory'] / 1e6:,.0f}",
        )
    console = Console(highlight=False, width=120)
    console.print(table)
    for kind in (", passages alone", ""):
        ours, limit = results[f"Groundwork{kind}"], results[f"limit{kind}"]
        ways = ", ".join(f"{way} {speed:,.0f}" for way, speed in limit["ways"].items())
        console.print(f"limit{kind}, tokens/s: {ways}")
        summary = (
            f"Groundwork{kind}: "
            f"{per_second(ours, 'tokens') / per_second(limit, 'tokens'):.0%} of the limit"
        )
        if "LlamaIndex" in results:
            summary += (
                f", "
                f"{per_second(ours, 'chunks') / per_second(results['LlamaIndex'], 'chunks'):.1f}"
                " times LlamaIndex's chunks/s"
            )
            summary += (
                f", {results['LlamaIndex']['seconds'] / ours['seconds']:.1f} times its files/s"
            )
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in ours["stages"].items())
        console.print(f"{summary}; seconds of all threads: {stages}")


def _print_growth(result: Result, sentences: str) -> None:
    table = Table(
        "run",
        "s",
        "files",
        "chunks",
        "chunks/s",
        "tokens",
        "tokens/s",
        "outcomes",
        box=None,
        pad_edge=False,
        title=f"All of powershell-docs, sentence vectors {sentences}",
    )
    names = {
        "first": "all",
        "second": f"1 in {CHANGE_INTERVAL} changed, 1 in {CHANGE_INTERVAL} removed",
        "third": "nothing to do",
    }
    for key, name in names.items():
        run = result[key]
        counts = ", ".join(f"{count} {state}" for state, count in run["counts"].items())
        table.add_row(
            name,
            f"{run['seconds']:.1f}",
            f"{run['files']:,}",
            f"{run['chunks']:,}",
            f"{per_second(run, 'chunks'):.1f}",
            f"{run['tokens']:,}",
            f"{per_second(run, 'tokens'):,.0f}",
            counts,
        )
    console = Console(highlight=False, width=150)
    console.print(table)
    stages = ", ".join(
        f"{stage} {seconds:.1f}" for stage, seconds in result["first"]["stages"].items()
    )
    console.print(f"seconds of all threads: {stages}; memory {result['memory'] / 1e6:,.0f} MB")


def per_second(result: Mapping[str, Any], of: str) -> float:
    """Return the value `of` of a result per second."""
    return float(result[of]) / max(float(result["seconds"]), 1e-9)


if __name__ == "__main__":
    main()
