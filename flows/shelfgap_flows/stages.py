"""The stages of dvc.yaml as functions: each reads files of a workspace, calls one package, writes files."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.coco import annotations_hash, load_dataset, write_text_atomic
from shelfgap_datasets.frames import load_resized
from shelfgap_datasets.pictures import read_picture
from shelfgap_datasets.schema import UNSTATED, Dataset
from shelfgap_edge.contract import MANIFEST_FILE, MODEL_FILES, Manifest
from shelfgap_edge.errors import ShelfgapError
from shelfgap_training.params import EvaluationParams

from shelfgap_flows.params import Params, params_hash
from shelfgap_flows.provenance import arithmetic, made_with
from shelfgap_flows.settings import Settings, tracker_for
from shelfgap_flows.workspace import Workspace

logger = logging.getLogger(__name__)

CORE_FILE = "core.onnx"
CODE_OF_A_BUNDLE = ("datasets", "training", "export", "edge")  # packages whose code decides its bytes


class StageError(ShelfgapError):
    """A stage lacks what an earlier one should have written."""


def train_stage(workspace: Workspace, settings: Settings) -> dict[str, Any]:
    """Train on data/dataset; writes models/detector.pt and reports/training.json."""
    import cv2
    from shelfgap_training.checkpoint import TrainedDetector, load_detector, save_detector, weights_hash
    from shelfgap_training.train import is_main_process, train

    params = workspace.params()
    dataset = _dataset(workspace)
    data_hash = dataset_hash(workspace)
    identity = params_hash(params.model, params.train) + data_hash + code_hash("datasets", "training")
    initial, teacher = (
        None if name is None else workspace.root / name
        for name in (params.train.initial_weights, params.train.distillation.teacher)
    )
    for path in (initial, teacher):
        identity += "none" if path is None else file_hash(path)
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    scratch = workspace.scratch / f"train-{key}"
    scratch.mkdir(parents=True, exist_ok=True)
    run = partial(
        train,
        workspace.dataset,
        dataset,
        params.model,
        params.train,
        scratch=scratch,
        initial=None if initial is None else load_detector(initial),
        teacher=None if teacher is None else load_detector(teacher),
        devices=settings.devices,
        nodes=settings.nodes,
    )
    if not is_main_process():  # one of several that train together; the main one tracks and writes
        run()
        return {}
    tracker = tracker_for(workspace, settings)
    values = {"model": params.model.model_dump(mode="json"), "train": params.train.model_dump(mode="json")}
    run_id = tracker.open_run(
        f"train-{key}",
        values,
        {"shelfgap.training": key, "shelfgap.dataset_sha256": data_hash, "shelfgap.preset": params.preset},
    )
    flow_pid = settings.flow_pid
    result = run(
        lightning_logger=tracker.lightning_logger(run_id),
        should_stop=None if flow_pid is None else lambda: not _is_alive(flow_pid),
    )
    trained = TrainedDetector(result.model, dataset.detector_classes, data_hash, run_id)
    save_detector(workspace.models / "detector.pt", trained)
    sheet = workspace.reports / "worst_validation.png"
    sheet.parent.mkdir(parents=True, exist_ok=True)
    picture = _worst_sheet(workspace, trained)
    cv2.imwrite(str(sheet), picture[..., ::-1])
    learned_from = {
        "initial_weights_sha256": None if initial is None else file_hash(initial),
        "teacher_sha256": None if teacher is None else file_hash(teacher),
    }
    report = {
        "val_ap50": result.val_ap50,
        "val_ap50_95": result.val_ap50_95,
        "epochs": result.epochs,
        "resumed_from_epoch": result.resumed_from_epoch,
        "train_images": result.train_images,
        "val_images": result.val_images,
        "seconds": round(result.all_seconds, 1),
        "sessions": result.sessions,
        "energy_joules": result.energy_joules,
        "device": result.device,
        "preset": params.preset,
        "imitation_epochs": 0 if initial is not None else params.train.imitation.epochs,
        **learned_from,
        "weights_sha256": weights_hash(result.model),
        "made_with": {**made_with(), **arithmetic(), **learned_from, "device": result.device},
        "mlflow_run_id": run_id,
        "dataset_sha256": data_hash,
    }
    tracker.log(
        run_id,
        {"train_seconds": result.all_seconds},
        files={"gallery": sheet, "model": workspace.models / "detector.pt"},
    )
    write_json(workspace.reports / "training.json", report)
    shutil.rmtree(scratch, ignore_errors=True)
    return report


def export_stage(workspace: Workspace) -> dict[str, Any]:
    """Export to float ONNX and prove parity; writes models/core.onnx, models/model.fp32.onnx, reports/export.json."""
    import onnx
    from shelfgap_export.onnx_export import export_core, with_float_front_end
    from shelfgap_export.parity import require_parity
    from shelfgap_training.checkpoint import load_detector
    from shelfgap_training.model import count_macs

    params = workspace.params()
    trained = load_detector(workspace.models / "detector.pt")
    size = trained.model.params.input_size
    core = export_core(trained.model)
    model = with_float_front_end(core, size)
    frames = calibration_frames(workspace, params.quantize.calibration_images, size)
    detector = _candidate_detector(workspace, model.SerializeToString(), trained.classes, size)
    parity = require_parity(trained.model, detector, frames, params.parity)
    onnx.save(core, workspace.models / CORE_FILE)
    onnx.save(model, workspace.models / MODEL_FILES["fp32"])
    report = {
        "parity_torch_fp32": asdict(parity),
        "parameters": sum(p.numel() for p in trained.model.fold().parameters()),
        "macs": count_macs(trained.model),
        "classes": list(trained.classes),
        "input_size": list(size),
        "dataset_sha256": trained.dataset_sha256,
        "mlflow_run_id": trained.mlflow_run_id,
    }
    write_json(workspace.reports / "export.json", report)
    return report


def quantize_stage(workspace: Workspace) -> dict[str, Any]:
    """Quantize to INT8; writes models/model.int8.onnx and reports/quantize.json."""
    import onnx
    from shelfgap_export.parity import compare
    from shelfgap_export.quantize import quantize_model

    params = workspace.params()
    exported = read_stage_report(workspace, "export.json", "shelfgap export")
    classes, size = tuple(exported["classes"]), _size(exported["input_size"])
    frames = calibration_frames(workspace, params.quantize.calibration_images, size)
    quantized, known_sizes = quantize_model(onnx.load(model_file(workspace, CORE_FILE)), frames, params.quantize, size)
    model = quantized.model
    fp32 = _candidate_detector(workspace, model_file(workspace, MODEL_FILES["fp32"]), classes, size)
    int8 = _candidate_detector(workspace, model.SerializeToString(), classes, size)
    parity = compare(
        [fp32.detect(frame, score_thresholds=0.0) for frame in frames],
        [int8.detect(frame, score_thresholds=0.0) for frame in frames],
        params.parity.min_score,
    )
    onnx.save(model, workspace.models / MODEL_FILES["int8"])
    report = {
        "parity_fp32_int8": asdict(parity),
        "int8_convolutions": quantized.int8_convolutions,
        "float_convolutions": quantized.float_convolutions,
        "calibration_images": len(frames),
        "known_frame_sizes": [list(known) for known in known_sizes],
    }
    write_json(workspace.reports / "quantize.json", report)
    return report


def quantize_sensitivity(workspace: Workspace) -> dict[str, Any]:
    """Measure what each layer costs in INT8 on validation images; writes reports/sensitivity.json."""
    import onnx
    from shelfgap_export.onnx_export import with_front_end
    from shelfgap_export.sensitivity import measure_sensitivity
    from shelfgap_training.evaluate import score_images
    from shelfgap_training.metrics import average_precision

    params = workspace.params()
    exported = read_stage_report(workspace, "export.json", "shelfgap export")
    classes, size = tuple(exported["classes"]), _size(exported["input_size"])
    dataset = _dataset(workspace)

    def ap50(core: onnx.ModelProto) -> float:
        model = with_front_end(core, size).SerializeToString()
        detector = _candidate_detector(workspace, model, classes, size)
        scored = score_images(detector, workspace.dataset, dataset.of_split("val"), dataset.annotated_classes)
        return average_precision(scored.truths, scored.detections, len(scored.classes)).ap50

    frames = calibration_frames(workspace, params.quantize.calibration_images, size)
    core = onnx.load(model_file(workspace, CORE_FILE))
    report = asdict(measure_sensitivity(core, frames, params.quantize, ap50))
    write_json(workspace.reports / "sensitivity.json", report)
    return report


def evaluate_stage(workspace: Workspace) -> dict[str, Any]:
    """Choose thresholds on validation and score both models on test.

    Writes reports/evaluation.json, and of INT8 on test evaluation.md, curves.png and worst_test.jpg beside it.
    """
    import cv2
    from shelfgap_training.charts import draw_curves
    from shelfgap_training.evaluate import choose_thresholds, compare, evaluate, score_images, summarise
    from shelfgap_training.gallery import worst_sheet
    from shelfgap_training.report import evaluation_markdown

    exported = read_stage_report(workspace, "export.json", "shelfgap export")
    classes, size = tuple(exported["classes"]), _size(exported["input_size"])
    dataset, params = _dataset(workspace), workspace.params()
    detectors = {
        precision: _candidate_detector(workspace, model_file(workspace, MODEL_FILES[precision]), classes, size)
        for precision in ("fp32", "int8")
    }
    val = score_images(detectors["int8"], workspace.dataset, dataset.of_split("val"), dataset.annotated_classes)
    thresholds = choose_thresholds(val)
    test = {
        precision: score_images(detector, workspace.dataset, dataset.of_split("test"), dataset.annotated_classes)
        for precision, detector in detectors.items()
    }
    report: dict[str, Any] = {
        "score_thresholds": thresholds,
        "val": {"int8": summarise(val, thresholds, "int8", params.evaluation)},
        "test": {
            precision: evaluate(workspace.dataset, scored, thresholds, precision, params.evaluation)
            for precision, scored in test.items()
        },
        "int8_minus_fp32": compare(test["int8"], test["fp32"], thresholds, params.evaluation),
    }
    reports, int8 = workspace.reports, report["test"]["int8"]
    reports.mkdir(parents=True, exist_ok=True)
    draw_curves(reports / "curves.png", test["int8"].matches(thresholds), int8["calibration"], test["int8"].classes)
    sheet = worst_sheet(workspace.dataset, test["int8"], thresholds, params.evaluation.gallery)
    cv2.imwrite(str(reports / "worst_test.jpg"), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    write_text_atomic(reports / "evaluation.md", evaluation_markdown(report, params.evaluation.confidence))
    write_json(reports / "evaluation.json", report)
    return report


def evaluate_bundle(
    bundle: Path, dataset: Path, split: str, precision: str, params: EvaluationParams
) -> dict[str, Any]:
    """Score a bundle at its own thresholds on any dataset directory; returns the evaluation object.

    Args:
        bundle: directory or `.tar`; its checksums are verified.
        dataset: dataset directory.
        split: "test" for its test images, "all" for every image.
        precision: "int8" or "fp32".
        params: resampling, slices and bins.

    Raises:
        BundleError: the bundle cannot be used.
        DatasetError: no dataset, or no usable image in it.
    """
    from shelfgap_edge.runtime import Detector
    from shelfgap_training.evaluate import evaluate, score_images

    detector = Detector.load(bundle, precision=precision, threads=os.cpu_count() or 1)
    loaded = load_dataset(dataset)
    records = loaded.images if split == "all" else loaded.of_split("test")
    if not records:
        raise StageError(f"{dataset}: no image is in the test split; use --split all, or: shelfgap data split")
    scored = score_images(detector, dataset, records, loaded.annotated_classes)
    return evaluate(dataset, scored, detector.manifest.score_thresholds, precision, params)


def bench_stage(workspace: Workspace) -> dict[str, Any]:
    """Measure both models with the edge harness; writes reports/latency.json."""
    from shelfgap_datasets.synthetic.stills import render_still
    from shelfgap_edge.bench.detectors import bench_bundle
    from shelfgap_export.bundle import GOLDEN_SIZE

    params = workspace.params()
    exported = read_stage_report(workspace, "export.json", "shelfgap export")
    models = {precision: model_file(workspace, name) for precision, name in MODEL_FILES.items()}
    manifest = _candidate_manifest(workspace, tuple(exported["classes"]), _size(exported["input_size"]), models)
    frames = [
        render_still(params.bundle.golden_seed, index, 0, GOLDEN_SIZE).jpeg
        for index in range(params.bundle.golden_frames)
    ]
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder)
        for path in models.values():
            shutil.copyfile(path, draft / path.name)
        (draft / MANIFEST_FILE).write_text(manifest.to_json())
        report = bench_bundle(
            draft,
            frames,
            min_seconds=params.bench.min_seconds,
            min_count=params.bench.min_count,
            threads=params.bench.threads,
            verify=False,
        )
    write_json(workspace.reports / "latency.json", report)
    return report


def release_manifest(workspace: Workspace) -> Manifest:
    """Return the manifest that a release of the workspace's models has: INT8 unless measured to be no faster.

    Raises:
        StageError: an earlier stage has not run.
    """
    from shelfgap_export.bundle import make_manifest, precision_by_latency

    params = workspace.params()
    exported = read_stage_report(workspace, "export.json", "shelfgap export")
    evaluation = read_stage_report(workspace, "evaluation.json", "shelfgap evaluate")
    latency = read_stage_report(workspace, "latency.json", "shelfgap bench")
    return make_manifest(
        name=params.bundle.name,
        models={precision: model_file(workspace, name) for precision, name in MODEL_FILES.items()},
        classes=tuple(exported["classes"]),
        input_size=_size(exported["input_size"]),
        score_thresholds=_all_thresholds(exported["classes"], evaluation["score_thresholds"]),
        hashes={
            "data": exported["dataset_sha256"],
            "detector": file_hash(workspace.models / "detector.pt"),
            "params": params_hash(params),
            "code": code_hash(*CODE_OF_A_BUNDLE),
        },
        metrics=evaluation["test"],
        default_precision=precision_by_latency(latency),
        device_class=params.quantize.device_class,
    )


def bundle_stage(workspace: Workspace) -> dict[str, Any]:
    """Write release/bundle, the same as .tar, and release/detector.pt, its weights.

    Raises:
        StageError: an earlier stage has not run, or the gate judged other models or another operating point.
    """
    from shelfgap_edge.identity import model_identity
    from shelfgap_export.bundle import write_bundle

    params = workspace.params()
    manifest = release_manifest(workspace)
    models = {precision: model_file(workspace, name) for precision, name in MODEL_FILES.items()}
    gate = read_stage_report(workspace, "gate.json", "shelfgap gate")
    identity = model_identity(manifest, {path.name: path.read_bytes() for path in models.values()})
    if gate["candidate"]["identity"] != identity:
        raise StageError(
            f"{workspace.reports / 'gate.json'}: judged {gate['candidate']['identity'][:12]}, models and thresholds "
            f"are {identity[:12]} now; run: shelfgap gate"
        )
    rights = Counter((image.license or UNSTATED, image.consent or UNSTATED) for image in _dataset(workspace).images)
    training = read_stage_report(workspace, "training.json", "shelfgap train")
    exported = read_stage_report(workspace, "export.json", "shelfgap export")
    origin = {**training, "parameters": exported["parameters"], "macs": exported["macs"]}
    manifest = _with_provenance(manifest, params, training)
    write_bundle(workspace.bundle, manifest, models, gate, params.bundle, rights, origin)
    shutil.copyfile(workspace.models / "detector.pt", workspace.champion)
    return {"bundle": str(workspace.bundle), "version": manifest.version}


def _with_provenance(manifest: Manifest, params: Params, training: Mapping[str, Any]) -> Manifest:
    """Add what a rebuild needs; reports of older trainings lack some of it."""
    weights = {"weights": training["weights_sha256"]} if "weights_sha256" in training else {}
    return replace(
        manifest,
        hashes={**manifest.hashes, **weights},
        provenance={
            "params": params.model_dump(mode="json"),
            "training": training.get("made_with"),
            "release": made_with(),
        },
    )


def calibration_frames(workspace: Workspace, count: int, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Load up to `count` training images, spread evenly over the split, resized to the input size."""
    records = _dataset(workspace).of_split("train")
    chosen = [records[i] for i in np.unique(np.linspace(0, len(records) - 1, count).round().astype(int))]
    return [load_resized(read_picture(workspace.dataset, record.file_name), size) for record in chosen]


def file_hash(path: Path) -> str:
    """Return the SHA-256 (hex) of a file.

    Raises:
        StageError: there is none.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise StageError(f"{path}: no such file; params.yaml names it as a trained detector") from None


def dataset_hash(workspace: Workspace) -> str:
    """Return the SHA-256 (hex) of the annotations that are trained on."""
    return annotations_hash(workspace.dataset)


def code_hash(*areas: str) -> str:
    """Return the SHA-256 (hex) of the Python sources of packages (`datasets` for `shelfgap_datasets`)."""
    from importlib import resources

    digest = hashlib.sha256()
    for area in areas:
        root = Path(str(resources.files(f"shelfgap_{area}")))
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _candidate_manifest(
    workspace: Workspace, classes: tuple[str, ...], size: tuple[int, int], models: Mapping[str, Path]
) -> Manifest:
    """Return a manifest for models (precision -> file) that are still being measured."""
    from shelfgap_export.bundle import make_manifest

    return make_manifest(
        name=workspace.params().bundle.name,
        models=models,
        classes=classes,
        input_size=size,
        score_thresholds=dict.fromkeys(classes, 0.5),
        hashes={},
        metrics={},
    )


def _candidate_detector(
    workspace: Workspace, model: bytes | Path, classes: tuple[str, ...], size: tuple[int, int]
) -> Any:
    from shelfgap_edge.runtime import Detector

    return Detector(_candidate_manifest(workspace, classes, size, {}), model, threads=os.cpu_count() or 1)


def _all_thresholds(classes: Sequence[str], chosen: dict[str, float]) -> dict[str, float]:
    return {name: chosen.get(name, 0.5) for name in classes}


def _worst_sheet(workspace: Workspace, trained: Any) -> NDArray[np.uint8]:
    """Return the validation images with the most mistakes, labelled and found boxes drawn."""
    from shelfgap_edge.postprocess import Detections
    from shelfgap_export.parity import torch_detections
    from shelfgap_training.gallery import contact_sheet, draw_detections, worst_first
    from shelfgap_training.metrics import Truth, best_f1_threshold, match_class

    records = [r.of_classes(trained.classes) for r in _dataset(workspace).of_split("val")]
    size = trained.model.params.input_size
    frames = [load_resized(read_picture(workspace.dataset, r.file_name), size) for r in records]
    scales = [np.array([size[1] / r.width, size[0] / r.height] * 2, np.float32) for r in records]
    truths = [Truth(r.boxes_xyxy() * s, r.class_ids(trained.classes)) for r, s in zip(records, scales, strict=True)]
    folded = trained.model.fold()
    found = [torch_detections(folded, frame) for frame in frames]
    thresholds = [best_f1_threshold(match_class(truths, found, class_id)) for class_id in range(len(trained.classes))]
    limits = np.array(thresholds, np.float32)
    pictures = []
    for index in worst_first(truths, found, thresholds)[:12]:
        keep = found[index].scores >= limits[found[index].class_ids]
        shown = Detections(found[index].boxes_xyxy[keep], found[index].scores[keep], found[index].class_ids[keep])
        pictures.append(draw_detections(frames[index], shown, trained.classes, truths[index]))
    return contact_sheet(pictures, columns=4, cell=size)


def _dataset(workspace: Workspace) -> Dataset:
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


def _size(values: Sequence[int]) -> tuple[int, int]:
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


def write_json(path: Path, content: object) -> None:
    """Write a report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, json.dumps(content, indent=2) + "\n")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
