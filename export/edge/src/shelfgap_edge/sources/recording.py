"""The pictures of a dataset folder or a shelf-day in the order in which they were taken, to be replayed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shelfgap_edge.toml_table import ConfigError

_ANNOTATIONS = "annotations.json"
_IMAGES = "images"
_JPEG_SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Picture:
    """A picture of a recording.

    Attributes:
        path: its file.
        camera: as the recording names it; None where it does not.
        at: when it was taken, seconds since the epoch; None where nothing says so.
    """

    path: Path
    camera: str | None
    at: float | None


def read_recording(folder: Path, *, camera: str | None = None) -> tuple[Picture, ...]:
    """List the pictures of a recording; none of them is opened.

    Args:
        folder: a dataset (`images/`, `annotations.json` with `captured_at` and `camera`, as `shelfgap data` writes
            it; a shelf-day is one), or a folder of JPEGs, then in the order of their names.
        camera: only pictures of this camera of the recording.

    Returns:
        JPEGs by time, then name. Times without a zone are taken for UTC.

    Raises:
        ConfigError: there is no such folder, its annotations cannot be read, or no JPEG is left.
    """
    try:
        kept = [picture for picture in _pictures(folder) if camera in (None, picture.camera)]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be listed ({error.strerror})") from None
    if not kept:
        of_camera = "" if camera is None else f" of camera {camera!r}"
        raise ConfigError(f"{folder}: no JPEG{of_camera} in it")
    if any(picture.at is None for picture in kept):  # one without a time: none of the times gives an order
        kept = [Picture(picture.path, picture.camera, None) for picture in kept]
    return tuple(sorted(kept, key=lambda picture: (picture.at or 0.0, str(picture.path))))


def _pictures(folder: Path) -> list[Picture]:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected the folder of a dataset or of JPEGs, it is not there")
    annotations = folder / _ANNOTATIONS
    if annotations.is_file():
        return [picture for picture in _from_annotations(annotations) if _is_jpeg(picture.path)]
    return [Picture(path, None, None) for path in folder.rglob("*") if _is_jpeg(path) and path.is_file()]


def _is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in _JPEG_SUFFIXES


def _from_annotations(path: Path) -> list[Picture]:
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        return [_picture(path.parent / _IMAGES, image) for image in images]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: cannot be read as a dataset ({detail})") from None


def _picture(images: Path, record: Mapping[str, Any]) -> Picture:
    name, camera, taken = record["file_name"], record.get("camera"), record.get("captured_at")
    path = images / name
    if ".." in path.parts or images not in path.parents:
        raise ValueError(f"{name!r} lies outside of {_IMAGES}/")
    if not isinstance(camera, str | None):
        raise TypeError(f"{name}: camera must be a string, got {camera!r}")
    return Picture(path, camera, None if taken is None else _seconds(taken))


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
