"""Editions that a question names: versions, releases and years."""

from core.text.lexicon import load_lexicon

_EDITION_PATTERN = load_lexicon("numbers").pattern("edition", flags=0)


def find_editions(question: str) -> list[str]:
    """Return the distinct editions that a question may name, such as 5.1, 7 or 2024."""
    editions = [match[match.lastindex or 0] for match in _EDITION_PATTERN.finditer(question)]
    return list(dict.fromkeys(editions))
