"""What a source is and what it lists; the rest of the program knows no more of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from core.errors import UnreadableFile

MAX_FILE_BYTES = 200_000_000  # A larger file is refused unread: whatever it is, it is no document that people read.


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to take in; plain values only, so that a worker on another machine can be given it.

    `uri` is its identity, `path` what people are shown, `readers` who may see it (empty: everyone in the tenant).
    `size` is in bytes where the listing says it. `tag` stands for the file's state: while it stays the same, so does
    the content, and nothing need be read; None where only reading tells.
    """

    uri: str
    path: str
    allowed_groups: tuple[str, ...] = ()
    size: int | None = None
    tag: str | None = None


class Source(Protocol):
    """Where documents come from."""

    @property
    def uri(self) -> str:
        """What the identities of its files begin with (it then ends in a slash) or, for a single file, are.

        Everything below it belongs to the source: what is no longer listed is to be deleted.
        """
        ...

    def list_files(self) -> Iterable[SourceFile]:
        """Its files, one after the other.

        Raises:
            InvalidInput: while going through: no file, or what the user named can't be used.
            Unavailable: the listing broke off. A short list must never pass for a whole one.
        """
        ...

    def read(self, file: SourceFile) -> bytes:
        """All of a file that this source listed.

        Raises:
            Unreadable: `gone`, `unopened`, `too-large`, or `changed` since it was listed; more, see client.py.
            Unavailable: not this file's fault: the source does not answer.
        """
        ...


def file_too_large(path: str) -> UnreadableFile:
    """The refusal of a file of more than MAX_BYTES."""
    most = f"{MAX_FILE_BYTES // 1_000_000} MB"
    return UnreadableFile(
        "too-large", f"{path} is larger than {most}; split it, or leave it out with --exclude."
    )


def file_gone(path: str) -> UnreadableFile:
    """The refusal of a file that was listed and is there no more."""
    return UnreadableFile(
        "gone", f"{path} is no longer there; the next run settles what was known of it."
    )


def file_changed(path: str) -> UnreadableFile:
    """The refusal of a file that is not what was listed: its content must not be stored under the listed tag."""
    return UnreadableFile(
        "changed", f"{path} changed while it was taken in; run again once it is finished."
    )
