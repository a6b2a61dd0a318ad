"""The stages of dvc.yaml as functions: each reads files of a workspace, calls one package, writes files."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.frames import load_picture
from shelfgap_datasets.schema import UNSTATED
from shelfgap_edge.contract import MODEL_FILES, Manifest
from shelfgap_edge.durable import write_durably
from shelfgap_edge.postprocess import Detections

from shelfgap_flows.hashes import CODE_OF_A_BUNDLE, CODE_OF_A_TRAINING, code_hash, dataset_hash, file_hash
from shelfgap_flows.measure import candidate_detector
from shelfgap_flows.params import Params, params_hash
from shelfgap_flows.provenance import arithmetic, made_with
from shelfgap_flows.settings import Settings, tracker_for
from shelfgap_flows.stage_files import (
    CORE_FILE,
    StageError,
    calibration_frames,
    model_file,
    open_dataset,
    read_stage_report,
    size_of,
    write_json,
    write_model,
)
from shelfgap_flows.workspace import Workspace

logger = logging.getLogger(__name__)

_DONE = "done"
"""Marks the scratch folder of a training that ended; killed before DVC has noted it, the stage goes on from there."""


def train_stage(workspace: Workspace, settings: Settings) -> dict[str, Any]:
    """Train on data/dataset; writes models/detector.pt and reports/training.json."""
    import cv2
    from shelfgap_training.checkpoint import TrainedDetector, load_detector, save_detector, weights_hash
    from shelfgap_training.train import is_main_process, train

    params = workspace.params()
    dataset = open_dataset(workspace)
    data_hash = dataset_hash(workspace)
    code = code_hash(*CODE_OF_A_TRAINING)
    identity = params_hash(params.model, params.train) + data_hash + code
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
    _remove_finished(workspace, but=scratch)  # of retrainings that brought nothing to export
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
        "made_with": {**made_with(), "code": code, **arithmetic(), **learned_from, "device": result.device},
        "mlflow_run_id": run_id,
        "dataset_sha256": data_hash,
    }
    tracker.log(
        run_id,
        {"train_seconds": result.all_seconds},
        files={"gallery": sheet, "model": workspace.models / "detector.pt"},
    )
    write_json(workspace.reports / "training.json", report)
    (scratch / _DONE).touch()
    return report


def _remove_finished(workspace: Workspace, but: Path | None = None) -> None:
    """Remove the checkpoints of trainings that ended: whatever runs after them, DVC has noted them or never will."""
    for done in workspace.scratch.glob(f"train-*/{_DONE}"):
        if done.parent != but:
            shutil.rmtree(done.parent, ignore_errors=True)


def export_stage(workspace: Workspace) -> dict[str, Any]:
    """Export to float ONNX and prove parity; writes models/core.onnx, models/model.fp32.onnx, reports/export.json."""
    from shelfgap_export.onnx_export import export_core, with_float_front_end
    from shelfgap_export.parity import require_parity
    from shelfgap_training.checkpoint import load_detector
    from shelfgap_training.model import count_macs

    _remove_finished(workspace)
    params = workspace.params()
    trained = load_detector(workspace.models / "detector.pt")
    size = trained.model.params.input_size
    core = export_core(trained.model)
    model = with_float_front_end(core, size)
    frames = calibration_frames(workspace, params.quantize.calibration_images, size)
    detector = candidate_detector(workspace, model.SerializeToString(), trained.classes, size)
    parity = require_parity(trained.model, detector, frames, params.parity)
    write_model(workspace.models / CORE_FILE, core)
    write_model(workspace.models / MODEL_FILES["fp32"], model)
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
    classes, size = tuple(exported["classes"]), size_of(exported["input_size"])
    frames = calibration_frames(workspace, params.quantize.calibration_images, size)
    quantized, known_sizes = quantize_model(onnx.load(model_file(workspace, CORE_FILE)), frames, params.quantize, size)
    model = quantized.model
    fp32 = candidate_detector(workspace, model_file(workspace, MODEL_FILES["fp32"]), classes, size)
    int8 = candidate_detector(workspace, model.SerializeToString(), classes, size)
    parity = compare(
        [fp32.detect(frame, score_thresholds=0.0) for frame in frames],
        [int8.detect(frame, score_thresholds=0.0) for frame in frames],
        params.parity.min_score,
    )
    write_model(workspace.models / MODEL_FILES["int8"], model)
    report = {
        "parity_fp32_int8": asdict(parity),
        "int8_convolutions": quantized.int8_convolutions,
        "float_convolutions": quantized.float_convolutions,
        "calibration_images": len(frames),
        "known_frame_sizes": [list(known) for known in known_sizes],
    }
    write_json(workspace.reports / "quantize.json", report)
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
        input_size=size_of(exported["input_size"]),
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
    rights = Counter((image.license or UNSTATED, image.consent or UNSTATED) for image in open_dataset(workspace).images)
    training = read_stage_report(workspace, "training.json", "shelfgap train")
    exported = read_stage_report(workspace, "export.json", "shelfgap export")
    origin = {**training, "parameters": exported["parameters"], "macs": exported["macs"]}
    manifest = replace(_with_provenance(manifest, params, training), monitor=params.monitor.on_device().to_bundle())
    write_bundle(workspace.bundle, manifest, models, gate, params.bundle, rights, origin)
    write_durably(workspace.champion, (workspace.models / "detector.pt").read_bytes())
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


def _all_thresholds(classes: Sequence[str], chosen: dict[str, float]) -> dict[str, float]:
    return {name: chosen.get(name, 0.5) for name in classes}


def _worst_sheet(workspace: Workspace, trained: Any) -> NDArray[np.uint8]:
    """Return the validation images with the most mistakes, labelled and found boxes drawn."""
    from shelfgap_export.parity import torch_detections
    from shelfgap_training.gallery import contact_sheet, draw_detections, worst_first
    from shelfgap_training.looked_for import only_looked_for
    from shelfgap_training.metrics import Truth, best_f1_threshold, match_class

    size = trained.model.params.input_size
    records = [r.resized(size) for r in open_dataset(workspace).of_split("val")]
    frames = [load_picture(workspace.dataset, r.file_name, size) for r in records]
    known = [r.of_classes(trained.classes) for r in records]
    truths = [Truth(r.boxes_xyxy(), r.class_ids(trained.classes)) for r in known]
    folded = trained.model.fold()
    found = [
        only_looked_for(torch_detections(folded, frame), record, trained.classes)
        for frame, record in zip(frames, records, strict=True)
    ]
    thresholds = [best_f1_threshold(match_class(truths, found, class_id)) for class_id in range(len(trained.classes))]
    limits = np.array(thresholds, np.float32)
    pictures = []
    for index in worst_first(truths, found, thresholds)[:12]:
        keep = found[index].scores >= limits[found[index].class_ids]
        shown = Detections(found[index].boxes_xyxy[keep], found[index].scores[keep], found[index].class_ids[keep])
        pictures.append(draw_detections(frames[index], shown, trained.classes, truths[index]))
    return contact_sheet(pictures, columns=4, cell=size)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
