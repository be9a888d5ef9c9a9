"""Code examples of docs/guides/extend.md, taken from the page and run.

Each section has three blocks: a new file, its line in the registry, and an attempt to use it.
"""

import re
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "guides" / "extend.md"


class Example:
    """The code of one section of the page."""

    def __init__(self, heading: str, monkeypatch: pytest.MonkeyPatch) -> None:
        text = PAGE.read_text(encoding="utf-8")
        section = re.split(rf"^## {heading}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
        blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        self._file, self._registration, self._attempt = blocks
        self._monkeypatch = monkeypatch

    def install(self, registry: ModuleType, name: str) -> None:
        """Import the new file, and add its line to a tuple or mapping of the registry."""
        module = self._import_file()
        namespace = {**registry.__dict__, module.__name__.rpartition(".")[2]: module}
        entry = eval(self._registration, namespace)
        entries = getattr(registry, name)
        if isinstance(entry, dict):
            for key, value in entry.items():
                self._monkeypatch.setitem(entries, key, value)
        else:
            self._monkeypatch.setattr(registry, name, (*entries, entry))

    def run(self, **names: Any) -> None:
        """Run the attempt with further names defined."""
        exec(compile(self._attempt, f"{PAGE.name}: try it", "exec"), names)

    def _import_file(self) -> ModuleType:
        path = self._file.splitlines()[0].removeprefix("# ")
        module = ModuleType(path.removesuffix(".py").replace("/", "."))
        self._monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(self._file, path, "exec"), module.__dict__)
        return module
