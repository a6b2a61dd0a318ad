"""Write a dataset as labelling tools and trainers read it: COCO, YOLO, CVAT for images or Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from shelfgap_datasets.coco import IMAGES_DIR, save_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.labelling.cvat import write_cvat
from shelfgap_datasets.labelling.label_studio import write_label_studio
from shelfgap_datasets.labelling.yolo import flat_names, write_yolo
from shelfgap_datasets.pictures import copy_picture
from shelfgap_datasets.schema import Dataset, DatasetError

ExportFormat = Literal["coco", "yolo", "cvat", "label-studio"]
LOCAL_FILES = "/data/local-files/?d=images/"


def export_dataset(
    root: Path,
    dataset: Dataset,
    format: ExportFormat,
    to: Path,
    *,
    image_prefix: str = LOCAL_FILES,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write pictures and labels of a dataset into a new folder.

    Class, box, classes looked for, licence, consent, store, camera, section and time of each picture come back by
    importing the folder.

    Args:
        root: dataset directory.
        dataset: its content.
        format: what to write.
        to: folder to make; it must not exist, or be empty.
        image_prefix: what Label Studio reads pictures from, before their file name.
        progress: called with (pictures copied, pictures in all).

    Raises:
        DatasetError: `to` is taken, a picture is missing, or a text cannot be written in the format.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise DatasetError(f"{to}: exists and is not empty; choose another folder")
    names = flat_names(dataset.images) if format == "yolo" else [image.file_name for image in dataset.images]
    with written_whole(to) as partial:
        for done, (image, name) in enumerate(zip(dataset.images, names, strict=True), start=1):
            copy_picture(root, image.file_name, partial / IMAGES_DIR / name)
            if progress is not None:
                progress(done, len(names))
        if format == "coco":
            save_dataset(partial, dataset)
        elif format == "yolo":
            write_yolo(partial, dataset, names)
        elif format == "cvat":
            write_cvat(partial, dataset)
        else:
            write_label_studio(partial, dataset, image_prefix)
