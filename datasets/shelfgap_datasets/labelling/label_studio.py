"""Write Label Studio: `tasks.json`, whose task data carries what is stated of a picture, and `label_config.xml`.

Source: https://labelstud.io/guide/tasks (Label Studio JSON format)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from shelfgap_datasets.intake.model import stated_of
from shelfgap_datasets.schema import Box, Dataset, ImageRecord

TASKS_FILE = "tasks.json"


def write_label_studio(folder: Path, dataset: Dataset, image_prefix: str) -> None:
    """Write the tasks of a dataset with its boxes as annotations.

    Args:
        folder: gets `tasks.json` and `label_config.xml`.
        dataset: its boxes.
        image_prefix: what Label Studio reads pictures from, before their file name.
    """
    tasks: list[dict[str, Any]] = []
    for image in dataset.images:
        results = [label_result(image, box) for box in image.boxes]
        tasks.append({"data": task_data(image, image_prefix), "annotations": [{"result": results}]})
    write_tasks(folder, tasks, dataset.annotated_classes)


def write_tasks(folder: Path, tasks: list[dict[str, Any]], classes: tuple[str, ...]) -> None:
    """Write tasks and the labelling configuration that they need."""
    (folder / TASKS_FILE).write_text(json.dumps(tasks, indent=1) + "\n", encoding="utf-8")
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in classes)
    (folder / "label_config.xml").write_text(
        f'<View>\n  <Image name="image" value="$image"/>\n  <RectangleLabels name="label" toName="image">\n'
        f"{labels}  </RectangleLabels>\n</View>\n",
        encoding="utf-8",
    )


def task_data(image: ImageRecord, image_prefix: str) -> dict[str, str]:
    """Return the `data` of a task: where its picture is, and what is stated of it.

    In a web address a name is escaped; a key of a storage (`s3://...`) stands there as it is.
    """
    is_key = "://" in image_prefix and not image_prefix.startswith(("http://", "https://"))
    name = image.file_name if is_key else quote(image.file_name)
    return {"image": image_prefix + name, **stated_of(image)}


def label_result(image: ImageRecord, box: Box) -> dict[str, Any]:
    """Return a box as a `rectanglelabels` result, in percent of the picture."""
    x1, y1, x2, y2 = box.xyxy
    across, down = 100 / image.width, 100 / image.height
    return {
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        "value": {
            "x": x1 * across,
            "y": y1 * down,
            "width": (x2 - x1) * across,
            "height": (y2 - y1) * down,
            "rotation": 0,
            "rectanglelabels": [box.class_name],
        },
    }
