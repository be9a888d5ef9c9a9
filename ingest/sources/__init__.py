"""Registry of document sources, with one line for each scheme. Start at `open_source`.

    local.py           files and folders
    object_storage.py  s3://, gs://, az://
    web.py             a page, a sitemap, a list of pages, all through web_client.py

Each lists files (`list_files`) and reads one (`read`). selection.py decides which are ingested and
who may read them. To add a source, write a class like `Source` (types.py) and a `SourceFactory`,
and name it in `SOURCES`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from core.errors import InvalidInput
from ingest.sources.local import open_local
from ingest.sources.object_storage import open_bucket
from ingest.sources.selection import FileSelection, build_selection
from ingest.sources.types import MAX_FILE_BYTES, Source, SourceFile
from ingest.sources.web import PAGE_LIST_PREFIX, open_page_list, open_web_source

__all__ = ["MAX_FILE_BYTES", "Source", "SourceFile", "open_source", "resolve_source_address"]

SourceFactory = Callable[[str, FileSelection, str], Source]
"""Opens an address with a selection and GROUNDWORK_WEB_ALLOWED_HOSTS; raises as `open_source`."""

SOURCES: dict[str, SourceFactory] = {
    "file": open_local,  # also a path without a scheme
    "web": open_page_list,  # web:FILE
    "http": open_web_source,
    "https": open_web_source,
    "s3": open_bucket,
    "gs": open_bucket,
    "az": open_bucket,
}


def open_source(
    address: str,
    allowed_groups: Iterable[str] = (),
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    web_hosts: str = "",
) -> Source:
    """Return the source of an address. This is cheap, so each worker may open its own.

    `allowed_groups`, `include` and `exclude` make the selection; `web_hosts` is
    GROUNDWORK_WEB_ALLOWED_HOSTS.

    Raises:
        InvalidInput: the address or an option can't be used.
        Unavailable: the object storage does not answer.
    """
    selection = build_selection(allowed_groups, include, exclude)
    factory = SOURCES.get(_scheme(address))
    if factory is None:
        raise InvalidInput(
            f"{address} is not a known kind of source. Use a path, or an address that begins with"
            f" one of {', '.join(SOURCES)}."
        )
    return factory(address, selection, web_hosts)


def resolve_source_address(address: str) -> str:
    """Return an address that is valid in every folder: an existing path becomes absolute."""
    prefix = PAGE_LIST_PREFIX if address.startswith(PAGE_LIST_PREFIX) else ""
    path = Path(address.removeprefix(prefix)).expanduser()
    return prefix + str(path.resolve()) if "://" not in address and path.exists() else address


def _scheme(address: str) -> str:
    if address.startswith(PAGE_LIST_PREFIX):
        return "web"
    scheme, separator, _ = address.partition("://")
    return scheme.lower() if separator else "file"
