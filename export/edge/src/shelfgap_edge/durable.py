"""Writes that a kill or a power cut leaves done or not begun."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_durably(path: Path, content: bytes, *, drafts: Path | None = None) -> None:
    """Write a file so that it has its old content or the new one, also after a power cut.

    Args:
        path: the file.
        content: all of it.
        drafts: folder of the draft, on the same file system; None for that of the file. A kill may leave one there.
    """
    draft = (drafts or path.parent) / f".{path.name}.{os.getpid()}.tmp"
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        rename_durably(draft, path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def rename_durably(source: Path, target: Path) -> None:
    """Rename in one step, replacing what is there (of a folder: an empty one only), and make that last."""
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
