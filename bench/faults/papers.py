"""Documents of the fault benchmark: files that state their edition in every section."""

import random
from collections.abc import Collection
from pathlib import Path


class Papers:
    """Files of a folder, and the current edition of each."""

    def __init__(self, folder: Path, count: int, chance: random.Random) -> None:
        self.folder = folder
        self.names = [f"paper-{number:04}.md" for number in range(count)]
        self.editions: dict[str, int] = {}
        self._chance = chance
        folder.mkdir(parents=True)
        for name in self.names:
            self._write(name, 1)

    def choose_names(self, count: int) -> list[str]:
        """Return some existing documents."""
        return self._chance.sample(sorted(self.editions), min(count, len(self.editions) // 2))

    def apply_changes(self, edition: int, rewritten: int, deleted: Collection[str]) -> None:
        """Rewrite documents, missing ones first, and delete others."""
        missing = [name for name in self.names if name not in self.editions]
        kept = sorted(self.editions.keys() - set(deleted))
        for name in (missing + self._chance.sample(kept, min(rewritten, len(kept))))[:rewritten]:
            self._write(name, edition)
        for name in deleted:
            (self.folder / name).unlink()
            del self.editions[name]

    def _write(self, name: str, edition: int) -> None:
        number = paper_number(name)
        sections = "\n\n".join(
            f"## Part {part}\n\nPart {part} of paper {number} is of edition{edition}x. Its "
            f"word is {make_codeword(name)}."
            for part in "ABC"
        )
        unfinished = self.folder / f".{name}"
        unfinished.write_text(
            f"# Paper {number}\n\nThis is edition{edition}x of paper {number}.\n\n{sections}\n"
        )
        unfinished.rename(self.folder / name)
        self.editions[name] = edition


def paper_number(name: str) -> str:
    """Return the number of the paper in a file.

    Each fifth file repeats the paper before it: while both are of one edition they are duplicates
    and share their stored chunks.
    """
    number = int(name[6:10])
    return f"{number - (number % 5 == 4):04}"


def make_codeword(name: str) -> str:
    """Return a word that occurs in one paper only."""
    return "zq" + "".join("bcdfghjklm"[int(digit)] for digit in paper_number(name))


def make_question(name: str) -> str:
    """Return a question that only this paper answers."""
    return f"What is the word {make_codeword(name)} of paper {paper_number(name)}?"


def read_editions(text: str) -> list[str]:
    """Return the edition that each section of a text states."""
    return [part.split("x", 1)[0] for part in text.split("edition")[1:]]
