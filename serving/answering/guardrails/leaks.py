"""Detection of leaks: parts of the prompt, and codes that neither evidence nor question has.

A sentence leaks if it repeats several words of the prompt in a row, or if it has something like a
key, a token or an encoded text from elsewhere. Codes are compared by letters and digits only,
forwards and backwards, so that blanks or hyphens between them hide nothing.
"""

import re
from collections.abc import Iterator

MIN_PROMPT_RUN_WORDS = 6  # words of the prompt in a row
MAX_WORD_LETTERS = 24  # a longer word is encoded text
MIN_CODE_CHARACTERS = 4
MIN_SPELLED_LETTERS = 6  # letters with something between them
_WORD_PATTERN = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_CODE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+/=-]{2,}")
_MEASUREMENT_PATTERN = re.compile(
    r"\d+(?:[a-zµ]{1,3}|st|nd|rd|th)|[a-z]{1,2}\d{1,2}", re.IGNORECASE
)
_SPELLED_OUT_PATTERN = re.compile(
    rf"(?:\b[^\W_]\b[^\w]{{1,3}}){{{MIN_SPELLED_LETTERS - 1},}}[^\W_]\b"
)


def contains_leak(text: str, instructions: str, known_text: str) -> bool:
    """Return true if a sentence leaks the instructions of a model or has an unknown code.

    `known_text` is the evidence and the question.
    """
    known = _strip_separators(known_text)
    return (
        _repeats_instructions(text, instructions, known_text)
        or any(_strip_separators(code) not in known for code in find_codes(text))
        or _leaks_instruction_code(text, instructions, known)
    )


def find_codes(text: str) -> Iterator[str]:
    """Yield what looks like a key, a token, encoded text or letters spelled out."""
    for match in _CODE_PATTERN.finditer(text):
        if len(match[0]) > MAX_WORD_LETTERS and "-" not in match[0].strip("-"):
            yield match[0]
        yield from filter(_looks_like_code, re.split(r"[_+/=-]+", match[0]))
    yield from (match[0] for match in _SPELLED_OUT_PATTERN.finditer(text))


def _looks_like_code(word: str) -> bool:
    """Return true for a word with letters and digits that is not a measurement, or a long one."""
    if len(word) > MAX_WORD_LETTERS:
        return True
    has_both = any(map(str.isdigit, word)) and any(map(str.isalpha, word))
    is_code = has_both and not _MEASUREMENT_PATTERN.fullmatch(word)
    return is_code and len(word) >= MIN_CODE_CHARACTERS


def _repeats_instructions(text: str, instructions: str, known_text: str) -> bool:
    words = _lowercase_words(text)
    evidence, prompt = _pad_words(known_text), _pad_words(instructions)
    for start in range(len(words) - MIN_PROMPT_RUN_WORDS + 1):
        run = f" {' '.join(words[start : start + MIN_PROMPT_RUN_WORDS])} "
        if run in prompt and run not in evidence:
            return True
    return False


def _leaks_instruction_code(text: str, instructions: str, known: str) -> bool:
    """Return true if a code of the instructions is in a text, broken up or reversed."""
    letters = _strip_separators(text)
    codes = {_strip_separators(code) for code in find_codes(instructions)}
    return any(
        code in letters or code[::-1] in letters
        for code in codes
        if len(code) >= MIN_CODE_CHARACTERS and code not in known
    )


def _lowercase_words(text: str) -> list[str]:
    return [word.lower() for word in _WORD_PATTERN.findall(text)]


def _pad_words(text: str) -> str:
    return f" {' '.join(_lowercase_words(text))} "


def _strip_separators(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()
