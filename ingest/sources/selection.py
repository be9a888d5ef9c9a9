"""Selection of a source's files, and of the groups that may read each, by path patterns."""

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
    """Only `allowed_groups` may read files whose path below the source matches `pattern`."""

    pattern: str
    allowed_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileSelection:
    """Files to ingest: paths to include (none: all) and to exclude; exclusion wins."""

    default_groups: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def includes_path(self, path: str) -> bool:
        """Return True for a path to ingest; hidden paths and the access rules never are."""
        if path == ACCESS_RULES_FILE or any(part.startswith(".") for part in path.split("/")):
            return False
        included = not self.include or any(
            matches_pattern(path, pattern) for pattern in self.include
        )
        return included and not any(matches_pattern(path, pattern) for pattern in self.exclude)

    def groups_for(self, path: str, rules: Sequence[AccessRule]) -> tuple[str, ...]:
        """Return the groups of the first rule that matches a path, else the default."""
        return next(
            (rule.allowed_groups for rule in rules if matches_pattern(path, rule.pattern)),
            self.default_groups,
        )

    @property
    def pattern_hint(self) -> str:
        """Part of a sentence that names the patterns as a possible reason for an empty result."""
        return " that matches --include and --exclude" if self.include or self.exclude else ""


def build_selection(
    allowed_groups: Iterable[str], include: Iterable[str], exclude: Iterable[str]
) -> FileSelection:
    """Return the selection of these options.

    Raises:
        InvalidInput: the name of a group is not valid.
    """
    checked = tuple(sorted({check_name("group", reader) for reader in allowed_groups}))
    return FileSelection(checked, tuple(include), tuple(exclude))


def matches_pattern(path: str, pattern: str) -> bool:
    """Return whether a path matches. `*` and `?` match slashes; a leading `**/` is optional."""
    return fnmatch.fnmatchcase(path, pattern) or (
        pattern.startswith("**/") and fnmatch.fnmatchcase(path, pattern.removeprefix("**/"))
    )


def parse_access_rules(name: str, content: bytes) -> list[AccessRule]:
    """Return the rules of a `readers.yaml` called `name`, in order.

    Raises:
        InvalidInput: it is not `rules:` with a `pattern` and `readers` each. This stops the run:
            without its rule a restricted document would be open to everyone.
    """
    try:
        parsed: Any = yaml.safe_load(content.decode())
        rules = []
        for rule in parsed["rules"]:
            groups = sorted(check_name("group", group) for group in rule["readers"])
            rules.append(AccessRule(str(rule["pattern"]), tuple(groups)))
        return rules
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{name} is not a list of rules. Write `rules:` with `pattern:` and `readers:` each."
        ) from error
