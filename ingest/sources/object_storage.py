"""Object storage through fsspec: s3://, gs:// and az://, each with its usual environment for credentials."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInput, Unavailable, UnreadableFile
from ingest.sources.selection import (
    ACCESS_RULES_FILE,
    AccessRule,
    FileSelection,
    parse_access_rules,
)
from ingest.sources.types import MAX_FILE_BYTES, SourceFile, file_changed, file_gone, file_too_large

SCHEME_EXTRAS = {
    "s3": "s3",
    "gs": "gcs",
    "az": "azure",
}  # scheme -> optional dependencies in pyproject.toml

# What the three libraries raise when they find no credentials, or ones that nobody knows.
_CREDENTIAL_ERRORS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "ClientAuthenticationError",
}


@dataclass(frozen=True, slots=True)
class BucketSource:
    """A bucket, a folder in it, or one object. `place` is its address without the scheme and a slash at the end."""

    scheme: str
    root: str
    is_object: bool
    selection: FileSelection

    @property
    def uri(self) -> str:
        """Its address; a bucket's or folder's ends in a slash."""
        return f"{self.scheme}://{self.root}" + ("" if self.is_object else "/")

    def list_files(self) -> Iterator[SourceFile]:
        """Objects in the order of their keys, from one flat listing; each is tagged with its ETag."""
        if self.is_object:
            with _translate_errors(self.uri):
                info = _open_filesystem(self.scheme).info(self.root)
            yield self._describe_object(info, self.root.rpartition("/")[2], ())
            return
        with _translate_errors(self.uri):
            listed = _open_filesystem(self.scheme).find(self.root, detail=True)
        rules = self._read_access_rules(listed)
        found = False
        for name, info in listed.items():
            path = name.removeprefix(f"{self.root}/")
            if not name.endswith("/") and self.selection.includes_path(
                path
            ):  # with a slash: only the mark of a folder
                found = True
                yield self._describe_object(info, path, rules)
        if not found:
            narrowed = self.selection.pattern_hint
            raise InvalidInput(
                f"There is no file in {self.uri}{narrowed}; name a place that holds documents."
            )

    def read(self, file: SourceFile) -> bytes:
        """All of an object."""
        return read_object(file)

    def _describe_object(
        self, info: dict[str, Any], path: str, rules: "tuple[AccessRule, ...]"
    ) -> SourceFile:
        readers = self.selection.groups_for(path, rules)
        return SourceFile(
            f"{self.scheme}://{info['name']}", path, readers, info.get("size"), _extract_tag(info)
        )

    def _read_access_rules(self, objects: dict[str, dict[str, Any]]) -> "tuple[AccessRule, ...]":
        info = objects.get(f"{self.root}/{ACCESS_RULES_FILE}")
        if info is None:
            return ()
        file = self._describe_object(info, ACCESS_RULES_FILE, ())
        try:
            return tuple(parse_access_rules(file.uri, read_object(file)))
        except UnreadableFile as error:
            raise InvalidInput(
                f"{file.uri} can't be read; allow it, since it says who may read the rest."
            ) from error


def open_bucket(address: str, selection: FileSelection) -> BucketSource:
    """The source that an address in object storage names; asks the storage once whether and what it is.

    Raises:
        InvalidInput: nothing there, credentials missing or refused, or the library for it not installed.
        Unavailable: the storage does not answer.
    """
    scheme, _, place = address.partition("://")
    scheme, bare = scheme.lower(), place.rstrip("/")
    if not bare or bare.startswith("/"):
        raise InvalidInput(f"{address} names no bucket; write {scheme}://BUCKET/FOLDER/.")
    with _translate_errors(address):
        info = _open_filesystem(scheme).info(bare)
    single = info["type"] == "file" and not place.endswith("/")
    return BucketSource(scheme, bare, single, selection)


def read_object(file: SourceFile) -> bytes:
    """All of an object, as it was when its tag was listed; see Source.read."""
    scheme, _, name = file.uri.partition("://")
    with (
        _translate_errors(file.uri, file.path),
        _open_filesystem(scheme).open(name, "rb", cache_type="none") as opened,
    ):
        if opened.details["size"] > MAX_FILE_BYTES:
            raise file_too_large(file.path)
        if file.tag is not None and _extract_tag(opened.details) != file.tag:
            raise file_changed(file.path)
        return bytes(opened.read())


def _open_filesystem(scheme: str) -> Any:
    import fsspec

    try:
        return fsspec.filesystem(scheme, use_listings_cache=False)  # one a process: fsspec keeps it
    except ImportError as error:
        extra = SCHEME_EXTRAS[scheme]
        raise InvalidInput(
            f"{scheme}:// needs a library that is not installed; run: pip install --editable '.[{extra}]'."
        ) from error


def _extract_tag(info: dict[str, Any]) -> str | None:
    tag = info.get("ETag") or info.get("etag")
    return str(tag).strip('"') if tag else None


@contextmanager
def _translate_errors(address: str, path: str = "") -> Iterator[None]:
    """Turn what a storage's library raises into our own errors; with a `path`, those of one file."""
    try:
        yield
    except (InvalidInput, UnreadableFile):
        raise
    except FileNotFoundError as error:
        raise file_gone(path) if path else _address_not_found(address) from error
    except PermissionError as error:
        raise _access_denied(address, path) from error
    except (
        Exception
    ) as error:  # three libraries, each with classes of its own; nothing is swallowed
        if isinstance(error, OSError) and error.errno == errno.EBUSY:
            raise file_changed(path) from error
        if type(error).__name__ in _CREDENTIAL_ERRORS:
            raise _missing_credentials(address) from error
        short = " ".join(str(error).split())[:160] or type(error).__name__
        raise Unavailable(
            f"{address} can't be reached ({short}); check the endpoint and the network."
        ) from error


def _address_not_found(address: str) -> InvalidInput:
    return InvalidInput(
        f"There is nothing at {address}; check the names of the bucket and the folder."
    )


def _missing_credentials(address: str) -> InvalidInput:
    return InvalidInput(
        f"There are no credentials for {address}; docs/reference/sources.md says where they are looked for."
    )


def _access_denied(address: str, path: str) -> InvalidInput | UnreadableFile:
    if path:
        return UnreadableFile(
            "unopened", f"{path} may not be read with these credentials; allow it, or leave it out."
        )
    return InvalidInput(f"The credentials may not list {address}; check them, and what they allow.")
