"""Ingestion beside LlamaIndex's own pipeline, and beside what the model alone can do on the same texts.

    make bench-ingest                          or: python -m bench.ingest [DATA]      200 files, side by side
    python -m bench.ingest --growth            all files, then 1 % changed and 1 % removed, then nothing to do

DATA holds powershell-docs.tar.gz. The 200 files are every fifteenth of it in the order of their paths. Each contestant
is a process of its own, one after the other; the clock starts when its model is loaded and has run once. Memory is the
largest sum of what the process and its children hold at once, PostgreSQL left out, which is shared by all and started
before. Processor seconds are those of the contestant, again without PostgreSQL.

Limit: the model on every core and nothing beside it, no parsing, no database, on every third of the same texts, with
the same numbers, each different text once. It is measured as `core/embedding.py` batches them and as
sentence-transformers does by itself, sorted by length in batches of 16; the quicker of the two counts. Tokens are
those that went through the model. Groundwork stores files with the same bytes once and computes the same text once;
LlamaIndex embeds all it is given.

LlamaIndex: IngestionPipeline of SentenceSplitter (256 tokens, 20 of them overlap), HuggingFaceEmbedding with the same
weights, and PGVectorStore in hybrid mode, all else as it comes. It needs the dependency group `bench`.
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
CHANGE_INTERVAL = 100  # one file in so many is changed, another removed
TEXT_INTERVAL = 3  # text counts for the limit
MEMORY_POLL_SECONDS = 0.2  # seconds between two looks at the memory

Result = dict[str, Any]


def main() -> None:
    """Run the contestants and print the tables."""
    made = build_parser("bench.ingest", __doc__)
    made.add_argument(
        "--files", type=int, default=SAMPLE_FILES, help="how many are taken in side by side"
    )
    made.add_argument(
        "--growth", action="store_true", help="all files, then few changes, then none"
    )
    made.add_argument(
        "--sentences", choices=("on", "off"), default="on", help="with --growth: sentence vectors"
    )
    made.add_argument(
        "--contestant",
        choices=CONTESTANTS,
        help="what this process is to do; for the program itself",
    )
    given = made.parse_args()
    if given.contestant:
        sys.stdout.write(json.dumps(CONTESTANTS[given.contestant](given.data)))
        return
    with (
        tempfile.TemporaryDirectory(prefix="bench-ingest-") as place,
        _start_server(Path(place)) as address,
    ):
        whole, sample = _unpack_archive(given.data / ARCHIVE_NAME, Path(place), given.files)
        if given.growth:
            _print_growth(
                _run_contestant("growth", whole, address, given.sentences), given.sentences
            )
        else:
            _print_comparison(_compare_contestants(sample, address))


# --- the parent -----------------------------------------------------------------------------------------------------


@contextmanager
def _start_server(place: Path) -> Iterator[str]:
    """A server of its own; the address for the application."""
    embedded, _ = start_embedded_postgres(Settings(home=place, database_url=""))
    try:
        yield embedded.conninfo("groundwork_app")
    finally:
        embedded.stop()


def _unpack_archive(archive: Path, place: Path, count: int) -> tuple[Path, Path]:
    """The folders of all files and of the few."""
    whole, sample = place / "whole", place / "sample"
    with tarfile.open(archive) as opened:
        opened.extractall(whole, filter="data")
    files = _list_files(whole)
    for file in files[:: max(1, len(files) // count)][:count]:
        (sample / file.relative_to(whole)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, sample / file.relative_to(whole))
    return whole, sample


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _compare_contestants(sample: Path, address: str) -> dict[str, Result]:
    """By name, in the order of the table."""
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
    """One contestant in its process, and the most memory that it had."""
    Console(stderr=True).print(f"{contestant}, sentence vectors {sentences} ...")
    environment = {
        **os.environ,
        "GROUNDWORK_DATABASE_URL": address,
        "GROUNDWORK_SENTENCE_VECTORS": sentences,
        "GROUNDWORK_HOME": str(folder.parent),
    }
    command = [sys.executable, "-m", "bench.ingest", str(folder), "--contestant", contestant]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        most = [0]
        watch = threading.Thread(target=_watch_memory, args=(process, most), daemon=True)
        watch.start()
        said, _ = process.communicate()
        watch.join()
    if process.returncode:
        raise SystemExit(f"{contestant} ended with {process.returncode}")
    return {**json.loads(said), "memory": most[0]}


def _watch_memory(process: "subprocess.Popen[str]", most: list[int]) -> None:
    while process.poll() is None:
        most[0] = max(most[0], measure_memory(process.pid))
        time.sleep(MEMORY_POLL_SECONDS)


def measure_memory(pid: int) -> int:
    """Bytes that a process and all below it hold; 0 where the system doesn't tell or the process is gone."""
    try:
        held = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        children = [
            file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")
        ]
    except OSError:
        return 0
    return held + sum(measure_memory(int(child)) for some in children for child in some)


# --- the contestants ------------------------------------------------------------------------------------------------


def ingest_with_groundwork(folder: Path) -> Result:
    """The folder taken in, by the same calls as the flow's."""
    with open_services(load_settings()) as services:
        return _measure_ingest(services, folder, f"bench-{services.settings.sentence_vectors}")


def ingest_with_changes(folder: Path) -> Result:
    """The folder taken in; again after a share of it was changed and as much removed; again as it is."""
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
            raise SystemExit("the third run should have found nothing to do")
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
    """The model alone on the folder's texts."""
    settings = load_settings()
    embedder = SentenceTransformerEmbedder(settings.embedding_model, settings.embedding_dtype)
    files = len(_list_files(folder))
    texts = list(dict.fromkeys(_chunk_texts(folder, embedder, settings)))[::TEXT_INTERVAL]
    embedder.encode(texts[:64])
    ways: dict[str, Callable[[], object]] = {
        "as batched here": lambda: embedder.encode(texts),
        "sentence-transformers alone": lambda: embedder._model.encode(
            texts, batch_size=16, show_progress_bar=False
        ),
    }
    found: list[Result] = []
    before = embedder.encoded_tokens
    for name, way in ways.items():
        with _measure_seconds() as times:
            way()
        found.append({"files": files, "chunks": len(texts), "way": name, **times})
    tokens = embedder.encoded_tokens - before
    return min(found, key=lambda one: float(one["seconds"])) | {
        "tokens": tokens,
        "ways": {one["way"]: tokens / one["seconds"] for one in found},
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
    """LlamaIndex's pipeline on the same files."""
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
    """Seconds, and seconds of the processor, that pass inside."""
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


# --- the tables -----------------------------------------------------------------------------------------------------


def _print_comparison(results: Mapping[str, Result]) -> None:
    table = Table(
        "",
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
        ours, most = results[f"Groundwork{kind}"], results[f"limit{kind}"]
        ways = ", ".join(f"{way} {speed:,.0f}" for way, speed in most["ways"].items())
        console.print(f"limit{kind}, tokens/s: {ways}")
        said = f"Groundwork{kind}: {per_second(ours, 'tokens') / per_second(most, 'tokens'):.0%} of the limit"
        if "LlamaIndex" in results:
            said += f", {per_second(ours, 'chunks') / per_second(results['LlamaIndex'], 'chunks'):.1f} times LlamaIndex's chunks/s"
            said += f", {results['LlamaIndex']['seconds'] / ours['seconds']:.1f} times its files/s"
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in ours["stages"].items())
        console.print(f"{said}; seconds of all threads: {stages}")


def _print_growth(result: Result, sentences: str) -> None:
    table = Table(
        "",
        "s",
        "files",
        "chunks",
        "chunks/s",
        "tokens",
        "tokens/s",
        "what became of them",
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
    """How many a second."""
    return float(result[of]) / max(float(result["seconds"]), 1e-9)


if __name__ == "__main__":
    main()
