"""What a model was told stays with it, and so do codes that no document has.

A sentence leaks where it repeats several words of the prompt in a row, or has something like a key, a token or an
encoded text in it that stands neither in the evidence nor in the question. It is held to letters and digits alone,
forwards and backwards, so that blanks or hyphens between them change nothing.
"""

import re
from collections.abc import Iterable

RUN = 6  # words of the prompt in a row
LONGEST_WORD = 24  # letters; what is longer is encoded
SHORTEST_CODE = 4
SPELT_OUT = 6  # letters one by one, with something between them
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+/=-]{2,}")
MEASURE = re.compile(r"\d+(?:[a-zµ]{1,3}|st|nd|rd|th)|[a-z]{1,2}\d{1,2}", re.IGNORECASE)
SINGLE = re.compile(rf"(?:\b[^\W_]\b[^\w]{{1,3}}){{{SPELT_OUT - 1},}}[^\W_]\b")


def leaks(text: str, told: str, known: str) -> bool:
    """Whether a sentence repeats what was told, or has a code that isn't known; `known` is evidence and question."""
    return (
        _repeats(text, told, known)
        or any(not _in(code, known) for code in codes(text))
        or _has_code_of(told, text, known)
    )


def codes(text: str) -> Iterable[str]:
    """What looks like a key, a token, an encoded text or letters spelt out in a text."""
    for found in CODE.finditer(text):
        if len(found[0]) > LONGEST_WORD and "-" not in found[0].strip("-"):
            yield found[0]
        for part in re.split(r"[_+/=-]+", found[0]):
            if len(part) > LONGEST_WORD or (len(part) >= SHORTEST_CODE and _mixed(part)):
                yield part
    yield from (found[0] for found in SINGLE.finditer(text))


def _mixed(word: str) -> bool:
    """Whether a word has letters and digits by turns, or capitals inside, as no written word and no measure has."""
    digits, letters = any(map(str.isdigit, word)), any(map(str.isalpha, word))
    return digits and letters and not MEASURE.fullmatch(word)


def _repeats(text: str, told: str, known: str) -> bool:
    said, evidence, prompt = _words(text), _flowing(known), _flowing(told)
    runs = (" ".join(said[start : start + RUN]) for start in range(len(said) - RUN + 1))
    return any(f" {run} " in prompt and f" {run} " not in evidence for run in runs)


def _has_code_of(told: str, text: str, known: str) -> bool:
    """Whether a code of the prompt is in the sentence, however it is broken up or turned round."""
    bare = _bare(text)
    secret = {_bare(code) for code in codes(told) if not _in(code, known)}
    return any(code in bare or code[::-1] in bare for code in secret if len(code) >= SHORTEST_CODE)


def _in(code: str, known: str) -> bool:
    return _bare(code) in _bare(known)


def _words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def _flowing(text: str) -> str:
    return f" {' '.join(_words(text))} "


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()
