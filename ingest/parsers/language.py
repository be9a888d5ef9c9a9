"""Which language a text is in, by its script or by the small words of every sentence; no guess where it is unclear."""

import re
from collections import Counter
from collections.abc import Mapping

_SAMPLE_CHARACTERS = 6_000  # Characters.
_MIN_WORDS = 25  # Fewer say nothing.
_MIN_STOPWORD_SHARE = 0.12  # Of all words: prose has a third and more, tables and code hardly any.
_MIN_LEAD_RATIO = 1.3  # Times the hits of the next language.
_SIMILAR_LANGUAGES = {"da", "nb"}  # They differ by few small words: any lead counts.
_WORD = re.compile(r"[^\W\d_]+")
_LANGUAGE_BY_SCRIPT = (
    (re.compile(r"[\u3040-\u30ff]"), "ja"),
    (re.compile(r"[\uac00-\ud7af]"), "ko"),
    (re.compile(r"[\u4e00-\u9fff]"), "zh"),
    (re.compile(r"[\u0590-\u05ff]"), "he"),
    (re.compile(r"[\u0370-\u03ff]"), "el"),
    (re.compile(r"[\u0e00-\u0e7f]"), "th"),
    (re.compile(r"[\u0900-\u097f]"), "hi"),
)
_STOPWORDS_BY_LANGUAGE: Mapping[str, str] = {
    "en": "the of and to in is that for it with as are on be this by from or an at which not you your can will has",
    "de": "der die das und ist nicht ein eine zu den mit von für auf dem des im auch sich werden wird bei oder sind",
    "fr": "le la les de des et est une un que qui dans pour pas sur avec au aux par ce cette sont vous nous plus ou",
    "es": "el la los las de y que en un una es no se por con para del al lo como más su está son este esta pero",
    "it": "il la di che e è un una per non in con del della dei le gli si da sono al alla come più questo anche nel",
    "pt": "o a os as de e que do da em um uma para com não por no na dos das se é mais ao como são seu sua você",
    "nl": "de het een en van is dat op te in voor met niet zijn aan door ook bij naar als wordt of deze dit uit om",
    "sv": "och att det som en ett är för på med av den till inte om har de så men kan vid från eller ska detta",
    "da": "og at det som en et er for på med af den til ikke om har de så men kan ved fra eller skal dette",
    "nb": "og at det som en et er for på med av den til ikke om har de så men kan ved fra eller skal dette vil etter",
    "fi": "ja on ei se että oli hän ovat mutta kun tai myös joka voi ole tämä sen niin kuin ovat mukaan sekä jos",
    "pl": "i w na nie się z do jest że to o jak przez od za po dla są lub oraz który która tym może być",
    "cs": "a v se na je že s z do o pro jsou to ve k po od který která nebo jako být není podle při také",
    "tr": "ve bir bu için ile de da olarak olan daha gibi çok ne kadar sonra her veya ise değil olduğu tarafından",
    "ru": "и в не на что с по как это для из он но от за его к или все при также так может быть является",
    "uk": "і в не на що з та як це для із він але від за його до або все при також так може бути є",
    "ar": "في من على أن إلى عن مع هذا هذه التي الذي كان لا ما أو كل بعد قبل بين عند",
}
_LANGUAGES_BY_STOPWORD: Mapping[str, list[str]] = {
    word: [code for code, words in _STOPWORDS_BY_LANGUAGE.items() if word in words.split()]
    for words in _STOPWORDS_BY_LANGUAGE.values()
    for word in words.split()
}


def detect_language(text: str) -> str | None:
    """The ISO 639-1 code, such as "en"; None for what is short, mixed or hardly prose."""
    sample = text[:_SAMPLE_CHARACTERS]
    letters = sum(map(str.isalpha, sample))
    for script, code in _LANGUAGE_BY_SCRIPT:
        share = 0.05 if code == "ja" else 0.3  # Japanese is written with Chinese characters too.
        if len(script.findall(sample)) > max(_MIN_WORDS, share * letters):
            return code
    words = _WORD.findall(sample.casefold())
    if len(words) < _MIN_WORDS:
        return None
    hits = Counter(code for word in words for code in _LANGUAGES_BY_STOPWORD.get(word, ()))
    (best, count), (next_best, next_count), *_ = [*hits.most_common(2), ("", 0), ("", 0)]
    lead = 1.01 if {best, next_best} == _SIMILAR_LANGUAGES else _MIN_LEAD_RATIO
    return (
        best if count >= _MIN_STOPWORD_SHARE * len(words) and count >= lead * next_count else None
    )
