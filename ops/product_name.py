"""List every place in the tracked files that holds the product's name, grouped by kind.

    python ops/product_name.py           a list for people
    python ops/product_name.py --json    the same as JSON

The name is `project.name` in pyproject.toml.
"""

import argparse
import json
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Patterns for the text around the name, tried in this order. {name} is the product's name.
TEXT_KINDS = {
    "environment variable": r"(?-i:{NAME})_",
    "database role": r"{name}_(app|reader|writer)\b",
    "database setting": r"{name}\.(tenant|groups|owner)\b",
    "HTTP header": r"(?<=\bX-){name}-",
}
# Patterns for the path of the file, tried if no pattern for the text matches.
PATH_KINDS = {
    "package": r"pyproject\.toml$|requirements.*\.lock$",
    "deployment": r"(Dockerfile|Makefile|\.env\.example|docker-compose\.yml|\.dockerignore)$|^ops/",
    "documentation": r"\.(md|svg)$|^LICENSE$",
    "database object": r"\.sql$",
    "test": r"^tests/",
    "code": r"",
}


@dataclass(frozen=True, slots=True)
class Mention:
    """One place that holds the name. Line 0 is the path of the file itself."""

    kind: str
    path: str
    line: int
    text: str


def find_mentions(root: Path, paths: Iterable[str], name: str) -> Iterator[Mention]:
    """Return the mentions in text files, in the order of the paths."""
    patterns = {}
    for kind, template in TEXT_KINDS.items():
        pattern = template.replace("{name}", re.escape(name)).replace("{NAME}", name.upper())
        patterns[kind] = re.compile(pattern, re.IGNORECASE)
    any_case = re.compile(re.escape(name), re.IGNORECASE)
    for path in paths:
        if any_case.search(path):
            yield Mention("file name", path, 0, path)
        for number, line in enumerate(_read_lines(root / path), start=1):
            kinds = {
                _classify(path, line, match.start(), patterns) for match in any_case.finditer(line)
            }
            for kind in sorted(kinds):
                yield Mention(kind, path, number, line.strip())


def _classify(path: str, line: str, start: int, patterns: dict[str, re.Pattern[str]]) -> str:
    for kind, pattern in patterns.items():
        if pattern.match(line, start):
            return kind
    return next(kind for kind, pattern in PATH_KINDS.items() if re.search(pattern, path))


def _read_lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError):  # an image, or a file that was deleted
        return []


def _list_tracked_files() -> list[str]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return listed.stdout.split("\0")[:-1]


def main() -> None:
    """Print the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    as_json = parser.parse_args().json
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    mentions = sorted(
        find_mentions(ROOT, _list_tracked_files(), project["name"]),
        key=lambda mention: (mention.kind, mention.path, mention.line),
    )
    if as_json:
        print(json.dumps([asdict(mention) for mention in mentions], indent=2, ensure_ascii=False))
        return
    for kind, group in groupby(mentions, key=lambda mention: mention.kind):
        members = list(group)
        print(f"{kind}: {len(members)} lines in {len({each.path for each in members})} files")
        for mention in members:
            print(f"  {mention.path}:{mention.line}: {mention.text}")


if __name__ == "__main__":
    main()
