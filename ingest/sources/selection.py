"""Which of a source's files are wanted, and who may read each: patterns on the path below the source."""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from core.errors import InvalidInput
from core.principal import check_name

READERS_FILE = "readers.yaml"


@dataclass(frozen=True, slots=True)
class ReaderRule:
    """Files whose path below the source matches `pattern` are for `readers` only."""

    pattern: str
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a person asked for: `readers` by default, paths to include (none: all) and to exclude; exclusion wins."""

    readers: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def wants(self, path: str) -> bool:
        """Whether a path is to be taken in; hidden ones (a part begins with a dot) and the rule file never are."""
        if path == READERS_FILE or any(part.startswith(".") for part in path.split("/")):
            return False
        included = not self.include or any(matches(path, pattern) for pattern in self.include)
        return included and not any(matches(path, pattern) for pattern in self.exclude)

    def readers_of(self, path: str, rules: Sequence[ReaderRule]) -> tuple[str, ...]:
        """Who may read it: the first rule that matches decides, else the default."""
        return next((rule.readers for rule in rules if matches(path, rule.pattern)), self.readers)

    @property
    def narrowed(self) -> str:
        """How to say that patterns may be why nothing was found."""
        return " that --include and --exclude leave" if self.include or self.exclude else ""


def select(readers: Iterable[str], include: Iterable[str], exclude: Iterable[str]) -> Selection:
    """The selection that a person's options name.

    Raises:
        InvalidInput: a reader's name can't be one.
    """
    checked = tuple(sorted({check_name("group", reader) for reader in readers}))
    return Selection(checked, tuple(include), tuple(exclude))


def matches(path: str, pattern: str) -> bool:
    """Whether a path matches: `*` and `?` also stand for slashes, and `**/` at the start also for no folder at all."""
    return fnmatch.fnmatchcase(path, pattern) or (
        pattern.startswith("**/") and fnmatch.fnmatchcase(path, pattern.removeprefix("**/"))
    )


def read_rules(name: str, content: bytes) -> list[ReaderRule]:
    """The rules of a `readers.yaml` called `name`, in order.

    Raises:
        InvalidInput: it is not `rules:` with a `pattern` and `readers` each. A rule that can't be read must stop the
            run: without it a restricted document would be open to everyone.
    """
    try:
        parsed: Any = yaml.safe_load(content.decode())
        return [
            ReaderRule(str(rule["pattern"]), tuple(sorted(check_name("group", reader) for reader in rule["readers"])))
            for rule in parsed["rules"]
        ]
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{name} can't be understood; write `rules:` and a list of `pattern:` with `readers:` each."
        ) from error
