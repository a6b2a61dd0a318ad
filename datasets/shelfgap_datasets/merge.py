"""Several datasets as one: pictures under a name for each part, equal pictures once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shelfgap_datasets.coco import IMAGES_DIR, save_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.intake.boxes import union
from shelfgap_datasets.schema import LABEL_CLASSES, Dataset, DatasetError, ImageRecord, Rejection


@dataclass(frozen=True)
class Part:
    """A dataset directory, its content, and the folder that its pictures get; "" leaves their names."""

    root: Path
    dataset: Dataset
    folder: str


def merge_datasets(parts: Sequence[Part], to: Path, classes: Sequence[str] | None = None) -> Dataset:
    """Write several datasets as one new directory; pictures are linked where the disk can, else copied.

    Of byte-identical pictures the first stays, with the boxes of all. Group and split stay as they are.

    Args:
        parts: at least one.
        to: directory to make; an earlier one is replaced.
        classes: labelled classes to keep; None when all parts are labelled alike.

    Raises:
        DatasetError: the parts are labelled with different classes, or a picture is missing.
    """
    wanted = _common_classes(parts, classes)
    records: dict[str, ImageRecord] = {}
    rejections: list[Rejection] = []
    with written_whole(to) as partial:
        for part in parts:
            prefix = f"{part.folder}/" if part.folder else ""
            rejections += [replace(row, source=prefix + row.source) for row in part.dataset.rejections]
            for image in part.dataset.images:
                known = image.of_classes(wanted)
                if (first := records.get(image.sha256)) is not None:
                    records[image.sha256] = replace(first, boxes=union(first.boxes, known.boxes))
                    continue
                target = _free(partial / IMAGES_DIR / f"{prefix}{image.file_name}")
                name = target.relative_to(partial / IMAGES_DIR).as_posix()
                target.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(part.root / IMAGES_DIR / image.file_name, target)
                records[image.sha256] = replace(known, file_name=name, source=prefix + image.source)
        merged = Dataset(tuple(records.values()), wanted, tuple(rejections))
        save_dataset(partial, merged)
    return merged


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disk cannot.

    Raises:
        DatasetError: no such file.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise DatasetError(f"{source}: no such picture; run: shelfgap data check --quarantine") from None
    except OSError:
        shutil.copyfile(source, target)


def _free(path: Path) -> Path:
    """Return the path, numbered when another picture has it."""
    number, free = 2, path
    while free.exists():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free


def _common_classes(parts: Sequence[Part], classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the classes of the whole: an unlabelled class must not look like background."""
    sets = {part.dataset.annotated_classes for part in parts}
    if classes is None and len(sets) == 1:
        return next(iter(sets))
    common = set.intersection(*(set(names) for names in sets))
    if classes is None or not set(classes) <= common:
        listed = "; ".join(", ".join(names) for names in sorted(sets))
        raise DatasetError(
            f"the parts are labelled with different classes ({listed}), and what was not labelled must not count as "
            f"background; label them alike, or keep common ones with --classes {','.join(sorted(common)) or 'NAME'}"
        )
    return tuple(name for name in LABEL_CLASSES if name in classes)
