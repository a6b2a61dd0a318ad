"""What changed between two versions of a dataset: pictures, boxes, splits, and how sizes and classes shifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from shelfgap_edge.geometry import iou_matrix

from shelfgap_datasets.schema import LABEL_CLASSES, SPLITS, Box, Dataset, ImageRecord

_SAME_PX = 1e-3  # a smaller difference is one of writing numbers
_MOVED_IOU = 0.1  # boxes of a class that overlap so much are one box that moved
_RELABELLED_IOU = 0.5  # and of two classes, one that was renamed
_STATED = ("license", "consent", "store", "camera", "section", "captured_at", "redacted")
_SHOWN = 20  # rows of a Markdown list; the JSON has all


@dataclass(frozen=True)
class BoxChange:
    """A box that differs: `before` is None for one that came, `after` for one that went."""

    file_name: str
    before: Box | None
    after: Box | None

    @property
    def kind(self) -> str:
        """`added`, `removed`, `moved` or `relabelled`."""
        if self.before is None:
            return "added"
        if self.after is None:
            return "removed"
        return "moved" if self.before.class_name == self.after.class_name else "relabelled"


@dataclass(frozen=True)
class FieldChange:
    """Something stated of a picture that differs."""

    file_name: str
    field: str
    before: object
    after: object


@dataclass(frozen=True)
class Summary:
    """A version in figures; areas are shares of the picture, None without a box."""

    images: int
    splits: dict[str, int]
    boxes: dict[str, int]
    median_area: dict[str, float | None]
    median_aspect: dict[str, float | None]


@dataclass(frozen=True)
class DatasetDiff:
    """All differences; a picture is known by its content, one with other content by its name."""

    before: Summary
    after: Summary
    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    replaced: tuple[str, ...]  # other pixels under the same name
    boxes: tuple[BoxChange, ...]  # of pictures that stand in both
    fields: tuple[FieldChange, ...]
    moved_split: tuple[FieldChange, ...]  # must be empty: such a picture may have been trained on and is tested on now
    classes_added: tuple[str, ...]
    classes_removed: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return everything, for machines."""
        return {
            **{key: value for key, value in asdict(self).items() if key != "boxes"},
            "boxes": [{"kind": change.kind, **asdict(change)} for change in self.boxes],
        }


def diff_datasets(before: Dataset, after: Dataset) -> DatasetDiff:
    """Compare two versions of a dataset."""
    pairs, removed, added = _match_images(before.images, after.images)
    fields = [
        FieldChange(new.file_name, name, getattr(old, name), getattr(new, name))
        for old, new in pairs
        for name in _STATED
        if getattr(old, name) != getattr(new, name)
    ]
    common = [name for name in before.annotated_classes if name in after.annotated_classes]
    sought = [(new.file_name, *(_looked_for(image, common) for image in (old, new))) for old, new in pairs]
    fields += [
        FieldChange(new.file_name, "twins", [twin.source for twin in old.twins], [twin.source for twin in new.twins])
        for old, new in pairs
        if old.twins != new.twins
    ]
    fields += [FieldChange(name, "looked for", one, other) for name, one, other in sought if one != other]
    return DatasetDiff(
        before=_summarise(before),
        after=_summarise(after),
        added=tuple(image.file_name for image in added),
        removed=tuple(image.file_name for image in removed),
        renamed=tuple((old.file_name, new.file_name) for old, new in pairs if old.file_name != new.file_name),
        replaced=tuple(new.file_name for old, new in pairs if old.sha256 != new.sha256),
        boxes=tuple(change for old, new in pairs for change in _match_boxes(old, new)),
        fields=tuple(fields),
        moved_split=tuple(
            FieldChange(new.file_name, "split", old.split, new.split)
            for old, new in pairs
            if old.split is not None and new.split != old.split
        ),
        classes_added=tuple(sorted({*after.annotated_classes} - {*before.annotated_classes})),
        classes_removed=tuple(sorted({*before.annotated_classes} - {*after.annotated_classes})),
    )


def to_markdown(diff: DatasetDiff, before: str, after: str) -> str:
    """Return the comparison as text for a pull request, with the names of the two versions."""
    lines = [f"# Dataset: {before} → {after}", ""]
    if diff.moved_split:
        lines += [f"**{len(diff.moved_split)} picture(s) changed split. This must not happen: fix it first.**", ""]
    kinds = Counter(change.kind for change in diff.boxes)
    lines += [
        f"Pictures: {len(diff.added)} added, {len(diff.removed)} removed, {len(diff.renamed)} renamed, "
        f"{len(diff.replaced)} with other pixels. Boxes of common pictures: {kinds['added']} added, "
        f"{kinds['removed']} removed, {kinds['moved']} moved, {kinds['relabelled']} relabelled.",
        "",
        "| | before | after |",
        "|---|---:|---:|",
        *(f"| {name} | {one} | {two} |" for name, one, two in _rows(diff)),
        "",
    ]
    lines += _list("Pictures that changed split", (f"{c.file_name}: {c.before} → {c.after}" for c in diff.moved_split))
    lines += _list("Pictures added", diff.added)
    lines += _list("Pictures removed", diff.removed)
    lines += _list("Pictures renamed", (f"{one} → {two}" for one, two in diff.renamed))
    lines += _list("Pictures with other pixels", diff.replaced)
    for kind in ("added", "removed", "moved", "relabelled"):
        changes = [change for change in diff.boxes if change.kind == kind]
        lines += _list(f"Boxes {kind}", (f"{c.file_name}: {_shown(c.before, c.after)}" for c in changes))
    lines += _list("Stated anew", (f"{c.file_name}: {c.field} {c.before} → {c.after}" for c in diff.fields))
    lines += _list("Classes labelled now", diff.classes_added)
    lines += _list("Classes no longer labelled", diff.classes_removed)
    return "\n".join(lines).rstrip() + "\n"


def _match_images(
    before: Sequence[ImageRecord], after: Sequence[ImageRecord]
) -> tuple[list[tuple[ImageRecord, ImageRecord]], list[ImageRecord], list[ImageRecord]]:
    """Pair pictures by content and name, then content, then name; return also those only before and only after."""
    pairs: list[tuple[ImageRecord, ImageRecord]] = []
    ones, others = list(before), list(after)
    for key in (lambda i: (i.sha256, i.file_name), lambda i: i.sha256, lambda i: i.file_name):
        waiting: dict[object, list[ImageRecord]] = {}
        for image in ones:
            waiting.setdefault(key(image), []).append(image)
        left = []
        for image in others:
            found = waiting.get(key(image))
            if found and key(image) != "":  # a record without sha256 is known by its name
                pairs.append((found.pop(0), image))
            else:
                left.append(image)
        ones, others = [image for rest in waiting.values() for image in rest], left
    order = {image.file_name: row for row, image in enumerate(after)}
    return sorted(pairs, key=lambda pair: order[pair[1].file_name]), ones, others


def _looked_for(image: ImageRecord, classes: Sequence[str]) -> str:
    """Say for which of these classes a picture without a box says that there is none."""
    return ", ".join(filter(image.is_labelled, classes)) or "nothing"


def _match_boxes(old: ImageRecord, new: ImageRecord) -> list[BoxChange]:
    """Pair equal boxes, then those of a class that overlap most, then overlapping ones of two classes."""
    ones, others = list(old.boxes), list(new.boxes)
    for box in list(ones):
        same = next((b for b in others if _is_same(box, b)), None)
        if same is not None:
            ones.remove(box)
            others.remove(same)
    changes = []
    for same_class, least in ((True, _MOVED_IOU), (False, _RELABELLED_IOU)):
        while ones and others:
            overlap = iou_matrix(*(np.array([b.xyxy for b in boxes], np.float32) for boxes in (ones, others)))
            alike = np.array([[a.class_name == b.class_name for b in others] for a in ones])
            overlap = np.where(alike == same_class, overlap, -1)
            row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
            if overlap[row, column] < least:
                break
            changes.append(BoxChange(new.file_name, ones.pop(int(row)), others.pop(int(column))))
    changes += [BoxChange(new.file_name, box, None) for box in ones]
    return changes + [BoxChange(new.file_name, None, box) for box in others]


def _is_same(one: Box, two: Box) -> bool:
    near = all(abs(a - b) <= _SAME_PX for a, b in zip(one.xyxy, two.xyxy, strict=True))
    return one.class_name == two.class_name and near


def _summarise(dataset: Dataset) -> Summary:
    areas: dict[str, list[float]] = {name: [] for name in dataset.annotated_classes}
    aspects: dict[str, list[float]] = {name: [] for name in dataset.annotated_classes}
    for image in dataset.images:
        for box in image.boxes:
            x1, y1, x2, y2 = box.xyxy
            areas[box.class_name].append((x2 - x1) * (y2 - y1) / (image.width * image.height))
            aspects[box.class_name].append((x2 - x1) / (y2 - y1))
    splits: Counter[str] = Counter(image.split or "none" for image in dataset.images)
    return Summary(
        images=len(dataset.images),
        splits={name: splits[name] for name in (*SPLITS, "none") if splits[name]},
        boxes={name: len(values) for name, values in areas.items()},
        median_area={name: round(float(np.median(v)), 6) if v else None for name, v in areas.items()},
        median_aspect={name: round(float(np.median(v)), 4) if v else None for name, v in aspects.items()},
    )


def _rows(diff: DatasetDiff) -> Iterable[tuple[str, str, str]]:
    one, two = diff.before, diff.after
    yield "pictures", str(one.images), str(two.images)
    for side in (*SPLITS, "none"):
        if side in one.splits or side in two.splits:
            yield f"in {side}", str(one.splits.get(side, 0)), str(two.splits.get(side, 0))
    for name in LABEL_CLASSES:
        if name in one.boxes or name in two.boxes:
            yield f"{name} boxes", str(one.boxes.get(name, "-")), str(two.boxes.get(name, "-"))
            areas = [_number(summary.median_area.get(name), "{:.2%}") for summary in (one, two)]
            yield f"{name}, median share of the picture", areas[0], areas[1]
            aspects = [_number(summary.median_aspect.get(name), "{:.2f}") for summary in (one, two)]
            yield f"{name}, median width by height", aspects[0], aspects[1]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _list(title: str, rows: Iterable[str]) -> list[str]:
    listed = list(rows)
    if not listed:
        return []
    more = [f"- and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
    return [f"## {title} ({len(listed)})", "", *(f"- {row}" for row in listed[:_SHOWN]), *more, ""]


def _shown(before: Box | None, after: Box | None) -> str:
    texts = [f"{b.class_name} [{', '.join(f'{v:.1f}' for v in b.xyxy)}]" for b in (before, after) if b is not None]
    return " → ".join(texts)
