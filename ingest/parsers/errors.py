"""Refusals that several formats share."""

from core.errors import UnreadableFile


def size_limit_error(subject: str, problem: str) -> UnreadableFile:
    """Refuse a file that exceeds `ingest/parsers/limits.py`; `problem` completes the sentence."""
    return UnreadableFile("too-large", f"{subject} {problem}. Split it into several files.")


def password_error(subject: str) -> UnreadableFile:
    """Refuse a file that needs a password."""
    return UnreadableFile(
        "encrypted", f"{subject} is encrypted. Save a copy without a password and ingest the copy."
    )
