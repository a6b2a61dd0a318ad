"""The trained detector as one file: weights, and what is needed to rebuild and trace it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from shelfgap_edge.durable import write_durably
from shelfgap_edge.errors import ShelfgapError

from shelfgap_training.model import GapDetector
from shelfgap_training.params import ModelParams

_FORMAT = 2


class CheckpointError(ShelfgapError):
    """A trained detector cannot be read."""


@dataclass(frozen=True)
class TrainedDetector:
    """A detector in evaluation mode and its origin."""

    model: GapDetector
    classes: tuple[str, ...]
    dataset_sha256: str
    mlflow_run_id: str | None


def save_detector(path: Path, trained: TrainedDetector) -> None:
    """Write a trained detector so that the name only ever shows a whole file."""
    payload: dict[str, Any] = {
        "format": _FORMAT,
        "model_params": trained.model.params.model_dump(mode="json"),
        "state_dict": trained.model.state_dict(),
        "classes": list(trained.classes),
        "dataset_sha256": trained.dataset_sha256,
        "mlflow_run_id": trained.mlflow_run_id,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save(payload, content)
    write_durably(path, content.getvalue())


def weights_hash(model: GapDetector) -> str:
    """Return the SHA-256 (hex) of all tensors: equal for bit-equal weights, whatever else a file of them says."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def start_from(model: GapDetector, classes: tuple[str, ...], trained: TrainedDetector) -> None:
    """Copy the weights of a trained detector into a new one, in place; of the classes, those that both know.

    Raises:
        CheckpointError: the two are built differently.
    """
    if not trained.model.params.is_built_like(model.params):
        raise CheckpointError(
            "the initial weights are of another network; take the same channels and blocks in params.yaml"
        )
    weights = dict(trained.model.state_dict())
    for name in ("score.weight", "score.bias"):
        mine = model.state_dict()[name].clone()
        for row, class_name in enumerate(classes):
            if class_name in trained.classes:
                mine[row] = weights[name][trained.classes.index(class_name)]
        weights[name] = mine
    model.load_state_dict(weights)


def load_detector(path: Path) -> TrainedDetector:
    """Read a trained detector; only tensors and plain values are unpickled.

    Raises:
        CheckpointError: no such file, or not one that `save_detector` wrote.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no trained detector here; run: shelfgap train")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
        if payload["format"] != _FORMAT:
            raise CheckpointError(f"{path}: format {payload['format']!r}, expected {_FORMAT}; train anew")
        classes = tuple(payload["classes"])
        model = GapDetector(ModelParams.model_validate(payload["model_params"], strict=False), len(classes))
        model.load_state_dict(payload["state_dict"])
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: not a trained detector ({type(error).__name__}: {error})") from None
    return TrainedDetector(model.eval(), classes, str(payload["dataset_sha256"]), payload.get("mlflow_run_id"))
