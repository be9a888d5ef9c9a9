"""Interface of document sources: the protocol, the files they list, and their common errors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from core.errors import UnreadableFile

MAX_FILE_BYTES = 200_000_000  # a larger file is not a document that people read


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to ingest, with plain values only, so that a worker on another machine can get it.

    `uri` is its identity, and `path` is shown to people. Empty `allowed_groups` mean everyone in
    the tenant. `size` is in bytes, if the listing has it. While `tag` stays the same, so does the
    content; without one the file must be read.
    """

    uri: str
    path: str
    allowed_groups: tuple[str, ...] = ()
    size: int | None = None
    tag: str | None = None


class Source(Protocol):
    """A place with documents."""

    @property
    def uri(self) -> str:
        """Common beginning of the files' uris, with a slash at the end; or a single file's uri.

        Everything below it belongs to the source: a file that is no longer listed is deleted.
        """
        ...

    def list_files(self) -> Iterable[SourceFile]:
        """Yield the files.

        Raises:
            InvalidInput: during iteration: there is no file, or the user named something that can't
                be used.
            Unavailable: the listing is incomplete. An incomplete list must never count as complete.
        """
        ...

    def read(self, file: SourceFile) -> bytes:
        """Return the content of a file that this source listed.

        Raises:
            UnreadableFile: `gone`, `unopened`, `too-large`, `changed` since the listing; see also
                `WebClient.get`.
            Unavailable: the source does not answer.
        """
        ...


def file_too_large(path: str) -> UnreadableFile:
    """Return the error for a file of more than MAX_FILE_BYTES."""
    limit = f"{MAX_FILE_BYTES // 1_000_000} MB"
    return UnreadableFile(
        "too-large", f"{path} is larger than {limit}. Split it, or leave it out with --exclude."
    )


def file_gone(path: str) -> UnreadableFile:
    """Return the error for a listed file that no longer exists."""
    return UnreadableFile(
        "gone", f"{path} is no longer there. The next run removes it from the store."
    )


def file_changed(path: str) -> UnreadableFile:
    """Return the error for a file that changed after its listing, so its tag is outdated."""
    return UnreadableFile(
        "changed", f"{path} changed while it was ingested. Run again once it is finished."
    )
