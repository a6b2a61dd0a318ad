"""Our side: each preset trained, exported and quantized by the functions of the product, fold by fold."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.frames import load_picture
from shelfgap_datasets.schema import ImageRecord
from shelfgap_edge.contract import MANIFEST_FILE, MODEL_FILES
from shelfgap_export.params import QuantizeParams
from shelfgap_flows.hashes import code_hash
from shelfgap_flows.params import Params, params_hash
from shelfgap_flows.stage_files import CORE_FILE
from shelfgap_training.params import ModelParams, TrainParams

from versus_yolo.isolated import isolated
from versus_yolo.neighbours import alone
from versus_yolo.plan import Fold, Plan, Run
from versus_yolo.work import Identity, NotYetError, file_hash, read_json

BUNDLE_DIR = "bundle"  # in the folder of a training: manifest and models, as the edge runtime loads them


def our_recipe(params: Params, preset: str) -> tuple[ModelParams, TrainParams]:
    """Return network and recipe of a preset."""
    chosen = params.with_preset(preset)
    return chosen.model, chosen.train


def train_presets(plan: Plan, folds: Sequence[Fold]) -> list[Run]:
    """Train what is missing and return the presets that are trained; only a step that was not asked for leaves gaps."""
    runs = []
    for preset in plan.presets:
        try:
            folders = tuple(_train_fold(plan, preset, fold) for fold in folds)
        except NotYetError as error:
            print(f"{preset}: left out: {error}", flush=True)
            continue
        runs.append(Run(preset, True, folders))
    return runs


def training_of(plan: Plan, preset: str, fold: Fold) -> tuple[Path, Identity]:
    """Return folder and identity of one training of a preset."""
    model, recipe = _capped_recipe(plan, preset)
    identity: dict[str, Any] = {**fold.identity, "recipe": params_hash(model, recipe)}
    identity["helpers"] = [path and file_hash(path)[:16] for path in _helpers(plan, recipe)]
    return plan.folder(preset, fold, identity), identity


def export_run(plan: Plan, run: Run, folds: Sequence[Fold]) -> list[dict[str, Any]]:
    """Export and quantize each fold of a preset: a bundle folder with both models."""
    done = []
    quantize = plan.params.with_preset(run.name).quantize
    for folder, fold in zip(run.folders, folds, strict=True):
        identity = {"detector": file_hash(folder / "detector.pt")[:16], "quantize": params_hash(quantize)}
        identity["code"] = code_hash("export", "edge")[:16]

        def export(folder: Path = folder, fold: Fold = fold) -> dict[str, Any]:
            print(f"{run.name}, {fold.label}: export", flush=True)
            return isolated(export_detector, folder, fold, quantize)

        done.append(plan.step("export", folder / "export.json", identity, export))
    return done


def trained_with_other_code(folder: Path) -> bool:
    """Say whether the sources of training and datasets have changed since a training."""
    run = read_json(folder / "run.json")
    return run is not None and run["result"]["code"] != _training_code()


def _train_fold(plan: Plan, preset: str, fold: Fold) -> Path:
    model, recipe = _capped_recipe(plan, preset)
    folder, identity = training_of(plan, preset, fold)

    def train() -> dict[str, Any]:
        print(f"{preset}, {fold.label}: training", flush=True)
        return alone(lambda: isolated(train_detector, folder, fold, model, recipe, *_helpers(plan, recipe)))

    plan.step("ours", folder / "run.json", identity, train)
    return folder


def _capped_recipe(plan: Plan, preset: str) -> tuple[ModelParams, TrainParams]:
    model, recipe = our_recipe(plan.params, preset)
    if plan.epochs_cap is not None:
        epochs = min(plan.epochs_cap, recipe.epochs)
        every = min(epochs, recipe.validate_every_epochs)
        imitated = min(plan.epochs_cap, recipe.imitation.epochs)
        imitation = recipe.imitation.model_copy(update={"epochs": imitated})
        changes = {"epochs": epochs, "validate_every_epochs": every, "imitation": imitation}
        recipe = recipe.model_copy(update=changes)
    return model, recipe


def _helpers(plan: Plan, recipe: TrainParams) -> tuple[Path | None, Path | None]:
    """Return the files of the initial weights and of the teacher, if the recipe has any."""
    initial, teacher = (
        None if name is None else plan.params_root / name
        for name in (recipe.initial_weights, recipe.distillation.teacher)
    )
    return initial, teacher


def train_detector(
    folder: Path, fold: Fold, model: ModelParams, recipe: TrainParams, initial: Path | None, teacher: Path | None
) -> dict[str, Any]:
    """Train one detector; made for a process of its own, with which it also ends.

    Args:
        folder: of this training: checkpoint, clock, and at the end detector.pt.
        fold: data.
        model: network.
        recipe: how to train.
        initial: a trained detector to start from.
        teacher: one to learn from.

    Returns:
        Seconds of training over all starts, epochs, validation AP50, device, hash of the code, other sources.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the peer trains on the processor too
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the `shelfgap` command has it
    import torch
    from shelfgap_training.checkpoint import TrainedDetector, load_detector, save_detector
    from shelfgap_training.train import train

    logging.basicConfig(level=logging.INFO, format=f"{folder.name}: %(message)s")
    for name in ("faster_coco_eval", "pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    parent = os.getppid()
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    earlier_s = _earlier_seconds(folder / "clock.json", scratch / "last.ckpt")
    result = train(
        fold.root,
        fold.dataset,
        model,
        recipe,
        scratch=scratch,
        initial=None if initial is None else load_detector(initial),
        teacher=None if teacher is None else load_detector(teacher),
        should_stop=lambda: os.getppid() != parent,
    )
    save_detector(folder / "detector.pt", TrainedDetector(result.model, fold.dataset.detector_classes, "", None))
    return {
        "seconds": round(earlier_s + result.seconds, 1),
        "epochs": result.epochs,
        "val_ap50": result.val_ap50,
        "device": result.device,
        "threads": torch.get_num_threads(),
        "code": _training_code(),
        "learns_from": _learns_from(recipe, initial, teacher),
    }


def _learns_from(recipe: TrainParams, initial: Path | None, teacher: Path | None) -> list[str]:
    """Name what a training knows beside the photographs: YOLO11n knows nothing."""
    known = [f"weights of {initial}"] if initial else []
    if recipe.imitation.epochs and initial is None:
        known.append(f"an ImageNet network in {recipe.imitation.epochs} epochs without labels")
    return [*known, f"the teacher {teacher}"] if teacher else known


def _earlier_seconds(clock: Path, checkpoint: Path) -> float:
    """Return the seconds of earlier starts up to the checkpoint that they left, and note this start."""
    known = read_json(clock)
    spent_s = 0.0
    if known is not None and checkpoint.is_file():
        spent_s = known["spent_s"] + max(0.0, checkpoint.stat().st_mtime - known["started_at"])
    clock.write_text(json.dumps({"spent_s": spent_s, "started_at": time.time()}))
    return spent_s


def export_detector(folder: Path, fold: Fold, quantize: QuantizeParams) -> dict[str, Any]:
    """Export one trained detector to both precisions, as the stages of the product do.

    Returns:
        What is in the models.
    """
    import onnx
    from shelfgap_export.bundle import make_manifest
    from shelfgap_export.onnx_export import export_core, with_float_front_end
    from shelfgap_export.quantize import quantize_model
    from shelfgap_training.checkpoint import load_detector

    from versus_yolo.convolutions import network_size

    trained = load_detector(folder / "detector.pt")
    size = trained.model.params.input_size
    core = export_core(trained.model)
    frames = list(calibration_frames(fold, quantize.calibration_images, size))
    quantized, _ = quantize_model(core, frames, quantize, size)
    bundle = folder / BUNDLE_DIR
    bundle.mkdir(exist_ok=True)
    onnx.save(core, folder / CORE_FILE)
    onnx.save(with_float_front_end(core, size), bundle / MODEL_FILES["fp32"])
    onnx.save(quantized.model, bundle / MODEL_FILES["int8"])
    manifest = make_manifest(name="benchmark", classes=trained.classes, input_size=size)
    (bundle / MANIFEST_FILE).write_text(manifest.to_json())
    return {
        **network_size(core)._asdict(),
        "input_size": list(size),
        "int8_convolutions": quantized.int8_convolutions,
        "float_convolutions": quantized.float_convolutions,
        "calibration_images": len(frames),
    }


def calibration_frames(fold: Fold, count: int, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    """Yield up to `count` training images of a fold, resized to (height, width)."""
    for record in spread(fold.dataset.of_split("train"), count):
        yield load_picture(fold.root, record.file_name, size)


def spread(records: tuple[ImageRecord, ...], count: int) -> list[ImageRecord]:
    """Return up to `count` records, evenly spread."""
    return [records[i] for i in np.unique(np.linspace(0, len(records) - 1, count).round().astype(int))]


def _training_code() -> str:
    return hashlib.sha256(code_hash("datasets", "training").encode()).hexdigest()[:16]
