"""Take labels that were corrected in a labelling tool back into a dataset, as a new version."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from shelfgap_datasets.coco import IMAGES_DIR, keep_version, load_dataset, load_rejections, save_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.intake.boxes import boxes_of_picture, classes_of, lies_at
from shelfgap_datasets.intake.class_names import map_names
from shelfgap_datasets.intake.formats import Format, read_annotations
from shelfgap_datasets.intake.model import Reading, SourceImage
from shelfgap_datasets.intake.pictures import Picture, PictureProblem, open_picture
from shelfgap_datasets.intake.tree import SourceTree, scan
from shelfgap_datasets.labelling.cvat import SUGGESTED
from shelfgap_datasets.pictures import copy_picture, require_picture
from shelfgap_datasets.schema import Box, DatasetError, ImageRecord, Rejection, in_order

_SAME_PX = 0.02  # labelling tools round to a hundredth of a pixel


@dataclass(frozen=True)
class CorrectionReport:
    """What a correction changed: pictures seen, pictures whose boxes differ now, and records left out."""

    seen: int
    changed: tuple[str, ...]
    rejections: tuple[Rejection, ...]


def correct_dataset(
    root: Path,
    corrections: Path,
    to: Path,
    *,
    class_aliases: Mapping[str, Iterable[str]],
    format: Format = "auto",
    class_map: Mapping[str, str] | None = None,
) -> CorrectionReport:
    """Write a new version of a dataset with the boxes of corrected pictures replaced.

    Pictures are known by their content where the corrections bring them along, else by their file name. Everything
    else about a picture stays, its group and split too; so do the records that were left out before. A box that the
    tool only rounded stays as it was; so do boxes of classes that the tool's project does not list, and one that was
    given a name that means none of ours. A redacted picture whose occluder boxes changed must be redacted again. A
    class that the corrections add was looked for in the pictures that came back only.

    Args:
        root: dataset directory; it is not changed.
        corrections: folder that a labelling tool exported, with or without pictures.
        to: dataset directory to make; it must not exist, or be empty.
        class_aliases: our class -> names in sources.
        format: of the corrections; found out by default.
        class_map: source name -> our class, before the aliases.

    Raises:
        DatasetError: nothing in the corrections speaks of a picture of the dataset, one of its pictures is missing, or
            `to` is taken.
    """
    dataset = load_dataset(root)
    if not corrections.is_dir():
        raise DatasetError(f"{corrections}: no such folder")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise DatasetError(f"{to}: exists and is not empty; choose another folder")
    by_name = {image.file_name: image for image in dataset.images}
    tree = scan(corrections)
    records = _records_of(tree, root, dataset.images)
    reading = read_annotations(tree, corrections, format)
    names = map_names(reading.class_names, class_aliases, class_map)
    rejections = [*tree.rejections, *reading.rejections, *_unknown_names(corrections, reading, names)]
    labelled: dict[str, list[SourceImage]] = {}
    for image in reading.images:
        if (record := records.get(image.picture)) is None:
            reason, action = "not a picture of the dataset", "import it on its own: shelfgap data import"
            rejections.append(Rejection(image.picture, reason, action))
        else:
            labelled.setdefault(record.file_name, []).append(image)
    if not labelled:
        raise DatasetError(f"{corrections}: speaks of no picture of {root}")
    corrected: dict[str, ImageRecord] = {}
    for file_name, images in labelled.items():
        record = by_name[file_name]
        try:
            picture = open_picture(require_picture(root, file_name))
        except PictureProblem as problem:
            rejections.append(Rejection(file_name, problem.reason, problem.action))
            continue
        boxes, problems = boxes_of_picture(file_name, picture, images, names)
        rejections += problems
        if boxes is not None:
            kept = _not_spoken_of(record, picture, images, names, boxes)
            settled = replace(record, boxes=_settle(record.boxes, (*boxes, *kept)))
            same_occluders = settled.of_classes(("occluder",)).boxes == record.of_classes(("occluder",)).boxes
            corrected[file_name] = replace(settled, redacted=record.redacted and same_occluders)
    used = {*dataset.annotated_classes, *classes_of(reading.images, names)}
    annotated = in_order(used)
    added = used - set(dataset.annotated_classes)

    def known(image: ImageRecord) -> ImageRecord:
        """A class that is new was looked for in the pictures that came back, and in no other."""
        now = corrected.get(image.file_name, image)
        looked_for = {*(dataset.annotated_classes if image.annotated_classes is None else image.annotated_classes)}
        looked_for |= {box.class_name for box in now.boxes}
        looked_for |= added if image.file_name in corrected else set()
        classes = in_order(looked_for & used)
        return replace(now, annotated_classes=None if classes == annotated else classes)

    images_now = tuple(known(image) for image in dataset.images)
    with written_whole(to) as partial:
        for file_name in by_name:
            copy_picture(root, file_name, partial / IMAGES_DIR / file_name)
        left_out = (*load_rejections(root), *dataset.rejections, *rejections)
        save_dataset(partial, replace(dataset, images=images_now, annotated_classes=annotated, rejections=left_out))
        keep_version(root, partial)
    changed = tuple(n.file_name for o, n in zip(dataset.images, images_now, strict=True) if o.boxes != n.boxes)
    return CorrectionReport(len(corrected), changed, tuple(rejections))


def _records_of(tree: SourceTree, root: Path, images: tuple[ImageRecord, ...]) -> dict[str, ImageRecord]:
    """Return the record of each picture of the tree; a tree without pictures is given those of the dataset."""
    if not tree.pictures:
        for image in images:
            tree.add_picture(f"{IMAGES_DIR}/{image.file_name}")
        return {f"{IMAGES_DIR}/{image.file_name}": image for image in images}
    by_hash = {image.sha256: image for image in images}
    found: dict[str, ImageRecord] = {}
    for path in tree.pictures:
        digest = hashlib.sha256((tree.root / path).read_bytes()).hexdigest()
        if digest in by_hash:
            found[path] = by_hash[digest]
    return found


def _unknown_names(corrections: Path, reading: Reading, names: Mapping[str, str]) -> list[Rejection]:
    """Tell of class names that mean none of ours, those of suggestions aside."""
    counts = Counter(box.label for image in reading.images for box in image.boxes)
    return [
        Rejection(
            corrections.name,
            f"{count} boxes are called {name!r}, which means no class; what they replace stays",
            f"map it with --class-map '{name}=CLASS', then correct again",
        )
        for name, count in sorted(counts.items())
        if name not in names and not name.startswith(SUGGESTED)
    ]


def _not_spoken_of(
    record: ImageRecord,
    picture: Picture,
    images: list[SourceImage],
    names: Mapping[str, str],
    boxes: tuple[Box, ...],
) -> list[Box]:
    """Return the boxes of a picture that corrections neither confirm nor take away.

    Those of classes that its annotations do not list, and those over which one of an unknown name was drawn.
    """
    listed = {names[name] for image in images for name in image.labelled or () if name in names}
    listed |= {box.class_name for box in boxes}
    is_about_all = any(image.labelled is None for image in images)
    labels = {box.label for image in images for box in image.boxes if not box.label.startswith(SUGGESTED)}
    unknown = {label: label for label in labels - names.keys()}
    strange = boxes_of_picture(record.file_name, picture, images, unknown)[0] or ()

    def is_replaced(old: Box) -> bool:
        return lies_at(old, strange) and not lies_at(old, boxes)

    return [old for old in record.boxes if is_replaced(old) or not (is_about_all or old.class_name in listed)]


def _settle(before: tuple[Box, ...], after: tuple[Box, ...]) -> tuple[Box, ...]:
    """Return the boxes `after`, those that were only rounded as they stood before; in the old order where it holds."""
    left = list(after)
    settled: list[Box] = []
    for old in before:
        same = next((new for new in left if _is_rounded(old, new)), None)
        if same is not None:
            left.remove(same)
            settled.append(old)
    return (*settled, *left)


def _is_rounded(old: Box, new: Box) -> bool:
    return old.class_name == new.class_name and all(
        abs(a - b) <= _SAME_PX for a, b in zip(old.xyxy, new.xyxy, strict=True)
    )
