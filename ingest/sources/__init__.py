"""Where documents come from. `open_source` is the way in; one small file for each kind of source.

    local.py    files and folders
    buckets.py  s3://, gs://, az://
    web.py      a page, a sitemap, a list of pages; through client.py, which guard.py keeps on the public internet

Each lists files (`files`) and reads one (`read`); which are wanted and who may see them is `selection.py`.
"""

from collections.abc import Iterable
from pathlib import Path

from core.errors import InvalidInput
from ingest.sources import local, object_storage, web
from ingest.sources.address import DEFAULT_PORTS
from ingest.sources.selection import build_selection
from ingest.sources.types import MAX_FILE_BYTES, Source, SourceFile

__all__ = ["MAX_FILE_BYTES", "Source", "SourceFile", "open_source", "resolve_source_address"]


def open_source(
    address: str,
    allowed_groups: Iterable[str] = (),
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
    selection = build_selection(allowed_groups, include, exclude)
    if address.startswith(web.PAGE_LIST_PREFIX):
        return web.open_page_list(address, selection, web_hosts)
    scheme, separator, _ = address.partition("://")
    scheme = scheme.lower() if separator else "file"
    if scheme == "file":
        return local.open_local(address, selection)
    if scheme in DEFAULT_PORTS:
        return web.open_web_source(address, selection, web_hosts)
    if scheme in object_storage.SCHEME_EXTRAS:
        return object_storage.open_bucket(address, selection)
    raise InvalidInput(
        f"{address} is of no known kind; name a path, web:FILE, or an address with file, http(s), s3, gs or az."
    )


def resolve_source_address(address: str) -> str:
    """An address that means the same in any folder: a path at which there is something becomes a whole one."""
    kind = web.PAGE_LIST_PREFIX if address.startswith(web.PAGE_LIST_PREFIX) else ""
    path = Path(address.removeprefix(kind)).expanduser()
    return kind + str(path.resolve()) if "://" not in address and path.exists() else address
