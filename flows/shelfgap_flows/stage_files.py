"""What stages read and write: the dataset, models, reports of other stages, each with the command that makes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.coco import load_dataset, write_text_atomic
from shelfgap_datasets.frames import load_picture
from shelfgap_datasets.schema import Dataset
from shelfgap_edge.contract import MODEL_FILES
from shelfgap_edge.durable import write_durably
from shelfgap_edge.errors import ShelfgapError

from shelfgap_flows.strict_json import json_text
from shelfgap_flows.workspace import Workspace

if TYPE_CHECKING:
    import onnx

CORE_FILE = "core.onnx"


class StageError(ShelfgapError):
    """A stage lacks what an earlier one should have written."""


def open_dataset(workspace: Workspace) -> Dataset:
    """Return the dataset that is trained on.

    Raises:
        StageError: there is none.
    """
    if not workspace.dataset.is_dir():
        raise StageError(f"{workspace.dataset}: no dataset yet; run: shelfgap data import SOURCE --to data/dataset")
    return load_dataset(workspace.dataset)


def model_file(workspace: Workspace, name: str) -> Path:
    """Return the path of a model that an earlier stage made.

    Raises:
        StageError: it is not there.
    """
    path = workspace.models / name
    if not path.is_file():
        command = "shelfgap quantize" if name == MODEL_FILES["int8"] else "shelfgap export"
        raise StageError(f"{path}: not there yet; run: {command}")
    return path


def size_of(values: Sequence[int]) -> tuple[int, int]:
    """Return what a report holds as a list: (height, width)."""
    height, width = values
    return height, width


def read_stage_report(workspace: Workspace, name: str, command: str) -> dict[str, Any]:
    """Return what an earlier stage reported.

    Raises:
        StageError: it is not there, or not JSON; names the command that writes it.
    """
    path = workspace.reports / name
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise StageError(f"{path}: not there yet; run: {command}") from None
    except ValueError as error:
        raise StageError(f"{path}: not valid JSON ({error}); run: {command}") from None
    return report


def write_model(path: Path, model: onnx.ModelProto) -> None:
    """Write a model; the name only ever shows a whole file."""
    write_durably(path, model.SerializeToString())


def write_json(path: Path, content: object) -> None:
    """Write a report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, json_text(content, indent=2) + "\n")


def calibration_frames(workspace: Workspace, count: int, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Load up to `count` training images, spread evenly over the split, resized to the input size.

    Raises:
        StageError: the split is empty.
        DatasetError: a picture cannot be read.
    """
    records = open_dataset(workspace).of_split("train")
    if not records:
        raise StageError(f"{workspace.dataset}: no image in split train; run: shelfgap data split {workspace.dataset}")
    chosen = [records[i] for i in np.unique(np.linspace(0, len(records) - 1, count).round().astype(int))]
    return [load_picture(workspace.dataset, record.file_name, size) for record in chosen]
