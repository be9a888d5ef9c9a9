"""Language detection, by script or by the small words of every sentence."""

import re
from collections import Counter
from pathlib import Path

import yaml

_SAMPLE_CHARACTERS = 6_000
_MIN_WORDS = 25  # Fewer say nothing.
_MIN_STOPWORD_SHARE = 0.12  # Prose has a third and more; tables and code have hardly any.
_MIN_LEAD_RATIO = 1.3  # Hits of the best language, relative to the next.
_SIMILAR_LANGUAGES = {"da", "nb"}  # They differ by few small words: any lead counts.
_MIN_SIMILAR_LEAD_RATIO = 1.01
_WORD = re.compile(r"[^\W\d_]+")
_MIN_SCRIPT_SHARE = 0.3  # of the letters
_MIN_JAPANESE_SHARE = 0.05  # Japanese text contains Chinese characters too.
_LANGUAGE_BY_SCRIPT = (
    (re.compile(r"[\u3040-\u30ff]"), "ja"),
    (re.compile(r"[\uac00-\ud7af]"), "ko"),
    (re.compile(r"[\u4e00-\u9fff]"), "zh"),
    (re.compile(r"[\u0590-\u05ff]"), "he"),
    (re.compile(r"[\u0370-\u03ff]"), "el"),
    (re.compile(r"[\u0e00-\u0e7f]"), "th"),
    (re.compile(r"[\u0900-\u097f]"), "hi"),
)


def _load_stopwords() -> dict[str, list[str]]:
    """Return the languages of each small word."""
    languages: dict[str, list[str]] = {}
    source = Path(__file__).with_name("stopwords.yaml").read_text("utf-8")
    for code, words in yaml.safe_load(source).items():
        for word in dict.fromkeys(words.split()):
            languages.setdefault(word, []).append(code)
    return languages


_LANGUAGES_BY_STOPWORD = _load_stopwords()


def detect_language(text: str) -> str | None:
    """Return the ISO 639-1 code, such as "en"; None for text that is short, mixed or not prose."""
    sample = text[:_SAMPLE_CHARACTERS]
    return _detect_by_script(sample) or _detect_by_stopwords(sample)


def _detect_by_script(sample: str) -> str | None:
    letter_count = sum(map(str.isalpha, sample))
    for script, code in _LANGUAGE_BY_SCRIPT:
        share = _MIN_JAPANESE_SHARE if code == "ja" else _MIN_SCRIPT_SHARE
        if len(script.findall(sample)) > max(_MIN_WORDS, share * letter_count):
            return code
    return None


def _detect_by_stopwords(sample: str) -> str | None:
    words = _WORD.findall(sample.casefold())
    if len(words) < _MIN_WORDS:
        return None
    hits: Counter[str] = Counter()
    for word in words:
        hits.update(_LANGUAGES_BY_STOPWORD.get(word, ()))
    (best, count), (next_best, next_count), *_ = [*hits.most_common(2), ("", 0), ("", 0)]
    are_similar = {best, next_best} == _SIMILAR_LANGUAGES
    min_lead = _MIN_SIMILAR_LEAD_RATIO if are_similar else _MIN_LEAD_RATIO
    is_clear = count >= _MIN_STOPWORD_SHARE * len(words) and count >= min_lead * next_count
    return best if is_clear else None
