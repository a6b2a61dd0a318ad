"""Files of a release by their SHA-256, gathered before a slot is made of them; what is here is not fetched again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from shelfgap_edge.durable import rename_durably
from shelfgap_edge.errors import PullError, TransferError
from shelfgap_edge.pull.index import FileEntry
from shelfgap_edge.pull.source import Source, blob_name

MAX_TRIES = 6  # in a row without a new byte
_PART = ".part"


class Store:
    """A folder of whole files, each named by its SHA-256, and of `.part` files of broken transfers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, entry: FileEntry) -> Path:
        """Return where that file lies once it is whole and checked."""
        return self._folder / entry.sha256

    def keep_only(self, entries: Iterable[FileEntry]) -> None:
        """Delete what these files do not need, such as parts of a release that was replaced, and what was spoilt."""
        self._folder.mkdir(exist_ok=True)
        wanted = {entry.sha256 for entry in entries}
        for path in self._folder.iterdir():
            is_part = path.name.endswith(_PART)  # hashed when it is whole
            if path.name.removesuffix(_PART) not in wanted or not (is_part or _digest(path) == path.name):
                path.unlink()

    def missing_bytes(self, entries: Iterable[FileEntry]) -> int:
        """Return how many bytes are still to come until all these files are here."""
        distinct = {entry.sha256: entry for entry in entries}.values()
        return sum(entry.size - self._have(entry) for entry in distinct)

    def adopt(self, entry: FileEntry, folders: Iterable[Path]) -> bool:
        """Copy the file from the first of these folders that has it whole; False if none has.

        A copy and not a link: what spoils the one slot must not spoil the other.
        """
        for folder in folders:
            for path in folder.rglob("*"):
                content = _content_of_size(path, entry.size)
                if content is not None and hashlib.sha256(content).hexdigest() == entry.sha256:
                    draft = self._folder / f"{entry.sha256}.copy"
                    draft.write_bytes(content)
                    self._finish(draft, entry)
                    return True
        return False

    def fetch(
        self,
        entry: FileEntry,
        source: Source,
        on_bytes: Callable[[int], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Fetch a file, from where an earlier transfer stopped, and check it.

        A broken transfer is taken up again, after 1, 2, 4... seconds, until six tries in a row bring no byte.

        Args:
            entry: the file.
            source: where from.
            on_bytes: called with the number of bytes of each chunk that came.
            sleep: waits that many seconds.

        Raises:
            TransferError: no more bytes come; the next call goes on.
            PullError: the source has not this file, or other bytes under its name.
        """
        tries, from_scratch = 0, False
        while True:
            had = self._have(entry)
            try:
                self._transfer(entry, source, on_bytes)
            except TransferError:
                tries = 1 if self._have(entry) > had else tries + 1
                if tries >= MAX_TRIES:
                    raise
                sleep(2.0 ** (tries - 1))
                continue
            part = self._part(entry)
            digest = _digest(part)
            if digest == entry.sha256:
                self._finish(part, entry)
                return
            part.unlink()
            if from_scratch or had == 0:
                raise PullError(
                    f"{source.where}: {entry.path} arrived with the SHA-256 {digest[:12]}..., the index says "
                    f"{entry.sha256[:12]}...; delete {blob_name(entry.sha256)} there and publish the bundle again"
                )
            from_scratch = True  # the part that was here may have been spoilt by a power cut

    def _transfer(self, entry: FileEntry, source: Source, on_bytes: Callable[[int], None]) -> None:
        part = self._part(entry)
        have = self._have(entry)
        if have == entry.size > 0:
            return
        try:
            with source.open(blob_name(entry.sha256), have) as body, part.open("ab") as file:
                file.truncate(body.start)
                room = entry.size - body.start
                for chunk in body.chunks:
                    if len(chunk) > room:
                        raise PullError(f"{source.where}: {entry.path} has more than its {entry.size} bytes")
                    file.write(chunk)
                    file.flush()  # it is here even if the process is killed now
                    room -= len(chunk)
                    on_bytes(len(chunk))
        except FileNotFoundError:
            raise PullError(f"{source.where}: has no {blob_name(entry.sha256)} ({entry.path}); publish again") from None
        if room:
            raise TransferError(f"{source.where}: {entry.path} broke off, {room} of {entry.size} bytes are missing")

    def _have(self, entry: FileEntry) -> int:
        if self.path(entry).exists():
            return entry.size
        part = self._part(entry)
        size = part.stat().st_size if part.exists() else 0
        return size if size <= entry.size else 0

    def _finish(self, draft: Path, entry: FileEntry) -> None:
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        rename_durably(draft, self.path(entry))

    def _part(self, entry: FileEntry) -> Path:
        return self._folder / f"{entry.sha256}{_PART}"


def _digest(path: Path) -> str:
    """Return the SHA-256 in hex, empty where a broken disk does not give the file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _content_of_size(path: Path, size: int) -> bytes | None:
    try:
        if path.is_file() and not path.is_symlink() and path.stat().st_size == size:
            return path.read_bytes()
    except OSError:  # a spoilt slot; the source has the file
        pass
    return None
