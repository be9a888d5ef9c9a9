"""Which of a source's files are wanted, and who may read each: patterns on the path below the source."""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from core.errors import InvalidInput
from core.principal import check_name

ACCESS_RULES_FILE = "readers.yaml"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Files whose path below the source matches `pattern` are for `readers` only."""

    pattern: str
    allowed_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileSelection:
    """What a person asked for: `readers` by default, paths to include (none: all) and to exclude; exclusion wins."""

    default_groups: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def includes_path(self, path: str) -> bool:
        """Whether a path is to be taken in; hidden ones (a part begins with a dot) and the rule file never are."""
        if path == ACCESS_RULES_FILE or any(part.startswith(".") for part in path.split("/")):
            return False
        included = not self.include or any(
            matches_pattern(path, pattern) for pattern in self.include
        )
        return included and not any(matches_pattern(path, pattern) for pattern in self.exclude)

    def groups_for(self, path: str, rules: Sequence[AccessRule]) -> tuple[str, ...]:
        """Who may read it: the first rule that matches decides, else the default."""
        return next(
            (rule.allowed_groups for rule in rules if matches_pattern(path, rule.pattern)),
            self.default_groups,
        )

    @property
    def pattern_hint(self) -> str:
        """How to say that patterns may be why nothing was found."""
        return " that --include and --exclude leave" if self.include or self.exclude else ""


def build_selection(
    allowed_groups: Iterable[str], include: Iterable[str], exclude: Iterable[str]
) -> FileSelection:
    """The selection that a person's options name.

    Raises:
        InvalidInput: a reader's name can't be one.
    """
    checked = tuple(sorted({check_name("group", reader) for reader in allowed_groups}))
    return FileSelection(checked, tuple(include), tuple(exclude))


def matches_pattern(path: str, pattern: str) -> bool:
    """Whether a path matches: `*` and `?` also stand for slashes, and `**/` at the start also for no folder at all."""
    return fnmatch.fnmatchcase(path, pattern) or (
        pattern.startswith("**/") and fnmatch.fnmatchcase(path, pattern.removeprefix("**/"))
    )


def parse_access_rules(name: str, content: bytes) -> list[AccessRule]:
    """The rules of a `readers.yaml` called `name`, in order.

    Raises:
        InvalidInput: it is not `rules:` with a `pattern` and `readers` each. A rule that can't be read must stop the
            run: without it a restricted document would be open to everyone.
    """
    try:
        parsed: Any = yaml.safe_load(content.decode())
        return [
            AccessRule(
                str(rule["pattern"]),
                tuple(sorted(check_name("group", reader) for reader in rule["readers"])),
            )
            for rule in parsed["rules"]
        ]
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{name} can't be understood; write `rules:` and a list of `pattern:` with `readers:` each."
        ) from error
