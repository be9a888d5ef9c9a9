"""What a model was told stays with it, and so do codes that no document has.

A sentence leaks where it repeats several words of the prompt in a row, or has something like a key, a token or an
encoded text in it that stands neither in the evidence nor in the question. It is held to letters and digits alone,
forwards and backwards, so that blanks or hyphens between them change nothing.
"""

import re
from collections.abc import Iterable

MIN_PROMPT_RUN_WORDS = 6  # words of the prompt in a row
MAX_WORD_LETTERS = 24  # letters; what is longer is encoded
MIN_CODE_CHARACTERS = 4
MIN_SPELLED_LETTERS = 6  # letters one by one, with something between them
WORD_PATTERN = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
CODE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+/=-]{2,}")
MEASUREMENT_PATTERN = re.compile(r"\d+(?:[a-zµ]{1,3}|st|nd|rd|th)|[a-z]{1,2}\d{1,2}", re.IGNORECASE)
SPELLED_OUT_PATTERN = re.compile(
    rf"(?:\b[^\W_]\b[^\w]{{1,3}}){{{MIN_SPELLED_LETTERS - 1},}}[^\W_]\b"
)


def contains_leak(text: str, instructions: str, known_text: str) -> bool:
    """Whether a sentence repeats what was told, or has a code that isn't known; `known` is evidence and question."""
    return (
        _repeats_instructions(text, instructions, known_text)
        or any(not _is_known_code(code, known_text) for code in find_codes(text))
        or _leaks_instruction_code(instructions, text, known_text)
    )


def find_codes(text: str) -> Iterable[str]:
    """What looks like a key, a token, an encoded text or letters spelt out in a text."""
    for found in CODE_PATTERN.finditer(text):
        if len(found[0]) > MAX_WORD_LETTERS and "-" not in found[0].strip("-"):
            yield found[0]
        for part in re.split(r"[_+/=-]+", found[0]):
            if len(part) > MAX_WORD_LETTERS or (
                len(part) >= MIN_CODE_CHARACTERS and _mixes_letters_and_digits(part)
            ):
                yield part
    yield from (found[0] for found in SPELLED_OUT_PATTERN.finditer(text))


def _mixes_letters_and_digits(word: str) -> bool:
    """Whether a word has letters and digits by turns, or capitals inside, as no written word and no measure has."""
    digits, letters = any(map(str.isdigit, word)), any(map(str.isalpha, word))
    return digits and letters and not MEASUREMENT_PATTERN.fullmatch(word)


def _repeats_instructions(text: str, instructions: str, known_text: str) -> bool:
    said, evidence, prompt = (
        _lowercase_words(text),
        _join_words(known_text),
        _join_words(instructions),
    )
    runs = (
        " ".join(said[start : start + MIN_PROMPT_RUN_WORDS])
        for start in range(len(said) - MIN_PROMPT_RUN_WORDS + 1)
    )
    return any(f" {run} " in prompt and f" {run} " not in evidence for run in runs)


def _leaks_instruction_code(instructions: str, text: str, known_text: str) -> bool:
    """Whether a code of the prompt is in the sentence, however it is broken up or turned round."""
    bare = _strip_separators(text)
    secret = {
        _strip_separators(code)
        for code in find_codes(instructions)
        if not _is_known_code(code, known_text)
    }
    return any(
        code in bare or code[::-1] in bare for code in secret if len(code) >= MIN_CODE_CHARACTERS
    )


def _is_known_code(code: str, known_text: str) -> bool:
    return _strip_separators(code) in _strip_separators(known_text)


def _lowercase_words(text: str) -> list[str]:
    return [word.lower() for word in WORD_PATTERN.findall(text)]


def _join_words(text: str) -> str:
    return f" {' '.join(_lowercase_words(text))} "


def _strip_separators(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()
