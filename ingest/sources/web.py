"""Sources for pages of one site: a page, the pages of a sitemap, or those of a list in a file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from core.errors import InvalidInput, Unavailable, UnreadableFile
from ingest.sources.address import ForbiddenAddress, WebAddress, parse_address
from ingest.sources.ip_guard import check_address, parse_allowed_hosts
from ingest.sources.local import open_local
from ingest.sources.selection import FileSelection
from ingest.sources.sitemap import MAX_SITEMAP_BYTES, parse_sitemap
from ingest.sources.types import SourceFile, file_changed
from ingest.sources.web_client import WebClient

PAGE_LIST_PREFIX = "web:"  # web:FILE is a file with addresses
MAX_PAGES = 100_000
MAX_SITEMAPS = 1_000


@dataclass(frozen=True, slots=True)
class PageListSource:
    """Pages named by address. Listing requests the headers of each, for its tag."""

    uri: str
    pages: tuple[WebAddress, ...]
    selection: FileSelection
    client: WebClient

    def list_files(self) -> Iterator[SourceFile]:
        """Yield the pages in the order of their list."""
        is_single_page = not self.uri.endswith("/")
        selected = [
            page
            for page in self.pages
            if is_single_page or self.selection.includes_path(page.display_path)
        ]
        if not selected:
            raise InvalidInput(
                f"There is no page{self.selection.pattern_hint} in the list. Name at least one."
            )
        for page in selected:
            yield _describe_page(self.client, page, self.selection.default_groups)

    def read(self, file: SourceFile) -> bytes:
        """Return the content of a page."""
        return _read_page(self.client, file)


@dataclass(frozen=True, slots=True)
class SitemapSource:
    """Pages in a sitemap and its further sitemaps, without those of other sites."""

    address: WebAddress
    selection: FileSelection
    client: WebClient

    @property
    def uri(self) -> str:
        """Root of the site."""
        return self.address.origin

    def list_files(self) -> Iterator[SourceFile]:
        """Yield the pages in the order of the sitemap."""
        found = False
        for page in self._list_pages():
            if self.selection.includes_path(page.display_path):
                found = True
                yield _describe_page(self.client, page, self.selection.default_groups)
        if not found:
            raise InvalidInput(
                f"{self.address} names no page of {self.uri}{self.selection.pattern_hint}."
                " Name another sitemap."
            )

    def read(self, file: SourceFile) -> bytes:
        """Return the content of a page."""
        return _read_page(self.client, file)

    def _list_pages(self) -> Iterator[WebAddress]:
        """Yield each page once. An unreadable part stops the run: its pages would look deleted."""
        sitemaps, pages = [self.address], set[WebAddress]()
        for sitemap in sitemaps:  # grows while it is read
            try:
                entries = parse_sitemap(
                    str(sitemap), self.client.get(sitemap, MAX_SITEMAP_BYTES).body
                )
            except UnreadableFile as error:
                kind = InvalidInput if sitemap == self.address else Unavailable
                raise kind(str(error)) from error
            further = dict.fromkeys(_filter_by_origin(entries.sitemaps, self.uri))
            sitemaps += [each for each in further if each not in sitemaps]
            listed = dict.fromkeys(_filter_by_origin(entries.pages, self.uri))
            new_pages = [page for page in listed if page not in pages]
            pages.update(new_pages)
            if len(pages) > MAX_PAGES or len(sitemaps) > MAX_SITEMAPS:
                raise InvalidInput(
                    f"{self.address} has over {MAX_PAGES:,} pages. Name sitemaps of parts of it."
                )
            yield from new_pages


def open_web_source(
    address: str, selection: FileSelection, web_hosts: str
) -> PageListSource | SitemapSource:
    """Return the source of a web address: a sitemap if its file name is *sitemap*.xml or .xml.gz.

    Raises:
        InvalidInput: the address may not be fetched.
    """
    client = get_web_client(web_hosts)
    page = _parse_allowed_address(address, client)
    name = page.request_target.partition("?")[0].rpartition("/")[2].lower()
    if "sitemap" in name and name.endswith((".xml", ".xml.gz")):
        return SitemapSource(page, selection, client)
    return PageListSource(build_page_uri(page), (page,), selection, client)


def open_page_list(address: str, selection: FileSelection, web_hosts: str) -> PageListSource:
    """Return the source of `web:FILE`: addresses of one site, one per line, and # comments.

    Raises:
        InvalidInput: the file can't be read, a line can't be used, or the addresses are of several
            sites.
    """
    client = get_web_client(web_hosts)
    name = address.removeprefix(PAGE_LIST_PREFIX)
    pages = list(dict.fromkeys(_read_page_list(name, client)))
    origins = {page.origin for page in pages}
    if len(origins) != 1 or len(pages) > MAX_PAGES:
        raise InvalidInput(
            f"{name} has {len(pages)} pages of {len(origins)} sites. Write 1 to {MAX_PAGES:,} pages"
            " of one site, and a list for each site."
        )
    return PageListSource(origins.pop(), tuple(pages), selection, client)


@cache
def get_web_client(web_hosts: str) -> WebClient:
    """Return the client that all sources share, with its request delays and robots.txt rules."""
    return WebClient(parse_allowed_hosts(web_hosts))


def build_page_uri(page: WebAddress) -> str:
    """Return the uri of a page; `#` follows a final slash, which would mean all pages below."""
    return f"{page}#" if page.request_target.endswith("/") else str(page)


def _describe_page(
    client: WebClient, page: WebAddress, allowed_groups: tuple[str, ...]
) -> SourceFile:
    """Return a page with tag and size, or without both if there is no answer."""
    file = SourceFile(build_page_uri(page), page.display_path, allowed_groups)
    try:
        response = client.head(page)
    except UnreadableFile:
        return file
    if response.status != 200:
        return file
    length = response.headers.get("content-length", "")
    is_packed = bool(response.headers.get("content-encoding", ""))
    size = int(length) if length.isdecimal() and length.isascii() and not is_packed else None
    return replace(file, size=size, tag=response.tag)


def _read_page(client: WebClient, file: SourceFile) -> bytes:
    """Return the content of a page; refuse it if it changed after the listing.

    Some sites send a new tag with each response: a third request recognises them.
    """
    page = parse_address(file.uri)
    response = client.get(page)
    if file.tag and response.tag != file.tag and client.head(page).tag == response.tag:
        raise file_changed(file.path)
    return response.body


def _read_page_list(name: str, client: WebClient) -> Iterator[WebAddress]:
    source = open_local(name, FileSelection())
    try:
        lines = source.read(next(source.list_files())).decode().splitlines()
    except (UnreadableFile, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{name} can't be read as a list of addresses. Write one per line, as UTF-8."
        ) from error
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield _parse_allowed_address(line, client)
            except InvalidInput as error:
                raise InvalidInput(f"{name}, line {number}: {error}") from error


def _parse_allowed_address(text: str, client: WebClient) -> WebAddress:
    """Return an address that may be fetched, as far as this is clear without a look-up."""
    try:
        address = parse_address(text)
        if not client.is_allowed(address):
            check_address(address)
    except ForbiddenAddress as error:
        raise InvalidInput(str(error)) from error
    return address


def _filter_by_origin(texts: Iterable[str], origin: str) -> Iterator[WebAddress]:
    for text in texts:
        try:
            address = parse_address(text)
        except ForbiddenAddress:
            continue
        if address.origin == origin:
            yield address
