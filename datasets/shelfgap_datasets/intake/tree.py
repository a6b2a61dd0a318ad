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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.ElementTree import fromstring

from shelfgap_datasets.schema import Rejection

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".gif"})
ANNOTATION_SUFFIXES = frozenset({".json", ".jsonl", ".xml", ".txt", ".yaml", ".yml", ".names", ".csv"})
_NOTICES = frozenset({"license", "license.txt", "license.md", "licence", "licence.txt", "copying"})
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
        notices: relative paths of licence files.
        rejections: what must not or cannot be read: linked and closed folders, links that leave the folder, names that
            are not UTF-8.
    """

    root: Path
    pictures: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    _by_name: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    _by_stem: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add_picture(self, path: str) -> None:
        """Note a picture by its path below the source."""
        place, name = core(posixpath.dirname(path)), posixpath.basename(path)
        self.pictures.append(path)
        self._by_name[place, name].append(path)
        self._by_stem[place, _stem(name)].append(path)

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

    def resolve(self, path: str, file_name: object, also: Sequence[str] = ()) -> tuple[str | None, str]:
        """Find the picture that an annotation names by a path.

        It is looked for below the annotation's folder, below the source, and in the folders `also`.

        Args:
            path: of the annotation file.
            file_name: as the annotation gives it.
            also: more folders, relative to the annotation's.

        Returns:
            The picture, or None and what is wrong.
        """
        if not isinstance(file_name, str) or not file_name.strip():
            return None, f"the name of the picture must be a path, got {file_name!r}"
        name = file_name.replace("\\", "/")
        home = posixpath.dirname(path)
        below = posixpath.normpath(posixpath.join(home, name))
        if name.startswith("/") or name[1:2] == ":" or below.startswith("../"):
            return None, f"file_name {file_name!r} leaves the source folder"
        folder, base = posixpath.split(below)
        plain = posixpath.dirname(posixpath.normpath(name))
        for exact in (below, posixpath.normpath(name), posixpath.join(home, "images", posixpath.normpath(name))):
            place, base = posixpath.split(exact)
            if exact in self._by_name.get((core(place), base), ()):
                return exact, ""
        for candidate in (folder, plain, *(posixpath.join(home, extra, plain) for extra in also)):
            picture = self.locate(candidate, base)
            if picture and (posixpath.basename(picture) == base or core(candidate) == core(folder)):
                return picture, ""
        return None, f"no picture {file_name!r} beside the file, below the source or in an images folder"

    def named(self, base: str) -> str | None:
        """Return the only picture of the source with this file name, wherever it lies; None if there are more."""
        found = [path for (_, name), paths in self._by_name.items() if name == base for path in paths]
        return found[0] if len(found) == 1 else None

    def read_xml(self, path: str) -> tuple[Any, str]:
        """Parse an annotation file; return its root element, or None and why it cannot be read."""
        try:
            return fromstring(self.read(path), forbid_dtd=True), ""
        except (OSError, ParseError, ValueError, LookupError, RecursionError) as error:
            return None, f"not readable as XML ({' '.join(str(error).split())})"

    def with_suffix(self, suffix: str) -> list[str]:
        """Return the annotation files of one suffix, such as ".xml"."""
        return [path for path in self.annotations if PurePosixPath(path).suffix.lower() == suffix]

    def read(self, path: str) -> bytes:
        """Read an annotation file.

        Raises:
            OSError: it cannot be read.
        """
        return (self.root / path).read_bytes()


def scan(root: Path) -> SourceTree:
    """List the files below `root`; hidden ones are passed over, linked folders and those that are closed are rejected.

    Raises:
        OSError: the folder cannot be listed.
    """
    root = root.resolve()
    tree = SourceTree(root)

    def set_aside(folder: Path, reason: str, action: str) -> None:
        tree.rejections.append(Rejection(_shown(folder.relative_to(root)), reason, action))

    def closed(error: OSError) -> None:
        folder = Path(error.filename)
        if folder == root:
            raise error
        set_aside(folder, f"a folder that cannot be listed ({error.strerror})", "open it to this user, or move it away")

    for folder, folders, files in os.walk(root, onerror=closed):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):  # noqa: PTH114, PTH118 - of too long a path Path raises
                set_aside(Path(folder, name), "a linked folder is not entered", "put the folder itself there")
        for name in sorted(files):
            suffix = PurePosixPath(name).suffix.lower()
            is_notice = name.lower() in _NOTICES
            if name.startswith(".") or not (is_notice or suffix in PICTURE_SUFFIXES | ANNOTATION_SUFFIXES):
                continue
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            refusal = _refusal(root, path)
            if refusal:
                set_aside(path, *refusal)
            elif is_notice:
                tree.notices.append(relative)
            elif suffix in PICTURE_SUFFIXES:
                tree.pictures.append(relative)
            else:
                tree.annotations.append(relative)
    tree.annotations.sort()
    pictures, tree.pictures = sorted(tree.pictures), []
    for relative in pictures:
        tree.add_picture(relative)
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


def _shown(path: Path) -> str:
    return path.as_posix().encode("utf-8", "replace").decode("utf-8")
