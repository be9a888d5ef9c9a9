"""Fingerprints of near-duplicates, and the editions that order them."""

import random

import pytest

from ingest.store.duplicates import BAND_COUNT, ROWS_PER_BAND, compute_bands
from ingest.store.edition_detection import detect_edition


def create_words(generator: random.Random, count: int) -> list[str]:
    """Return a text of random words."""
    return ["".join(generator.choices("abcdefgh", k=5)) for _ in range(count)]


def measure_resemblance(one: list[str], other: list[str]) -> float:
    """Return the Jaccard resemblance of two texts' shingles."""
    shingles = {tuple(one[start : start + 3]) for start in range(len(one) - 2)}
    others = {tuple(other[start : start + 3]) for start in range(len(other) - 2)}
    return len(shingles & others) / len(shingles | others)


@pytest.mark.parametrize(
    ("changed_words", "minimum", "maximum"),
    [(0, 1.0, 1.0), (2, 0.85, 1.0), (8, 0.15, 0.75), (40, 0.0, 0.05)],
)
def test_texts_share_a_band_as_often_as_the_formula_says(
    changed_words: int, minimum: float, maximum: float
) -> None:
    generator = random.Random(7)
    shared, expected = 0, 0.0
    for _ in range(150):
        one = create_words(generator, 200)
        other = list(one)
        for index in generator.sample(range(200), changed_words):
            other[index] = "changed"
        resemblance = measure_resemblance(one, other)
        expected += 1 - (1 - resemblance**ROWS_PER_BAND) ** BAND_COUNT
        first, second = compute_bands([" ".join(one), " ".join(other)])
        shared += not set(first).isdisjoint(second)
    assert shared / 150 == pytest.approx(expected / 150, abs=0.12)
    assert minimum <= shared / 150 <= maximum


def test_the_bands_of_a_text_depend_only_on_its_words() -> None:
    """Other texts and letter case do not count. A text of a few words has no bands."""
    generator = random.Random(8)
    texts = [" ".join(create_words(generator, count)) for count in (3, 7, 8, 9, 250, 30)]
    together = compute_bands(texts * 30)
    bands = together[: len(texts)]
    assert bands == [compute_bands([text])[0] for text in texts]
    assert bands == compute_bands([text.upper() for text in texts])
    assert [len(numbers) for numbers in bands] == [0, 0, *[BAND_COUNT] * 4]
    for numbers in together:
        assert all(-(2**31) <= number < 2**31 for number in numbers)
    assert compute_bands([]) == []


@pytest.mark.parametrize(
    ("path", "metadata", "expected"),
    [
        ("reference/7.4/core/about_If.md", {"ms.date": "06/07/2023"}, "7.4"),
        ("core/about_If.md", {"ms.date": "06/07/2023"}, "2023-06-07"),
        ("reference/7.4/a.md", {"version": 2.1}, "2.1"),
        ("guide-2.1.pdf", {}, "2.1"),
        ("prices_2024-05.xlsx", {"modified": "2025-01-01T10:00:00+00:00"}, "2024-05"),
        ("powershell-7.10/x.md", {}, "7.10"),
        ("Manual v3.docx", {}, "3"),
        ("blog/2024/post.md", {}, "2024"),
        ("a.md", {"version": "1.0-preview.3"}, "1.0"),
        ("a.md", {"version": "final", "date": "2023-06-07"}, "2023-06-07"),
        ("a.md", {"updated": "03/04/2024"}, None),
        ("a.md", {"updated": "31/04/2024"}, "2024-04-31"),
        ("1.2-introduction.md", {}, None),
        ("heron-210.md", {"version": True}, None),
    ],
)
def test_the_edition_comes_from_metadata_or_path(
    path: str, metadata: dict[str, object], expected: str | None
) -> None:
    """The first rule of ingest/store/edition_detection.py that fits decides."""
    assert detect_edition(path, metadata) == expected
