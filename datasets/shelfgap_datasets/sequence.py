"""What pictures share with others of their scene, from what is stated of them and how their files are called."""

from __future__ import annotations

import posixpath
import re

from shelfgap_datasets.schema import ImageRecord, Twin

_ROBOFLOW = re.compile(r"^(?P<source>.+)\.rf\.[0-9a-f]{16,}$")
_ROBOFLOW_SUFFIX = re.compile(r"_(jpe?g|png)$", re.IGNORECASE)
_FRAMES = (
    re.compile(r"^(?P<source>.*?)[ _.-]?frame[ _.-]?\d+$", re.IGNORECASE),
    re.compile(r"^(?P<source>.+)[_.](mp4|m4v|mov|avi|mkv|webm)[ _.-]?\d+$", re.IGNORECASE),
)
_SPLIT_FOLDERS = frozenset({"train", "val", "valid", "validation", "test", "images"})


def sequence_keys(image: ImageRecord) -> list[str]:
    """Return the key of an image, and those of the scenes in which byte-identical pictures stood."""
    return list(dict.fromkeys([sequence_key(image), *map(sequence_key, image.twins)]))


def sequence_key(image: ImageRecord | Twin) -> str:
    """Return what an image shares with others of its scene: store, else camera, else source sequence.

    A sequence is what Roboflow made of one picture (`NAME_jpg.rf.HASH`), or the frames of one film (`NAME_frame_12`,
    `NAME_mp4-12`, and `frame_12` of its folder), Roboflow's copies of them too; any other picture is a sequence of its
    own.
    """
    if image.store is not None:
        return f"store:{image.store}"
    if image.camera is not None:
        return f"camera:{image.camera}"
    folder, name = posixpath.split(image.source)
    stem = posixpath.splitext(name)[0]
    copy = _ROBOFLOW.match(stem)
    name = stem if copy is None else copy["source"]
    film = next(filter(None, (frames.match(_ROBOFLOW_SUFFIX.sub("", name)) for frames in _FRAMES)), None)
    if copy is None and film is None:
        return f"source:{image.source}"
    place = "/".join(part for part in folder.split("/") if part and part.lower() not in _SPLIT_FOLDERS)
    return f"sequence:{posixpath.join(place, name if film is None else film['source']).rstrip('/')}"


def links(image: ImageRecord, twin: Twin) -> bool:
    """Say whether a byte-identical picture links a scene that an image does not stand in to it."""
    key = sequence_key(twin)
    return not key.startswith("source:") and key not in sequence_keys(image)
