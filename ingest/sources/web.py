"""Pages of the web: one page, those of a sitemap, those of a list in a file. All of a source are of one site."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from core.errors import InvalidInput, Unavailable, Unreadable
from ingest.sources.address import Forbidden, WebAddress, parse_address
from ingest.sources.client import WebClient
from ingest.sources.guard import allowed_hosts, check_place
from ingest.sources.local import open_local
from ingest.sources.selection import Selection
from ingest.sources.sitemap import MAX_BYTES, parse_sitemap
from ingest.sources.types import SourceFile, changed

LIST = "web:"  # web:FILE names a file of addresses
MAX_PAGES = 100_000
MAX_SITEMAPS = 1_000


@dataclass(frozen=True, slots=True)
class WebPages:
    """Pages that were named. Each is asked for its headers when it is listed, for a tag where the site gives one."""

    uri: str
    pages: tuple[WebAddress, ...]
    selection: Selection
    client: WebClient

    def files(self) -> Iterator[SourceFile]:
        """The pages in the order they were named in."""
        listed = self.uri.endswith("/")  # else it is the one page that was asked for by name
        wanted = [page for page in self.pages if not listed or self.selection.wants(page.path)]
        if not wanted:
            raise InvalidInput(f"There is no page{self.selection.narrowed} in the list; name one at least.")
        for page in wanted:
            yield _listed(self.client, page, self.selection.readers)

    def read(self, file: SourceFile) -> bytes:
        """All of a page."""
        return _read(self.client, file)


@dataclass(frozen=True, slots=True)
class Sitemap:
    """The pages of a site that its sitemap names, also through further sitemaps; those of other sites are left out."""

    address: WebAddress
    selection: Selection
    client: WebClient

    @property
    def uri(self) -> str:
        """The root of the site."""
        return self.address.origin

    def files(self) -> Iterator[SourceFile]:
        """The pages in the order of the sitemap."""
        found = False
        for page in self._pages():
            if self.selection.wants(page.path):
                found = True
                yield _listed(self.client, page, self.selection.readers)
        if not found:
            raise InvalidInput(f"{self.address} names no page of {self.uri}{self.selection.narrowed}.")

    def read(self, file: SourceFile) -> bytes:
        """All of a page."""
        return _read(self.client, file)

    def _pages(self) -> Iterator[WebAddress]:
        """Each page once. A part that can't be read stops the run: its pages would otherwise pass for deleted."""
        waiting, maps, seen = [self.address], {self.address}, set[WebAddress]()
        while waiting:
            at = waiting.pop(0)
            try:
                content = parse_sitemap(str(at), self.client.get(at, MAX_BYTES).body)
            except Unreadable as error:
                raise (InvalidInput if at == self.address else Unavailable)(str(error)) from error
            further = [each for each in _of_site(content.sitemaps, self.uri) if each not in maps]
            waiting, maps = waiting + further, maps | set(further)
            pages = [page for page in dict.fromkeys(_of_site(content.pages, self.uri)) if page not in seen]
            seen |= set(pages)
            if len(seen) > MAX_PAGES or len(maps) > MAX_SITEMAPS:
                raise InvalidInput(f"{self.address} names more than {MAX_PAGES:,} pages; name sitemaps of parts of it.")
            yield from pages


def open_web(address: str, selection: Selection, web_hosts: str) -> WebPages | Sitemap:
    """The source that a web address names: a sitemap when its last part says so and ends in .xml or .xml.gz.

    Raises:
        InvalidInput: the address is none that may be fetched.
    """
    client = client_for(web_hosts)
    page = _checked(address, client)
    name = page.target.partition("?")[0].rpartition("/")[2].lower()
    if "sitemap" in name and name.endswith((".xml", ".xml.gz")):
        return Sitemap(page, selection, client)
    return WebPages(identity(page), (page,), selection, client)


def open_list(address: str, selection: Selection, web_hosts: str) -> WebPages:
    """The source that `web:FILE` names: addresses of one site, one a line; empty lines and comments (#) don't count.

    Raises:
        InvalidInput: the file can't be read, a line can't be used, or the addresses are of several sites.
    """
    client = client_for(web_hosts)
    name = address.removeprefix(LIST)
    pages = list(dict.fromkeys(_lines(name, client)))
    origins = {page.origin for page in pages}
    if len(origins) != 1 or len(pages) > MAX_PAGES:
        raise InvalidInput(
            f"{name} names {len(pages)} pages of {len(origins)} sites; write 1 to {MAX_PAGES:,} of one site, "
            "and a list for each site."
        )
    return WebPages(origins.pop(), tuple(pages), selection, client)


@cache
def client_for(web_hosts: str) -> WebClient:
    """The client of this process, so that all sources are polite together and know a site's robots.txt."""
    return WebClient(allowed_hosts(web_hosts))


def identity(page: WebAddress) -> str:
    """A page's uri: its address. An identity that ends in a slash would stand for all below it, so `#` is added."""
    return f"{page}#" if page.target.endswith("/") else str(page)


def _listed(client: WebClient, page: WebAddress, readers: tuple[str, ...]) -> SourceFile:
    """A page with its tag; one that refuses to tell is listed without, and reading it says why."""
    try:
        answer = client.head(page)
    except Unreadable:
        return SourceFile(identity(page), page.path, readers)
    length = answer.headers.get("content-length", "")
    packed = answer.headers.get("content-encoding", "")
    size = int(length) if answer.status == 200 and not packed and length.isascii() and length.isdigit() else None
    return SourceFile(identity(page), page.path, readers, size, answer.tag if answer.status == 200 else None)


def _read(client: WebClient, file: SourceFile) -> bytes:
    """A page's content. It is refused if it changed since it was listed: it must not be stored under the old tag.

    A site that gives another tag with each answer is told apart by asking a third time.
    """
    page = parse_address(file.uri)
    answer = client.get(page)
    if file.tag and answer.tag != file.tag and client.head(page).tag == answer.tag:
        raise changed(file.path)
    return answer.body


def _lines(name: str, client: WebClient) -> Iterator[WebAddress]:
    source = open_local(name, Selection())
    try:
        lines = source.read(next(source.files())).decode().splitlines()
    except (Unreadable, UnicodeDecodeError) as error:
        raise InvalidInput(f"{name} can't be read as a list of addresses; write one a line, as UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield _checked(line, client)
            except InvalidInput as error:
                raise InvalidInput(f"{name}, line {number}: {error}") from error


def _checked(text: str, client: WebClient) -> WebAddress:
    """An address that may be asked for, as far as it can be told without resolving its name."""
    try:
        address = parse_address(text)
        if not client.allows(address):
            check_place(address)
    except Forbidden as error:
        raise InvalidInput(str(error)) from error
    return address


def _of_site(texts: Iterable[str], origin: str) -> Iterator[WebAddress]:
    for text in texts:
        try:
            address = parse_address(text)
        except Forbidden:
            continue
        if address.origin == origin:
            yield address
