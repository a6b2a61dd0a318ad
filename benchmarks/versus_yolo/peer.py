"""The peer's side: YOLO11n trained by Ultralytics on the same folds, exported, and quantized as well as it can be."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from shelfgap_datasets.coco import IMAGES_DIR
from shelfgap_datasets.labelling.yolo import flat_names, write_yolo
from shelfgap_datasets.pictures import read_picture
from shelfgap_datasets.schema import Dataset
from shelfgap_export.quantize import layer_kinds

from versus_yolo.convolutions import network_size
from versus_yolo.isolated import isolated
from versus_yolo.latency import in_turns
from versus_yolo.neighbours import alone
from versus_yolo.ours import spread, training_of
from versus_yolo.peer_environment import PeerEnvironment
from versus_yolo.plan import Fold, Plan, Run, model_identity
from versus_yolo.scoring import figures_of, find_all
from versus_yolo.work import BenchmarkError, Identity, NotYetError, read_json
from versus_yolo.yolo_detector import YoloDetector
from versus_yolo.yolo_quantize import VARIANTS, quantize_yolo

IMAGE_SIZE = 320
FP32_FILE, INT8_FILE = "model.fp32.onnx", "model.int8.onnx"
_CALIBRATION_IMAGES = 64
_INT8_MARGIN = 0.005  # AP50 that a faster variant may lose
_TIMED_TURNS = 60


def train_peer(plan: Plan, folds: Sequence[Fold], environment: PeerEnvironment) -> list[Run]:
    """Train what is missing: for a number of epochs, and for the time that each preset of ours took.

    A preset that is not trained yet gives no time: that run is left out.
    """
    runs = []
    for name, preset in run_names(plan).items():
        try:
            folders = tuple(_train_fold(plan, environment, name, preset, fold) for fold in folds)
        except NotYetError as error:
            print(f"{name}: left out: {error}", flush=True)
            continue
        runs.append(Run(name, False, folders))
    return runs


def run_names(plan: Plan) -> dict[str, str | None]:
    """Return the names of the peer's runs, each with the preset whose time bounds it."""
    timed: dict[str, str | None] = {f"YOLO11n, time of {preset}": preset for preset in plan.presets}
    return {f"YOLO11n, {_epochs(plan)} epochs": None, **timed}


def _epochs(plan: Plan) -> int:
    return plan.peer_epochs if plan.epochs_cap is None else min(plan.peer_epochs, plan.epochs_cap)


def _train_fold(plan: Plan, environment: PeerEnvironment, name: str, preset: str | None, fold: Fold) -> Path:
    hours, epochs = None, _epochs(plan)
    identity: dict[str, Any] = {**fold.identity, "epochs": epochs, "image_size": IMAGE_SIZE}
    if preset is not None:
        ours, _ = training_of(plan, preset, fold)
        done = read_json(ours / "run.json")
        if done is None:
            raise NotYetError(f"{preset}, {fold.label} is not trained; run with --steps ours")
        hours = done["result"]["seconds"] / 3600
        identity |= {"like": ours.name, "hours": round(hours, 5)}
    folder = plan.folder("yolo11n" if preset is None else f"yolo11n-as-{preset}", fold, identity)

    def train() -> dict[str, Any]:
        print(f"{name}, {fold.label}: training", flush=True)
        settings = {
            "name": f"{name}, {fold.label}",
            "folder": str(folder.resolve()),
            "data": str(write_layout(plan.work, fold).resolve()),
            "epochs": epochs,
            "hours": hours,
            "image_size": IMAGE_SIZE,
        }
        environment.run("train_yolo.py", settings, folder)
        trained = read_json(folder / "trained.json")
        assert trained is not None
        return trained

    plan.step("peer", folder / "run.json", identity, lambda: alone(train))
    return folder


def write_layout(work: Path, fold: Fold) -> Path:
    """Write the fold as Ultralytics reads it, the pictures linked, and return its data.yaml."""
    folder = work / "peer" / "data" / f"fold{fold.number + 1}of{fold.count}-{fold.identity['images']}"
    data = folder / "data.yaml"
    if data.is_file():
        return data
    shutil.rmtree(folder, ignore_errors=True)
    classes = fold.dataset.detector_classes
    images = tuple(image.of_classes(classes) for image in fold.dataset.images)
    names = flat_names(images)
    for image, name in zip(images, names, strict=True):
        link = folder / IMAGES_DIR / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((fold.root / IMAGES_DIR / image.file_name).resolve())
    write_yolo(folder, Dataset(images, classes), names)
    return data


def export_peer(plan: Plan, run: Run, folds: Sequence[Fold], environment: PeerEnvironment) -> list[dict[str, Any]]:
    """Export each fold of a run to ONNX, score it by Ultralytics' `val`, and choose its INT8 variant."""
    done = []
    for folder, fold in zip(run.folders, folds, strict=True):
        identity: Identity = {"weights": model_identity(folder / "best.pt"), "variants": list(VARIANTS)}

        def export(folder: Path = folder, fold: Fold = fold) -> dict[str, Any]:
            print(f"{run.name}, {fold.label}: export", flush=True)
            settings = {"folder": str(folder.resolve()), "image_size": IMAGE_SIZE}
            settings["data"] = str(write_layout(plan.work, fold).resolve())
            environment.run("export_yolo.py", settings, folder)
            exported = read_json(folder / "exported.json")
            assert exported is not None
            return exported | isolated(choose_int8, folder, fold)

        done.append(plan.step("export", folder / "export.json", identity, export))
    return done


def choose_int8(folder: Path, fold: Fold) -> dict[str, Any]:
    """Quantize the export in every variant and keep the best: the fastest of those that find most.

    Returns:
        Size of the network; of each variant AP50 on validation scenes and median milliseconds on one thread (None
        where it cannot be made or run); the chosen one.
    """
    model = folder / FP32_FILE
    val = fold.dataset.of_split("val")
    classes = fold.dataset.detector_classes
    ap50: dict[str, float | None] = {}
    networks: dict[str, Callable[[int], object]] = {}
    (blob, *_) = calibration_blobs(fold, YoloDetector(model), 1)
    for number, variant in enumerate(VARIANTS):
        target = int8_variant(folder, number)
        try:
            blobs = calibration_blobs(fold, YoloDetector(model), _CALIBRATION_IMAGES)
            quantize_yolo(model, target, variant, blobs)
            detector = YoloDetector(target, threads=os.cpu_count() or 1, min_score=0.001)
            found = find_all(detector.detect_file, fold.root, val)
            ap50[variant] = figures_of([val], [found], classes)["ap50"]
            networks[variant] = partial(_infer, YoloDetector(target), blob)
        except Exception as error:  # onnxruntime raises its own types; another variant may do
            print(f"{folder.name}: INT8 {variant} left out: {error}", flush=True)
            ap50[variant] = None
    taken_ms = {variant: float(np.median(t)) for variant, t in in_turns(networks, _TIMED_TURNS).items()}
    chosen = best_variant({variant: value for variant, value in ap50.items() if value is not None}, taken_ms)
    shutil.copyfile(int8_variant(folder, list(VARIANTS).index(chosen)), folder / INT8_FILE)
    kinds = Counter(layer_kinds(onnx.load(folder / INT8_FILE)).values())
    return {
        **network_size(onnx.load(model))._asdict(),
        "input_size": [IMAGE_SIZE, IMAGE_SIZE],
        "int8_val_ap50": ap50,
        "int8_ms": {variant: round(value, 2) for variant, value in taken_ms.items()},
        "int8_chosen": chosen,
        "int8_convolutions": kinds["int8"],
        "float_convolutions": kinds["float"],
    }


def best_variant(ap50: Mapping[str, float], taken_ms: Mapping[str, float]) -> str:
    """Return the fastest variant among those within half a point of the best AP50.

    Raises:
        BenchmarkError: there is none.

    >>> best_variant({"a": 0.0, "b": 0.660, "c": 0.662}, {"a": 5.0, "b": 6.0, "c": 7.0})
    'b'
    """
    if not ap50:
        raise BenchmarkError("YOLO11n: no INT8 variant can be made and run; the lines above say why")
    good = [variant for variant, value in ap50.items() if value >= max(ap50.values()) - _INT8_MARGIN]
    return min(good, key=lambda variant: taken_ms[variant])


def _infer(detector: YoloDetector, blob: NDArray[np.float32], turn: int) -> object:
    return detector.infer(blob)


def int8_variant(folder: Path, number: int) -> Path:
    """Return the file of a variant by its place in `VARIANTS`."""
    return folder / f"model.int8-{number}.onnx"


def calibration_blobs(fold: Fold, detector: YoloDetector, count: int) -> Iterator[NDArray[np.float32]]:
    """Yield up to `count` training images as the peer's own preprocessing gives them."""
    for record in spread(fold.dataset.of_split("train"), count):
        data = np.frombuffer(read_picture(fold.root, record.file_name), np.uint8)
        yield detector.prepare(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8), swap=True)[0]
