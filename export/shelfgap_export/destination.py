"""Where releases are published: a directory, an HTTP(S) server that takes PUT, or S3.

A destination is read like a device reads it. The index is replaced only if it is still what was read, so that of two
publishers at once one starts over. Each file appears under its name whole or not at all.
"""

from __future__ import annotations

import fcntl
import http.client
import re
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from shelfgap_edge.durable import write_durably
from shelfgap_edge.errors import PullError
from shelfgap_edge.pull.index import MAX_INDEX_BYTES
from shelfgap_edge.pull.source import Body, DirectorySource, Source, directory_of, read_small, scheme_of
from shelfgap_edge.pull.source_http import HttpSource, http_failure, http_request, send
from shelfgap_edge.pull.source_s3 import S3Source, s3_failure

_PRECONDITION_FAILED = 412


class ChangedMeanwhileError(Exception):
    """The file to replace is not what it was."""


class Destination(Protocol):
    """Read and write access to what is published; failures are PullError."""

    source: Source

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None if there is none or nobody says."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write a file."""
        ...

    def replace(self, name: str, content: bytes, expected: bytes | None) -> None:
        """Write a file if it still has the expected content, None for no such file.

        Raises:
            ChangedMeanwhileError: it has another one.
        """
        ...


def open_destination(uri: str) -> Destination:
    """Return the destination at an address, of the same kinds as `open_source`.

    Raises:
        PullError: an address of another kind, or boto3 is missing for S3.
    """
    scheme = scheme_of(uri)
    if scheme in ("http", "https"):
        return HttpDestination(uri)
    if scheme == "s3":
        return S3Destination(uri)
    return DirectoryDestination(directory_of(uri))


def read_or_none(source: Source, name: str) -> bytes | None:
    """Return a small file, None if there is none."""
    try:
        return read_small(source, name, MAX_INDEX_BYTES)
    except FileNotFoundError:
        return None


class _FolderToBe(DirectorySource):
    """A folder that may not be there yet: nothing lies in it."""

    @contextmanager
    def open(self, name: str, offset: int = 0) -> Iterator[Body]:
        """Open the file of that name in the folder."""
        if not Path(self.where).exists():
            raise FileNotFoundError(f"{self.where}: no such folder")
        with super().open(name, offset) as body:
            yield body


class DirectoryDestination:
    """A plain folder, which a web server or a stick may serve; made with the first file, if absent."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.source: Source = _FolderToBe(root)

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None if there is none."""
        path = self._root / name
        return path.stat().st_size if path.is_file() else None

    def put(self, name: str, content: bytes) -> None:
        """Write a file."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, content)

    def replace(self, name: str, content: bytes, expected: bytes | None) -> None:
        """Write a file if it still has the expected content."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / ".publish.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if read_or_none(self.source, name) != expected:
                raise ChangedMeanwhileError
            write_durably(self._root / name, content)


class HttpDestination:
    """A web server that takes PUT (WebDAV, Artifactory, Nexus); it should honour If-Match."""

    def __init__(self, base: str) -> None:
        self._http = HttpSource(base)
        self.source: Source = self._http

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None if there is none or the server does not say."""
        try:
            length = self._send("HEAD", name).headers.get("Content-Length", "")
        except FileNotFoundError:
            return None
        return int(length) if re.fullmatch("[0-9]{1,18}", length) else None

    def put(self, name: str, content: bytes) -> None:
        """Write a file."""
        self._send("PUT", name, content)

    def replace(self, name: str, content: bytes, expected: bytes | None) -> None:
        """Write a file if it still has the expected content."""
        tag = None if expected is None else self._send("HEAD", name).headers.get("ETag")
        if read_or_none(self.source, name) != expected:
            raise ChangedMeanwhileError
        condition = {"If-None-Match": "*"} if expected is None else {}
        if tag is not None and not tag.startswith("W/"):  # no If-Match holds for a weak one (RFC 9110, 13.1.1)
            condition["If-Match"] = tag
        self._send("PUT", name, content, condition)
        if read_or_none(self.source, name) != content:  # a server that knows no conditions
            raise ChangedMeanwhileError

    def _send(
        self, method: str, name: str, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        request = http_request(f"{self._http.where}/{quote(name)}", data=content, method=method, headers=headers or {})
        if content is not None:
            request.add_header("Content-Type", "application/octet-stream")
        try:
            with send(request) as response:
                response.read()
                return response
        except urllib.error.HTTPError as error:
            if error.code == _PRECONDITION_FAILED:
                error.close()
                raise ChangedMeanwhileError from None
            failure = http_failure(request, error)
            if method == "PUT" and error.code in (404, 405):
                failure = PullError(f"{request.full_url}: the server takes no PUT there ({error.code})")
            raise failure from None
        except (OSError, http.client.HTTPException) as error:
            raise http_failure(request, error) from None


class S3Destination:
    """A bucket, or what lies in it below a prefix."""

    def __init__(self, uri: str) -> None:
        self._s3 = S3Source(uri)
        self.source: Source = self._s3

    def size(self, name: str) -> int | None:
        """Return the size of an object in bytes, None if there is none."""
        try:
            return int(self._call("head_object", name)["ContentLength"])
        except FileNotFoundError:
            return None

    def put(self, name: str, content: bytes) -> None:
        """Write an object."""
        self._call("put_object", name, Body=content)

    def replace(self, name: str, content: bytes, expected: bytes | None) -> None:
        """Write an object if it still has the expected content."""
        tag = None if expected is None else self._call("head_object", name)["ETag"]
        if read_or_none(self.source, name) != expected:
            raise ChangedMeanwhileError
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        self._call("put_object", name, Body=content, **condition)

    def _call(self, operation: str, name: str, **arguments: Any) -> Any:
        try:
            call = getattr(self._s3.client, operation)
            return call(Bucket=self._s3.bucket, Key=self._s3.key(name), **arguments)
        except Exception as error:  # botocore and urllib3 raise types of their own
            failure = s3_failure(f"{self._s3.where}/{name}", error)
            if isinstance(failure, PullError) and getattr(error, "response", {}).get("Error", {}).get("Code") in (
                "PreconditionFailed",
                "ConditionalRequestConflict",
            ):
                raise ChangedMeanwhileError from None
            raise failure from None
