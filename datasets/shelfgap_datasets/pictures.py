"""Where the pictures of a dataset directory lie: as files in `images/`, or packed in tar shards.

A hundred thousand small files are slow to copy, to track and to push. `shards/` holds them in tar files of a thousand
and more, in the layout that WebDataset reads (`KEY.jpg`), and `shards/index.json` says where each picture begins, so
they are read in any order, by any number of processes, without unpacking.

Source: POSIX.1-1988 ustar (members stored whole and uncompressed), https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from shelfgap_datasets.coco import IMAGES_DIR, load_dataset, save_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.schema import Dataset, DatasetError, ImageRecord

SHARDS_DIR = "shards"
INDEX_FILE = "index.json"


def read_picture(root: Path, file_name: str) -> bytes:
    """Return the bytes of a picture of a dataset directory, from `images/` or from its shard.

    Raises:
        OSError: there is no such picture, or it cannot be read.
    """
    index = shard_index(root)
    if index is None:
        return (root / IMAGES_DIR / file_name).read_bytes()
    if file_name not in index:
        raise FileNotFoundError(2, "no such picture in the shards", str(root / SHARDS_DIR / file_name))
    shard, offset, size = index[file_name]
    with (root / SHARDS_DIR / shard).open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise OSError(5, "the shard is cut short", str(root / SHARDS_DIR / shard))
    return data


def require_picture(root: Path, file_name: str) -> bytes:
    """Return what `read_picture` does.

    Raises:
        DatasetError: there is no such picture, or it cannot be read.
    """
    try:
        return read_picture(root, file_name)
    except OSError as error:
        raise DatasetError(
            f"{root}: picture {file_name} cannot be read ({error.strerror}); run: shelfgap data check {root}"
        ) from None


def copy_picture(root: Path, file_name: str, target: Path) -> None:
    """Write a picture of a dataset directory, packed or not, to a new file; its folder is made.

    Raises:
        DatasetError: there is no such picture.
        OSError: it cannot be written.
    """
    data = require_picture(root, file_name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def link_picture(root: Path, file_name: str, target: Path) -> None:
    """Give a picture of a dataset directory a second name, or copy it where it is packed or the disk cannot link.

    Raises:
        DatasetError: there is no such picture.
        OSError: it cannot be written.
    """
    try:
        os.link(root / IMAGES_DIR / file_name, target)
    except OSError:
        copy_picture(root, file_name, target)


def unlisted_pictures(root: Path, dataset: Dataset) -> list[str]:
    """Return the names of pictures that no record of the dataset names."""
    listed = {image.file_name for image in dataset.images}
    folder = root / IMAGES_DIR
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in (*files, *(shard_index(root) or ())) if name not in listed)


def shard_index(root: Path) -> dict[str, tuple[str, int, int]] | None:
    """Return shard, offset and size of each picture by file name; None where pictures are files.

    Raises:
        DatasetError: the index is damaged.
    """
    path = root / SHARDS_DIR / INDEX_FILE
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        return None
    return _load_index(path, stamp)


@lru_cache(maxsize=4)
def _load_index(path: Path, _: int) -> dict[str, tuple[str, int, int]]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {name: (str(shard), int(offset), int(size)) for name, (shard, offset, size) in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: not readable ({error}); pack the dataset again: shelfgap data pack") from None


def pack(
    root: Path, to: Path, *, pictures_per_shard: int, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Write a dataset with its pictures in tar shards and the other files beside; the same gives the same bytes.

    Args:
        root: dataset directory, packed or not.
        to: directory to make; it must not exist, or be empty.
        pictures_per_shard: pictures in a shard, in the order of the records.
        progress: called with (pictures packed, pictures in all).

    Returns:
        The shards.

    Raises:
        DatasetError: no dataset, a picture is missing, or `to` is taken.
    """
    dataset = load_dataset(root)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise DatasetError(f"{to}: exists and is not empty; choose another folder")
    index: dict[str, tuple[str, int, int]] = {}
    names: list[str] = []
    with written_whole(to) as partial:
        (partial / SHARDS_DIR).mkdir()
        for start in range(0, len(dataset.images), pictures_per_shard):
            name = f"{len(names):06d}.tar"
            _write_shard(root, partial / SHARDS_DIR / name, dataset.images[start : start + pictures_per_shard], index)
            names.append(name)
            if progress is not None:
                progress(len(index), len(dataset.images))
        (partial / SHARDS_DIR / INDEX_FILE).write_text(json.dumps(index) + "\n", encoding="utf-8")
        for entry in root.iterdir():  # the timeline of shelf-days, a licence, the mark of a version
            if entry.is_file():
                shutil.copyfile(entry, partial / entry.name)
        save_dataset(partial, dataset)
    return [to / SHARDS_DIR / name for name in names]


def _write_shard(
    root: Path, path: Path, records: Sequence[ImageRecord], index: dict[str, tuple[str, int, int]]
) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for record in records:
            data = require_picture(root, record.file_name)
            # WebDataset takes what precedes the first dot of the name for the key
            suffix = record.file_name.rpartition(".")[2]
            member = tarfile.TarInfo(f"{record.sha256}.{suffix}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            index[record.file_name] = (path.name, tar.offset - -(-len(data) // 512) * 512, len(data))
