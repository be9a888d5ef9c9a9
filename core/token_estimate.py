"""Estimates of token counts where no tokenizer is at hand. English prose has four to five
characters a token.
"""

CHARACTERS_PER_TOKEN = 4  # average of English prose with common tokenizers
MIN_CHARACTERS_PER_TOKEN = 3  # a low estimate, so that a text cut to a number of tokens fits
BYTES_PER_TOKEN = 3  # for `estimate_tokens`; in other scripts, bytes fit better than characters
MAX_CHARACTERS_PER_TOKEN = 12
"""A token never counts for more characters than this, so that a key or a base64 attachment, which a
tokenizer may take for one unknown word, can't become one endless chunk.
"""
MAX_REPLY_CHARACTERS_PER_TOKEN = 32  # a model that writes more per token ignores its limit


def estimate_tokens(text: str) -> int:
    """Return an estimate on the high side. Use it to choose a model, not to bill."""
    return len(text.encode()) // BYTES_PER_TOKEN + 1
