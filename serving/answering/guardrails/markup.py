"""Removal of markup: a draft is plain text, without links, images, HTML and addresses.

Markup that a cited quote contains literally stays, since the document has it; the page still shows
it as text. The web page makes links of citations only.
"""

import re
from collections.abc import Sequence

from core.text.invisible import remove_invisible

_LINK_TARGET = r"\((?:[^()\s]|\([^()\s]*\))*(?:\s+[\"'(][^\n]*?[\"')])?\s*\)"
HTML_COMMENT = re.compile(r"<!--.*?(?:-->|$)|<!\[CDATA\[.*?(?:\]\]>|$)", re.DOTALL)
HIDDEN_ELEMENT = re.compile(
    r"<(script|style|template|iframe|object|svg|math)\b.*?(?:</\1\s*>|$)", re.DOTALL | re.IGNORECASE
)
AUTOLINK = re.compile(r"<\s*(?:[a-z][a-z0-9+.-]{1,20}:|[^\s<>@]+@)[^<>]*>", re.IGNORECASE)
HTML_TAG = re.compile(r"</?[a-z][^<>]*(?:>|$)|<[!?][^<>]*(?:>|$)", re.IGNORECASE)
MARKDOWN_IMAGE = re.compile(rf"!\[([^\[\]]*)\]\s?(?:{_LINK_TARGET}|\[[^\[\]]*\])?", re.IGNORECASE)
MARKDOWN_LINK = re.compile(rf"(?<!!)\[([^\[\]]*)\](?:{_LINK_TARGET}|\[[^\[\]]*\])")
LINK_DEFINITION = re.compile(r"^\s*\[[^\[\]]+\]:\s*\S+.*$", re.MULTILINE)
WEB_ADDRESS = re.compile(
    r"(?:(?:https?|ftps?|wss?|file|ssh|git|tel|sms|ldap|gopher|irc)\s?:\s?/{0,2}"
    r"|(?:javascript|vbscript|data|mailto|blob):"
    r"|\b[a-z][a-z0-9+.-]{1,20}://|//(?=[\w-]+\.)|\bwww\.)[^\s<>\"'“”]*"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\b(?:[a-z0-9-]{1,63}\.)+[a-z][a-z0-9-]{1,23}\b(?::\d{1,5})?(?:[/?#][^\s<>\"'“”]*)?"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5}(?:/\S*)?|/\S+)",
    re.IGNORECASE,
)
HTML_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.IGNORECASE)
MARKDOWN_STYLE = re.compile(r"\*\*|__|`+|^\s*(?:#{1,6}|>)\s+", re.MULTILINE)
BRACKETED_LABEL = re.compile(r"!?\[[^\[\]]*\](?:\[[^\[\]]*\])?")  # without a target
BROKEN_LINK = re.compile(r"\]\(?|!?\[")  # half of a link
EMPTY_PUNCTUATION = re.compile(r"\(\s*[,;:]?\s*\)|\[\s*\]|(?<=\s)[–—-]\s*(?=[.,;]|$)")

# Removed in this order, each with its replacement.
_REMOVED_MARKUP = (
    (HTML_COMMENT, " "),
    (HIDDEN_ELEMENT, " "),
    (AUTOLINK, " "),
    (HTML_TAG, " "),
    (HTML_ENTITY, " "),
    (MARKDOWN_IMAGE, " "),
    (LINK_DEFINITION, " "),
    (MARKDOWN_LINK, r"\1"),
    (WEB_ADDRESS, " "),
    (BRACKETED_LABEL, " "),
    (MARKDOWN_STYLE, " "),
)

# Markup of a quote that a page would render as more than text.
LINK_LABEL_END = re.compile(
    r"\](?=\(\s*<?(?:[a-z][a-z0-9+.-]*:|//|www\.|[\w-]+\.[a-z]))|\](?=\[[^\[\]]+\])", re.IGNORECASE
)
ACTIVE_TAG_START = re.compile(
    r"<(?=\s*/?(?:a|img|image|svg|script|style|iframe|frame|object|embed|link|meta|base|form|input"
    r"|video|audio|source|picture|math|template|body|html)\b)",
    re.IGNORECASE,
)


def remove_markup(text: str, quotes: Sequence[str]) -> str:
    """Return a sentence without markup and invisible characters, except those of its quotes."""
    quotes = [" ".join(quote.split()) for quote in quotes]
    text = remove_invisible(text)
    for pattern, replacement in _REMOVED_MARKUP:
        text = _replace_unquoted(pattern, replacement, text, quotes)
    if not any(BRACKETED_LABEL.search(quote) for quote in quotes):
        text = BROKEN_LINK.sub(" ", text)
    text = " ".join(_replace_unquoted(EMPTY_PUNCTUATION, " ", text, quotes).split())
    return re.sub(r"\s+(?=[.,;!?](?:\s|$))", "", text)


def _replace_unquoted(
    pattern: re.Pattern[str], replacement: str, text: str, quotes: Sequence[str]
) -> str:
    def replace(match: re.Match[str]) -> str:
        markup = " ".join(match[0].split())
        is_quoted = any(markup in quote for quote in quotes)
        return match[0] if is_quoted else match.expand(replacement)

    return pattern.sub(replace, text)


def neutralize_markup(text: str) -> str:
    """Return a sentence in which no page recognizes links, images or HTML that loads something."""
    return ACTIVE_TAG_START.sub("‹", LINK_LABEL_END.sub("] ", text))
