"""The documents of the fault bench: papers on disk, each of which says in every section which edition it is of."""

import random
from collections.abc import Collection
from pathlib import Path


class Papers:
    """The files of a folder, and the edition that each should be found in."""

    def __init__(self, folder: Path, count: int, chance: random.Random) -> None:
        self.folder = folder
        self.names = [f"paper-{number:04}.md" for number in range(count)]
        self.editions: dict[str, int] = {}
        self._chance = chance
        folder.mkdir(parents=True)
        for name in self.names:
            self._write(name, 1)

    def choose_names(self, count: int) -> list[str]:
        """Some of the papers that are there."""
        return self._chance.sample(sorted(self.editions), min(count, len(self.editions) // 2))

    def apply_changes(self, edition: int, rewritten: int, gone: Collection[str]) -> None:
        """Rewrite so many papers, or bring missing ones back, those first; and delete those that are to go."""
        missing = [name for name in self.names if name not in self.editions]
        there = sorted(self.editions.keys() - set(gone))
        for name in (missing + self._chance.sample(there, min(rewritten, len(there))))[:rewritten]:
            self._write(name, edition)
        for name in gone:
            (self.folder / name).unlink()
            del self.editions[name]

    def _write(self, name: str, edition: int) -> None:
        number = paper_number(name)
        sections = "\n\n".join(
            f"## Part {part}\n\nPart {part} of paper {number} is of edition{edition}x. Its word is {make_codeword(name)}."
            for part in "ABC"
        )
        unfinished = self.folder / f".{name}"
        unfinished.write_text(
            f"# Paper {number}\n\nThis is edition{edition}x of paper {number}.\n\n{sections}\n"
        )
        unfinished.rename(self.folder / name)
        self.editions[name] = edition


def paper_number(name: str) -> str:
    """The number of the paper that a file holds. Each fifth file holds the one before it once more: while both are of
    one edition they are duplicates, and share what is stored.
    """
    number = int(name[6:10])
    return f"{number - (number % 5 == 4):04}"


def make_codeword(name: str) -> str:
    """A word that stands in one paper only."""
    return "zq" + "".join("bcdfghjklm"[int(digit)] for digit in paper_number(name))


def make_question(name: str) -> str:
    """What only this paper answers."""
    return f"What is the word {make_codeword(name)} of paper {paper_number(name)}?"


def read_editions(text: str) -> list[str]:
    """The edition that each section of a text says it is of."""
    return [part.split("x", 1)[0] for part in text.split("edition")[1:]]
