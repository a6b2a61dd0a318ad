"""Frames from files and folders, for commands that people run: never more of a file than a frame may have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from shelfgap_edge.errors import FrameError
from shelfgap_edge.image import MAX_BODY_BYTES

_SUFFIXES = (".jpg", ".jpeg")


def read_frame(path: Path) -> bytes:
    """Read one frame.

    Raises:
        FrameError: a folder, or it cannot be read; the text does not name it.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BODY_BYTES + 1)  # one more, so that the limit is seen to be passed
    except IsADirectoryError:
        raise FrameError("is a folder, expected a JPEG file") from None
    except OSError as error:
        raise FrameError(f"cannot be read ({error.strerror})") from None


def read_frames(paths: Sequence[Path]) -> list[bytes]:
    """Read frames: files as given, and of folders the JPEG files in them, by name.

    Raises:
        FrameError: one cannot be read, or a folder has none.
    """
    frames = []
    for path in (found for given in paths for found in files_of(given)):
        try:
            frames.append(read_frame(path))
        except FrameError as error:
            raise FrameError(f"{path}: {error}") from None
    return frames


def files_of(path: Path) -> Iterator[Path]:
    """Yield a file itself, or the JPEG files of a folder by name.

    Raises:
        FrameError: a folder that cannot be read or has none.
    """
    found = [path]
    try:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None
    if not found:
        raise FrameError(f"{path}: no JPEG file in this folder (names must end in {' or '.join(_SUFFIXES)})")
    yield from found
