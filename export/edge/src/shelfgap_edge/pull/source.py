"""Where releases come from: a directory, an HTTP(S) server or S3, all read in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from shelfgap_edge.errors import PullError, TransferError

CHUNK_BYTES = 64 * 1024
MISSING_EXTRA = "an s3:// address needs boto3; install shelfgap-edge[s3]"


class Body(NamedTuple):
    """The bytes of a file from `start` on; a server that cannot skip starts at 0."""

    start: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """Read access to what was published.

    `open` gives a file from an offset on. It raises `FileNotFoundError` where there is none, TransferError if another
    try may help, PullError if not; while the chunks are read, the latter two.
    """

    where: str

    def open(self, name: str, offset: int = 0) -> AbstractContextManager[Body]:
        """Open the file of that name below the address."""
        ...


def blob_name(sha256: str) -> str:
    """Return where the file of that SHA-256 lies below the address."""
    return f"blobs/{sha256[:2]}/{sha256}"


def open_source(uri: str) -> Source:
    """Return the source at an address: a directory (a path or file://), http://, https:// or s3://bucket/prefix.

    Raises:
        PullError: an address of another kind, or boto3 is missing for S3.
    """
    scheme = scheme_of(uri)
    if scheme in ("http", "https"):
        from shelfgap_edge.pull.source_http import HttpSource

        return HttpSource(uri)
    if scheme == "s3":
        from shelfgap_edge.pull.source_s3 import S3Source

        return S3Source(uri)
    return DirectorySource(directory_of(uri))


def scheme_of(uri: str) -> str:
    """Return what an address begins with, before its colon; empty for a path.

    Raises:
        PullError: it is no address, nor a path.
    """
    try:
        return urlsplit(uri).scheme
    except ValueError:  # the address itself is not told: it may hold a secret
        raise PullError("expected an address such as https://models.example.com/shelfgap; check its host") from None


def directory_of(uri: str) -> Path:
    """Return the folder that a path or a file:// address means.

    Raises:
        PullError: an address of another kind.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if "://" in uri or not uri:
        raise PullError(f"{uri!r}: expected a folder, or an address that begins with http://, https:// or s3://")
    return Path(uri)


def read_small(
    source: Source,
    name: str,
    max_bytes: int,
    on_bytes: Callable[[int], None] = lambda count: None,
    sleep: Callable[[float], None] = time.sleep,
) -> bytes:
    """Return a small file whole; a broken transfer is tried three times.

    Args:
        source: where from.
        name: of the file.
        max_bytes: refuse a larger one.
        on_bytes: called with the number of bytes of each chunk that came.
        sleep: waits that many seconds.

    Raises:
        FileNotFoundError: there is none.
        PullError: it cannot be read, or is larger.
    """
    for wait_seconds in (1.0, 2.0):
        try:
            return _read_small(source, name, max_bytes, on_bytes)
        except TransferError:
            sleep(wait_seconds)
    return _read_small(source, name, max_bytes, on_bytes)


def _read_small(source: Source, name: str, max_bytes: int, on_bytes: Callable[[int], None]) -> bytes:
    content = bytearray()
    with source.open(name) as body:
        for chunk in body.chunks:
            content += chunk
            on_bytes(len(chunk))
            if len(content) > max_bytes:
                raise PullError(f"{source.where}: {name} has more than {max_bytes} bytes; check the address")
    return bytes(content)


class DirectorySource:
    """A plain folder: a disk, a stick, a network drive."""

    def __init__(self, root: Path) -> None:
        self.where = str(root)
        self._root = root

    @contextmanager
    def open(self, name: str, offset: int = 0) -> Iterator[Body]:
        """Open the file of that name in the folder."""
        if not self._root.is_dir():
            raise TransferError(f"{self._root}: no such folder; is the drive mounted?")
        path = self._root / name
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from None
        with file:
            file.seek(offset)
            yield Body(offset, _file_chunks(file, path))


def _file_chunks(file: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> TransferError:
    return TransferError(f"{path}: cannot be read ({error.strerror or error})")
