"""Word lists and regular expressions of the language that documents and questions are written in.

Everything that depends on the language is data in one folder, one YAML file per subject. The code
that reads it works for any language with words and sentences. To support another language, write
the same files in a new folder and name it in LANGUAGE.

In a file, a word list is one text with blanks between the words. An expression is a text, or a
list of alternatives; an alternative that is a list is one text in several pieces. In an
expression, `(?&name)` is replaced by the expression `name` of the same file. (PCRE calls a group in
the same way.)
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

LANGUAGE = "english"  # the folder, next to this file, of the language in use

_REFERENCE_PATTERN = re.compile(r"\(\?&(\w+)\)")
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times faster

Expression = str | list[str | list[str]]


class Lexicon:
    """Word lists and regular expressions of one subject."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._entries = entries

    def extended_by(self, other: "Lexicon") -> "Lexicon":
        """Return a lexicon with the entries of both."""
        return Lexicon({**self._entries, **other._entries})

    def __getitem__(self, key: str) -> Any:
        return self._entries[key]

    def words(self, key: str) -> frozenset[str]:
        """Return the words of a list."""
        return frozenset(self._entries[key].split())

    def expand(self, expression: Expression) -> str:
        """Return the source of an expression, with alternatives joined and references replaced."""
        alternatives = [expression] if isinstance(expression, str) else expression
        source = "|".join(map("".join, alternatives))
        return _REFERENCE_PATTERN.sub(
            lambda match: f"(?:{self.expand(self._entries[match[1]])})", source
        )

    def compile(self, expression: Expression, flags: int = re.IGNORECASE) -> re.Pattern[str]:
        """Return an expression, ready to use."""
        return re.compile(self.expand(expression), flags)

    def pattern(self, key: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
        """Return the expression of a key, ready to use."""
        return self.compile(self._entries[key], flags)

    def word_patterns(self, key: str) -> dict[str, re.Pattern[str]]:
        """Return a table of expressions, each of which matches whole words only."""
        return {
            name: re.compile(rf"\b(?:{self.expand(expression)})\b", re.IGNORECASE)
            for name, expression in self._entries[key].items()
        }


@cache
def load_lexicon(subject: str) -> Lexicon:
    """Read the words and expressions of a subject in the language in use."""
    return read_lexicon(Path(__file__).parent / LANGUAGE / f"{subject}.yaml")


def read_lexicon(file: Path) -> Lexicon:
    """Read a file of words and expressions."""
    text = file.read_text(encoding="utf-8")
    return Lexicon(yaml.load(text, _YAML_LOADER))  # noqa: S506, it is a safe loader
