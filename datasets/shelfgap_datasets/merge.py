"""Several datasets as one: pictures under a name for each part, equal pictures once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shelfgap_datasets.coco import IMAGES_DIR, save_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.intake.boxes import union
from shelfgap_datasets.pictures import link_picture
from shelfgap_datasets.schema import IGNORE, Dataset, DatasetError, ImageRecord, Rejection, Twin, in_order


@dataclass(frozen=True)
class Part:
    """A dataset directory, its content, and the folder that its pictures get; "" leaves their names."""

    root: Path
    dataset: Dataset
    folder: str


def merge_datasets(parts: Sequence[Part], to: Path, classes: Sequence[str] | None = None) -> Dataset:
    """Write several datasets as one new directory; pictures are linked where the disk can, else copied.

    Of byte-identical pictures the first stays, with the boxes of all. Group and split stay as they are. Where the
    parts are labelled with different classes, each picture says which it was labelled with, so that what nobody
    looked for does not count as background.

    Args:
        parts: at least one.
        to: directory to make; an earlier one is replaced.
        classes: labelled classes to keep; None for all. Ignored regions stay: they say nothing of any class.

    Raises:
        DatasetError: one of `classes` is labelled in no part, or none of them in some part; or a picture is missing.
    """
    wanted = _wanted_classes(parts, classes)
    records: dict[str, ImageRecord] = {}  # by content
    rejections: list[Rejection] = []
    with written_whole(to) as partial:
        for number, part in enumerate(parts):
            prefix = f"{part.folder}/" if part.folder else ""
            rejections += [replace(row, source=prefix + row.source) for row in part.dataset.rejections]
            for image in part.dataset.images:
                labelled = tuple(
                    name for name in wanted if name in part.dataset.annotated_classes and image.is_labelled(name)
                )
                known = replace(
                    image.of_classes(wanted),
                    annotated_classes=labelled,
                    source=prefix + image.source,
                    twins=tuple(replace(twin, source=prefix + twin.source) for twin in image.twins),
                )
                content = image.sha256 or f"{number}:{image.file_name}"  # one without a hash equals no other
                if (first := records.get(content)) is not None:
                    records[content] = _joined(first, known)
                    continue
                target = _free(partial / IMAGES_DIR / f"{prefix}{image.file_name}")
                name = target.relative_to(partial / IMAGES_DIR).as_posix()
                target.parent.mkdir(parents=True, exist_ok=True)
                link_picture(part.root, image.file_name, target)
                records[content] = replace(known, file_name=name)
        images = (replace(r, annotated_classes=_own(r.annotated_classes, wanted)) for r in records.values())
        merged = Dataset(tuple(images), wanted, tuple(rejections))
        save_dataset(partial, merged)
    return merged


def _free(path: Path) -> Path:
    """Return the path, numbered when another picture has it."""
    number, free = 2, path
    while free.exists():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free


def _joined(first: ImageRecord, other: ImageRecord) -> ImageRecord:
    """Return the first of two records of one picture with the labels of both, and the scenes of both.

    Occluders that the other brings are not pixelated, whatever the first was.
    """
    labelled = {*(first.annotated_classes or ()), *(other.annotated_classes or ())}
    twins = dict.fromkeys([*first.twins, Twin(other.source, other.store, other.camera), *other.twins])
    twins.pop(Twin(first.source, first.store, first.camera), None)
    boxes = union(first.boxes, other.boxes)
    joined = replace(first, boxes=boxes, annotated_classes=in_order(labelled), twins=tuple(sorted(twins, key=_place)))
    occluders = [record.of_classes(("occluder",)).boxes for record in (first, joined)]
    return replace(joined, redacted=first.redacted and occluders[0] == occluders[1])


def _place(twin: Twin) -> tuple[str, str, str]:
    return twin.source, twin.store or "", twin.camera or ""


def _own(labelled: tuple[str, ...] | None, wanted: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return None where a picture is labelled with all classes of the whole."""
    return None if labelled is None or set(labelled) == set(wanted) else labelled


def _wanted_classes(parts: Sequence[Part], classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the labelled classes of the whole."""
    known = {name for part in parts for name in part.dataset.annotated_classes}
    wanted = known if classes is None else set(classes)
    for part in parts:
        if not wanted & set(part.dataset.annotated_classes):
            raise DatasetError(
                f"{part.root}: labelled with {', '.join(part.dataset.annotated_classes)}, of which none is wanted "
                f"({', '.join(sorted(wanted))}); take others with --classes, or leave this part out"
            )
    if wanted - known:
        raise DatasetError(
            f"--classes: {', '.join(sorted(wanted - known))} is labelled nowhere; there is {', '.join(in_order(known))}"
        )
    return in_order(wanted | known & {IGNORE})
