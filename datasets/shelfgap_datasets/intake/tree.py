"""The files of a source folder, and which picture an annotation speaks of.

Formats differ in where pictures lie relative to annotations (beside them, `labels/` next to `images/`,
`train/labels/` or `labels/train/`, `Annotations/` next to `JPEGImages/`). What they share: leave out the folder
names that only say what kind of file is inside, and the two paths agree. That is the rule here. A picture
elsewhere is never taken for its name alone, since the same name in two sets is often two different pictures.
"""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from shelfgap_datasets.schema import Rejection

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".gif"})
ANNOTATION_SUFFIXES = frozenset({".json", ".xml", ".txt", ".yaml", ".yml", ".names"})
LABEL_FOLDERS = frozenset({"labels", "label", "obj_train_data"})
_KIND_FOLDERS = LABEL_FOLDERS | {
    *("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data"),
    *("annotations", "annotation", "annots", "xml", "xmls", "json"),
}


def core(folder: str) -> str:
    """Return a folder path without the parts that only say what kind of file is inside.

    >>> core("a/train/labels"), core("a/images/train"), core("Annotations")
    ('a/train', 'a/train', '')
    """
    return "/".join(part for part in folder.split("/") if part.lower() not in _KIND_FOLDERS)


@dataclass
class SourceTree:
    """The pictures and annotation files below a source folder, by path relative to it, sorted.

    Attributes:
        root: the folder itself, resolved.
        pictures: relative paths of all files named like a picture.
        annotations: relative paths of all files named like an annotation.
        rejections: files that must not be read: links that leave the folder, names that are not UTF-8.
    """

    root: Path
    pictures: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    _by_name: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    _by_stem: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def locate(self, folder: str, name: str) -> str | None:
        """Return the picture that an annotation in `folder` means by `name`, or None.

        An exact name goes before another suffix of the same stem (`1.png` may have become `1.jpg`), the same
        folder before a neighbour. Two equally good pictures are none.
        """
        name = posixpath.basename(name.replace("\\", "/"))
        key = core(folder)
        for found in (self._by_name.get((key, name)), self._by_stem.get((key, _stem(name)))):
            if found:
                beside = [path for path in found if posixpath.dirname(path) == folder]
                best = beside or found
                return best[0] if len(best) == 1 else None
        return None

    def read(self, path: str) -> bytes:
        """Read an annotation file.

        Raises:
            OSError: it cannot be read.
        """
        return (self.root / path).read_bytes()


def scan(root: Path) -> SourceTree:
    """List the files below `root`; hidden ones and linked folders are not entered.

    Raises:
        OSError: the folder cannot be listed.
    """
    root = root.resolve()
    tree = SourceTree(root)
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        for name in sorted(files):
            suffix = PurePosixPath(name).suffix.lower()
            if name.startswith(".") or suffix not in PICTURE_SUFFIXES | ANNOTATION_SUFFIXES:
                continue
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            refusal = _refusal(root, path)
            if refusal:
                shown = relative.encode("utf-8", "replace").decode("utf-8")
                tree.rejections.append(Rejection(shown, *refusal))
            elif suffix in PICTURE_SUFFIXES:
                tree.pictures.append(relative)
            else:
                tree.annotations.append(relative)
    tree.pictures.sort()
    tree.annotations.sort()
    for relative in tree.pictures:
        place = core(posixpath.dirname(relative))
        name = posixpath.basename(relative)
        tree._by_name[place, name].append(relative)
        tree._by_stem[place, _stem(name)].append(relative)
    return tree


def _refusal(root: Path, path: Path) -> tuple[str, str] | None:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return "the file name is not UTF-8", "rename the file"
    if not path.is_file():
        return "not a regular file, or a broken link", "put the file itself there"
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        return "a link that leaves the source folder", "put the file itself there"
    return None


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _raise(error: OSError) -> None:
    raise error
