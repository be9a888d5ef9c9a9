"""Where documents come from. `open_source` is the way in; one small file for each kind of source.

    local.py    files and folders
    buckets.py  s3://, gs://, az://
    web.py      a page, a sitemap, a list of pages; through client.py, which guard.py keeps on the public internet

Each lists files (`files`) and reads one (`read`); which are wanted and who may see them is `selection.py`.
"""

from collections.abc import Iterable
from pathlib import Path

from core.errors import InvalidInput
from ingest.sources import buckets, local, web
from ingest.sources.address import PORTS
from ingest.sources.selection import select
from ingest.sources.types import MAX_BYTES, Source, SourceFile

__all__ = ["MAX_BYTES", "Source", "SourceFile", "from_anywhere", "open_source"]


def open_source(
    address: str,
    readers: Iterable[str] = (),
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    web_hosts: str = "",
) -> Source:
    """The source that an address names; cheap, so that each worker may open its own.

    `readers`, `include` and `exclude` are those of selection.py, `web_hosts` is GROUNDWORK_WEB_ALLOWED_HOSTS.

    Raises:
        InvalidInput: the address or an option can't be used as it is.
        Unavailable: object storage that does not answer.
    """
    selection = select(readers, include, exclude)
    if address.startswith(web.LIST):
        return web.open_list(address, selection, web_hosts)
    scheme, separator, _ = address.partition("://")
    scheme = scheme.lower() if separator else "file"
    if scheme == "file":
        return local.open_local(address, selection)
    if scheme in PORTS:
        return web.open_web(address, selection, web_hosts)
    if scheme in buckets.EXTRAS:
        return buckets.open_bucket(address, selection)
    raise InvalidInput(
        f"{address} is of no known kind; name a path, web:FILE, or an address with file, http(s), s3, gs or az."
    )


def from_anywhere(address: str) -> str:
    """An address that means the same in any folder: a path at which there is something becomes a whole one."""
    kind = web.LIST if address.startswith(web.LIST) else ""
    path = Path(address.removeprefix(kind)).expanduser()
    return kind + str(path.resolve()) if "://" not in address and path.exists() else address
