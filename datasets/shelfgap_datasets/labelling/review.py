"""A review queue: the pictures with doubtful labels, for CVAT or Label Studio, with suggestions beside the labels.

In CVAT a suggestion is a box of the label `suggest-CLASS`; whoever agrees gives it the class itself. In Label Studio it
is a prediction. Either way a suggestion that nobody touched comes back as nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from shelfgap_datasets.coco import IMAGES_DIR
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.labelling.cvat import write_cvat
from shelfgap_datasets.labelling.export import LOCAL_FILES
from shelfgap_datasets.labelling.label_studio import label_result, task_data, write_tasks
from shelfgap_datasets.pictures import copy_picture
from shelfgap_datasets.schema import Box, Dataset, DatasetError

ReviewFormat = Literal["cvat", "label-studio"]


@dataclass(frozen=True)
class Remark:
    """Something to look at in a picture: why, how doubtful (0 to 1), the box it suggests, the label it doubts."""

    file_name: str
    reason: str
    doubt: float
    suggestion: Box | None
    label: int | None


def write_review(
    root: Path,
    dataset: Dataset,
    remarks: Sequence[Remark],
    format: ReviewFormat,
    to: Path,
    *,
    image_prefix: str = LOCAL_FILES,
) -> int:
    """Write the pictures that remarks speak of, their labels and the suggestions; most doubtful picture first.

    Args:
        root: dataset directory.
        dataset: its content.
        remarks: most doubtful first.
        format: of the queue.
        to: folder to make; it must not exist, or be empty.
        image_prefix: what Label Studio reads pictures from, before their file name.

    Returns:
        How many pictures the queue has.

    Raises:
        DatasetError: no remark, or `to` is taken.
    """
    require_empty(to)
    by_picture: dict[str, list[Remark]] = {}
    for remark in remarks:
        by_picture.setdefault(remark.file_name, []).append(remark)
    if not by_picture:
        raise DatasetError("no label is doubtful; there is nothing to review")
    records = {image.file_name: image for image in dataset.images}
    images = tuple(records[name] for name in by_picture)
    with written_whole(to) as partial:
        for image in images:
            copy_picture(root, image.file_name, partial / IMAGES_DIR / image.file_name)
        if format == "cvat":
            suggested = {
                name: [(r.suggestion, f"{r.reason} {r.doubt:.2f}") for r in mine if r.suggestion is not None]
                for name, mine in by_picture.items()
            }
            doubted = {(r.file_name, r.label): f"{r.reason} {r.doubt:.2f}" for r in remarks if r.label is not None}
            write_cvat(partial, replace(dataset, images=images), suggested, doubted)
        else:
            tasks = []
            for image in images:
                mine = by_picture[image.file_name]
                data = task_data(image, image_prefix) | {"review": "; ".join(_text(r) for r in mine)}
                results = [label_result(image, r.suggestion) for r in mine if r.suggestion is not None]
                prediction = {"model_version": "out-of-fold", "score": mine[0].doubt, "result": results}
                labels = [label_result(image, box) for box in image.boxes]
                tasks.append({"data": data, "annotations": [{"result": labels}], "predictions": [prediction]})
            write_tasks(partial, tasks, dataset.annotated_classes)
    return len(images)


def require_empty(to: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        DatasetError: it does, or is none.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise DatasetError(f"{to}: exists and is not empty; choose another folder")


def _text(remark: Remark) -> str:
    what = f"label {remark.label + 1}: " if remark.label is not None else ""
    return f"{what}{remark.reason} ({remark.doubt:.2f})"
