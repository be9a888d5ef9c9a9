"""A draft is plain text: what a writer adds in links, images, HTML and addresses is taken out.

Only what stands to the letter in a quote that the sentence cites stays, since the documents say it; it is text all the
same. The page makes links of citations alone.
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
    r"(?:(?:https?|ftps?|wss?|file|ssh|git|tel|sms|ldap|gopher|irc)\s?:\s?/{0,2}|(?:javascript|vbscript|data|mailto|blob):"
    r"|\b[a-z][a-z0-9+.-]{1,20}://|//(?=[\w-]+\.)|\bwww\.)[^\s<>\"'“”]*"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\b(?:[a-z0-9-]{1,63}\.)+[a-z][a-z0-9-]{1,23}\b(?::\d{1,5})?(?:[/?#][^\s<>\"'“”]*)?"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5}(?:/\S*)?|/\S+)",
    re.IGNORECASE,
)
HTML_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.IGNORECASE)
MARKDOWN_STYLE = re.compile(r"\*\*|__|`+|^\s*(?:#{1,6}|>)\s+", re.MULTILINE)
BRACKETED_LABEL = re.compile(r"!?\[[^\[\]]*\](?:\[[^\[\]]*\])?")  # a label without its target
BROKEN_LINK = re.compile(r"\]\(?|!?\[")  # of a link that was cut in two
EMPTY_PUNCTUATION = re.compile(r"\(\s*[,;:]?\s*\)|\[\s*\]|(?<=\s)[–—-]\s*(?=[.,;]|$)")

# What a page that reads Markdown or HTML would make more of than text, once it has passed as a quote.
LINK_LABEL_END = re.compile(
    r"\](?=\(\s*<?(?:[a-z][a-z0-9+.-]*:|//|www\.|[\w-]+\.[a-z]))|\](?=\[[^\[\]]+\])", re.IGNORECASE
)
ACTIVE_TAG_START = re.compile(
    r"<(?=\s*/?(?:a|img|image|svg|script|style|iframe|frame|object|embed|link|meta|base|form|input|video|audio|source"
    r"|picture|math|template|body|html)\b)",
    re.IGNORECASE,
)


def remove_markup(text: str, quotes: Sequence[str]) -> str:
    """A sentence without links, images, HTML, addresses and what shows nothing, but for what its quotes have."""
    known = [" ".join(quote.split()) for quote in quotes]

    def cut(found: re.Match[str]) -> str:
        return found[0] if any(" ".join(found[0].split()) in quote for quote in known) else " "

    def label(found: re.Match[str]) -> str:
        return found[0] if any(" ".join(found[0].split()) in quote for quote in known) else found[1]

    text = remove_invisible(text)
    for pattern in (
        HTML_COMMENT,
        HIDDEN_ELEMENT,
        AUTOLINK,
        HTML_TAG,
        HTML_ENTITY,
        MARKDOWN_IMAGE,
        LINK_DEFINITION,
    ):
        text = pattern.sub(cut, text)
    text = MARKDOWN_LINK.sub(label, text)
    for pattern in (WEB_ADDRESS, BRACKETED_LABEL, MARKDOWN_STYLE):
        text = pattern.sub(cut, text)
    if not any(BRACKETED_LABEL.search(quote) for quote in known):
        text = BROKEN_LINK.sub(" ", text)
    text = " ".join(EMPTY_PUNCTUATION.sub(cut, text).split())
    return re.sub(r"\s+(?=[.,;!?](?:\s|$))", "", text)


def neutralize_markup(text: str) -> str:
    """A sentence that no page would take for Markdown's links and images, or for HTML that loads something."""
    return ACTIVE_TAG_START.sub("‹", LINK_LABEL_END.sub("] ", text))
