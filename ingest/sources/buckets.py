"""Object storage through fsspec: s3://, gs:// and az://, each with its usual environment for credentials."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInput, Unavailable, Unreadable
from ingest.sources.selection import READERS_FILE, ReaderRule, Selection, read_rules
from ingest.sources.types import MAX_BYTES, SourceFile, changed, gone, too_large

EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure"}  # scheme -> optional dependencies in pyproject.toml

# What the three libraries raise when they find no credentials, or ones that nobody knows.
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "ClientAuthenticationError",
}


@dataclass(frozen=True, slots=True)
class BucketFiles:
    """A bucket, a folder in it, or one object. `place` is its address without the scheme and a slash at the end."""

    scheme: str
    place: str
    single: bool
    selection: Selection

    @property
    def uri(self) -> str:
        """Its address; a bucket's or folder's ends in a slash."""
        return f"{self.scheme}://{self.place}" + ("" if self.single else "/")

    def files(self) -> Iterator[SourceFile]:
        """Objects in the order of their keys, from one flat listing; each is tagged with its ETag."""
        if self.single:
            with _explained(self.uri):
                info = _filesystem(self.scheme).info(self.place)
            yield self._file(info, self.place.rpartition("/")[2], ())
            return
        with _explained(self.uri):
            listed = _filesystem(self.scheme).find(self.place, detail=True)
        rules = self._rules(listed)
        found = False
        for name, info in listed.items():
            path = name.removeprefix(f"{self.place}/")
            if not name.endswith("/") and self.selection.wants(path):  # with a slash: only the mark of a folder
                found = True
                yield self._file(info, path, rules)
        if not found:
            narrowed = self.selection.narrowed
            raise InvalidInput(f"There is no file in {self.uri}{narrowed}; name a place that holds documents.")

    def read(self, file: SourceFile) -> bytes:
        """All of an object."""
        return read(file)

    def _file(self, info: dict[str, Any], path: str, rules: "tuple[ReaderRule, ...]") -> SourceFile:
        readers = self.selection.readers_of(path, rules)
        return SourceFile(f"{self.scheme}://{info['name']}", path, readers, info.get("size"), _tag(info))

    def _rules(self, listed: dict[str, dict[str, Any]]) -> "tuple[ReaderRule, ...]":
        info = listed.get(f"{self.place}/{READERS_FILE}")
        if info is None:
            return ()
        file = self._file(info, READERS_FILE, ())
        try:
            return tuple(read_rules(file.uri, read(file)))
        except Unreadable as error:
            raise InvalidInput(f"{file.uri} can't be read; allow it, since it says who may read the rest.") from error


def open_bucket(address: str, selection: Selection) -> BucketFiles:
    """The source that an address in object storage names; asks the storage once whether and what it is.

    Raises:
        InvalidInput: nothing there, credentials missing or refused, or the library for it not installed.
        Unavailable: the storage does not answer.
    """
    scheme, _, place = address.partition("://")
    scheme, bare = scheme.lower(), place.rstrip("/")
    if not bare or bare.startswith("/"):
        raise InvalidInput(f"{address} names no bucket; write {scheme}://BUCKET/FOLDER/.")
    with _explained(address):
        info = _filesystem(scheme).info(bare)
    single = info["type"] == "file" and not place.endswith("/")
    return BucketFiles(scheme, bare, single, selection)


def read(file: SourceFile) -> bytes:
    """All of an object, as it was when its tag was listed; see Source.read."""
    scheme, _, name = file.uri.partition("://")
    with _explained(file.uri, file.path), _filesystem(scheme).open(name, "rb", cache_type="none") as opened:
        if opened.details["size"] > MAX_BYTES:
            raise too_large(file.path)
        if file.tag is not None and _tag(opened.details) != file.tag:
            raise changed(file.path)
        return bytes(opened.read())


def _filesystem(scheme: str) -> Any:
    import fsspec

    try:
        return fsspec.filesystem(scheme, use_listings_cache=False)  # one a process: fsspec keeps it
    except ImportError as error:
        extra = EXTRAS[scheme]
        raise InvalidInput(
            f"{scheme}:// needs a library that is not installed; run: pip install --editable '.[{extra}]'."
        ) from error


def _tag(info: dict[str, Any]) -> str | None:
    tag = info.get("ETag") or info.get("etag")
    return str(tag).strip('"') if tag else None


@contextmanager
def _explained(address: str, path: str = "") -> Iterator[None]:
    """Turn what a storage's library raises into our own errors; with a `path`, those of one file."""
    try:
        yield
    except (InvalidInput, Unreadable):
        raise
    except FileNotFoundError as error:
        raise gone(path) if path else _nothing_at(address) from error
    except PermissionError as error:
        raise _refused(address, path) from error
    except Exception as error:  # three libraries, each with classes of its own; nothing is swallowed
        if isinstance(error, OSError) and error.errno == errno.EBUSY:
            raise changed(path) from error
        if type(error).__name__ in _NO_CREDENTIALS:
            raise _no_credentials(address) from error
        short = " ".join(str(error).split())[:160] or type(error).__name__
        raise Unavailable(f"{address} can't be reached ({short}); check the endpoint and the network.") from error


def _nothing_at(address: str) -> InvalidInput:
    return InvalidInput(f"There is nothing at {address}; check the names of the bucket and the folder.")


def _no_credentials(address: str) -> InvalidInput:
    return InvalidInput(f"There are no credentials for {address}; docs/sources.md says where they are looked for.")


def _refused(address: str, path: str) -> InvalidInput | Unreadable:
    if path:
        return Unreadable("unopened", f"{path} may not be read with these credentials; allow it, or leave it out.")
    return InvalidInput(f"The credentials may not list {address}; check them, and what they allow.")
