"""Source for object storage through fsspec: s3://, gs:// and az://."""

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

# Optional dependencies in pyproject.toml, by scheme.
SCHEME_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure"}

# Errors of the three libraries for missing or unknown credentials.
_CREDENTIAL_ERRORS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "ClientAuthenticationError",
}


@dataclass(frozen=True, slots=True)
class BucketSource:
    """A bucket, folder or object. `root` is its address without scheme and final slash."""

    scheme: str
    root: str
    is_object: bool
    selection: FileSelection

    @property
    def uri(self) -> str:
        """Address of the root; that of a bucket or folder ends in a slash."""
        return f"{self.scheme}://{self.root}" + ("" if self.is_object else "/")

    def list_files(self) -> Iterator[SourceFile]:
        """Yield objects in the order of their keys, each with its ETag as tag."""
        if self.is_object:
            with _translate_errors(self.uri):
                info = _open_filesystem(self.scheme).info(self.root)
            yield self._describe_object(info, self.root.rpartition("/")[2], ())
            return
        with _translate_errors(self.uri):
            objects = _open_filesystem(self.scheme).find(self.root, detail=True)
        rules = self._read_access_rules(objects)
        found = False
        for name, info in objects.items():
            path = name.removeprefix(f"{self.root}/")
            is_folder_marker = name.endswith("/")
            if not is_folder_marker and self.selection.includes_path(path):
                found = True
                yield self._describe_object(info, path, rules)
        if not found:
            raise InvalidInput(
                f"There is no file in {self.uri}{self.selection.pattern_hint}."
                " Name a folder with documents."
            )

    def read(self, file: SourceFile) -> bytes:
        """Return the content of an object."""
        return read_object(file)

    def _describe_object(
        self, info: dict[str, Any], path: str, rules: tuple[AccessRule, ...]
    ) -> SourceFile:
        uri, groups = f"{self.scheme}://{info['name']}", self.selection.groups_for(path, rules)
        return SourceFile(uri, path, groups, info.get("size"), _extract_tag(info))

    def _read_access_rules(self, objects: dict[str, dict[str, Any]]) -> tuple[AccessRule, ...]:
        info = objects.get(f"{self.root}/{ACCESS_RULES_FILE}")
        if info is None:
            return ()
        file = self._describe_object(info, ACCESS_RULES_FILE, ())
        try:
            return tuple(parse_access_rules(file.uri, read_object(file)))
        except UnreadableFile as error:
            raise InvalidInput(
                f"{file.uri} can't be read. Allow it: it controls who may read the other files."
            ) from error


def open_bucket(address: str, selection: FileSelection, _web_hosts: str = "") -> BucketSource:
    """Return the source of an address in object storage, after one request for its kind.

    Raises:
        InvalidInput: it does not exist, credentials are missing or refused, or the library is not
            installed.
        Unavailable: the storage does not answer.
    """
    scheme, _, path = address.partition("://")
    scheme, root = scheme.lower(), path.rstrip("/")
    if not root or root.startswith("/"):
        raise InvalidInput(f"{address} has no bucket. Write {scheme}://BUCKET/FOLDER/.")
    with _translate_errors(address):
        info = _open_filesystem(scheme).info(root)
    is_object = info["type"] == "file" and not path.endswith("/")
    return BucketSource(scheme, root, is_object, selection)


def read_object(file: SourceFile) -> bytes:
    """Return the content of an object as it was listed; raises as `Source.read`."""
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
        return fsspec.filesystem(scheme, use_listings_cache=False)  # fsspec keeps one per process
    except ImportError as error:
        extra = SCHEME_EXTRAS[scheme]
        raise InvalidInput(
            f"{scheme}:// needs a library. Run: pip install --editable '.[{extra}]'."
        ) from error


def _extract_tag(info: dict[str, Any]) -> str | None:
    tag = info.get("ETag") or info.get("etag")
    return str(tag).strip('"') if tag else None


@contextmanager
def _translate_errors(address: str, path: str = "") -> Iterator[None]:
    """Translate the errors of a storage library; with a `path`, into those of one file."""
    try:
        yield
    except (InvalidInput, UnreadableFile):
        raise
    except FileNotFoundError as error:
        if path:
            raise file_gone(path) from error
        raise InvalidInput(
            f"There is nothing at {address}. Check the names of the bucket and the folder."
        ) from error
    except PermissionError as error:
        if path:
            reason = f"{path} may not be read with these credentials. Allow it, or leave it out."
            raise UnreadableFile("unopened", reason) from error
        raise InvalidInput(
            f"The credentials may not list {address}. Check them and their permissions."
        ) from error
    except Exception as error:  # three libraries with classes of their own; all are raised again
        raise _translate_other_error(error, address, path) from error


def _translate_other_error(error: Exception, address: str, path: str) -> Exception:
    if isinstance(error, OSError) and error.errno == errno.EBUSY:
        return file_changed(path)
    if type(error).__name__ in _CREDENTIAL_ERRORS:
        return InvalidInput(
            f"There are no credentials for {address}. See docs/reference/sources.md."
        )
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return Unavailable(
        f"{address} can't be reached ({reason}). Check the endpoint and the network."
    )
