"""Pages of the web: one page, those of a sitemap, those of a list in a file. All of a source are of one site."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from core.errors import InvalidInput, Unavailable, UnreadableFile
from ingest.sources.address import ForbiddenAddress, WebAddress, parse_address
from ingest.sources.ip_guard import check_address, parse_allowed_hosts
from ingest.sources.local import open_local
from ingest.sources.selection import FileSelection
from ingest.sources.sitemap import MAX_SITEMAP_BYTES, parse_sitemap
from ingest.sources.types import SourceFile, file_changed
from ingest.sources.web_client import WebClient

PAGE_LIST_PREFIX = "web:"  # web:FILE names a file of addresses
MAX_PAGES = 100_000
MAX_SITEMAPS = 1_000


@dataclass(frozen=True, slots=True)
class PageListSource:
    """Pages that were named. Each is asked for its headers when it is listed, for a tag where the site gives one."""

    uri: str
    pages: tuple[WebAddress, ...]
    selection: FileSelection
    client: WebClient

    def list_files(self) -> Iterator[SourceFile]:
        """The pages in the order they were named in."""
        listed = self.uri.endswith("/")  # else it is the one page that was asked for by name
        wanted = [
            page
            for page in self.pages
            if not listed or self.selection.includes_path(page.display_path)
        ]
        if not wanted:
            raise InvalidInput(
                f"There is no page{self.selection.pattern_hint} in the list; name one at least."
            )
        for page in wanted:
            yield _describe_page(self.client, page, self.selection.default_groups)

    def read(self, file: SourceFile) -> bytes:
        """All of a page."""
        return _read_page(self.client, file)


@dataclass(frozen=True, slots=True)
class SitemapSource:
    """The pages of a site that its sitemap names, also through further sitemaps; those of other sites are left out."""

    address: WebAddress
    selection: FileSelection
    client: WebClient

    @property
    def uri(self) -> str:
        """The root of the site."""
        return self.address.origin

    def list_files(self) -> Iterator[SourceFile]:
        """The pages in the order of the sitemap."""
        found = False
        for page in self._list_pages():
            if self.selection.includes_path(page.display_path):
                found = True
                yield _describe_page(self.client, page, self.selection.default_groups)
        if not found:
            raise InvalidInput(
                f"{self.address} names no page of {self.uri}{self.selection.pattern_hint}."
            )

    def read(self, file: SourceFile) -> bytes:
        """All of a page."""
        return _read_page(self.client, file)

    def _list_pages(self) -> Iterator[WebAddress]:
        """Each page once. A part that can't be read stops the run: its pages would otherwise pass for deleted."""
        waiting, maps, seen = [self.address], {self.address}, set[WebAddress]()
        while waiting:
            at = waiting.pop(0)
            try:
                content = parse_sitemap(str(at), self.client.get(at, MAX_SITEMAP_BYTES).body)
            except UnreadableFile as error:
                raise (InvalidInput if at == self.address else Unavailable)(str(error)) from error
            further = [
                each for each in _filter_by_origin(content.sitemaps, self.uri) if each not in maps
            ]
            waiting, maps = waiting + further, maps | set(further)
            pages = [
                page
                for page in dict.fromkeys(_filter_by_origin(content.pages, self.uri))
                if page not in seen
            ]
            seen |= set(pages)
            if len(seen) > MAX_PAGES or len(maps) > MAX_SITEMAPS:
                raise InvalidInput(
                    f"{self.address} names more than {MAX_PAGES:,} pages; name sitemaps of parts of it."
                )
            yield from pages


def open_web_source(
    address: str, selection: FileSelection, web_hosts: str
) -> PageListSource | SitemapSource:
    """The source that a web address names: a sitemap when its last part says so and ends in .xml or .xml.gz.

    Raises:
        InvalidInput: the address is none that may be fetched.
    """
    client = get_web_client(web_hosts)
    page = _parse_allowed_address(address, client)
    name = page.request_target.partition("?")[0].rpartition("/")[2].lower()
    if "sitemap" in name and name.endswith((".xml", ".xml.gz")):
        return SitemapSource(page, selection, client)
    return PageListSource(build_page_uri(page), (page,), selection, client)


def open_page_list(address: str, selection: FileSelection, web_hosts: str) -> PageListSource:
    """The source that `web:FILE` names: addresses of one site, one a line; empty lines and comments (#) don't count.

    Raises:
        InvalidInput: the file can't be read, a line can't be used, or the addresses are of several sites.
    """
    client = get_web_client(web_hosts)
    name = address.removeprefix(PAGE_LIST_PREFIX)
    pages = list(dict.fromkeys(_read_page_list(name, client)))
    origins = {page.origin for page in pages}
    if len(origins) != 1 or len(pages) > MAX_PAGES:
        raise InvalidInput(
            f"{name} names {len(pages)} pages of {len(origins)} sites; write 1 to {MAX_PAGES:,} of one site, "
            "and a list for each site."
        )
    return PageListSource(origins.pop(), tuple(pages), selection, client)


@cache
def get_web_client(web_hosts: str) -> WebClient:
    """The client of this process, so that all sources are polite together and know a site's robots.txt."""
    return WebClient(parse_allowed_hosts(web_hosts))


def build_page_uri(page: WebAddress) -> str:
    """A page's uri: its address. An identity that ends in a slash would stand for all below it, so `#` is added."""
    return f"{page}#" if page.request_target.endswith("/") else str(page)


def _describe_page(
    client: WebClient, page: WebAddress, allowed_groups: tuple[str, ...]
) -> SourceFile:
    """A page with its tag; one that refuses to tell is listed without, and reading it says why."""
    try:
        answer = client.head(page)
    except UnreadableFile:
        return SourceFile(build_page_uri(page), page.display_path, allowed_groups)
    length = answer.headers.get("content-length", "")
    packed = answer.headers.get("content-encoding", "")
    size = (
        int(length)
        if answer.status == 200 and not packed and length.isascii() and length.isdigit()
        else None
    )
    return SourceFile(
        build_page_uri(page),
        page.display_path,
        allowed_groups,
        size,
        answer.tag if answer.status == 200 else None,
    )


def _read_page(client: WebClient, file: SourceFile) -> bytes:
    """A page's content. It is refused if it changed since it was listed: it must not be stored under the old tag.

    A site that gives another tag with each answer is told apart by asking a third time.
    """
    page = parse_address(file.uri)
    answer = client.get(page)
    if file.tag and answer.tag != file.tag and client.head(page).tag == answer.tag:
        raise file_changed(file.path)
    return answer.body


def _read_page_list(name: str, client: WebClient) -> Iterator[WebAddress]:
    source = open_local(name, FileSelection())
    try:
        lines = source.read(next(source.list_files())).decode().splitlines()
    except (UnreadableFile, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{name} can't be read as a list of addresses; write one a line, as UTF-8."
        ) from error
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield _parse_allowed_address(line, client)
            except InvalidInput as error:
                raise InvalidInput(f"{name}, line {number}: {error}") from error


def _parse_allowed_address(text: str, client: WebClient) -> WebAddress:
    """An address that may be asked for, as far as it can be told without resolving its name."""
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
