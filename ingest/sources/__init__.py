"""Where documents come from. `open_source` is the way in; one small file for each kind of source.

    ingest/sources/local.py    files and folders
    ingest/sources/buckets.py  s3://, gs://, az://

Each lists files (`files`) and reads one (`read`); which are wanted and who may see them is `selection.py`.
"""

from collections.abc import Iterable

from ingest.sources import buckets, local
from ingest.sources.selection import select
from ingest.sources.types import MAX_BYTES, Source, SourceFile
from knowledge.errors import InvalidInput

__all__ = ["MAX_BYTES", "Source", "SourceFile", "open_source", "read"]


def open_source(
    address: str, readers: Iterable[str] = (), *, include: Iterable[str] = (), exclude: Iterable[str] = ()
) -> Source:
    """The source that an address names; `readers`, `include` and `exclude` as in selection.py.

    Raises:
        InvalidInput: the address or an option can't be used as it is.
    """
    selection = select(readers, include, exclude)
    scheme = _scheme(address)
    if scheme in ("", "file"):
        return local.open_local(address, selection)
    if scheme in buckets.EXTRAS:
        return buckets.open_bucket(address, selection)
    raise InvalidInput(
        f"{address} is of no known kind; name a path, or an address with file://, s3://, gs:// or az://."
    )


def read(file: SourceFile) -> bytes:
    """All of a file, for a worker that was given nothing but the file; see Source.read."""
    return buckets.read(file) if _scheme(file.uri) in buckets.EXTRAS else local.read(file)


def _scheme(address: str) -> str:
    """What stands before `://`, in lower case; nothing for a path, whatever colons it holds."""
    scheme, separator, _ = address.partition("://")
    return scheme.lower() if separator else ""
