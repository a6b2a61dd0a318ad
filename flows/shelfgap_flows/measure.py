"""The stages that measure models which are not released yet: evaluation, latency, sensitivity."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shelfgap_datasets.coco import load_dataset, write_text_atomic
from shelfgap_edge.contract import MANIFEST_FILE, MODEL_FILES, Manifest
from shelfgap_training.params import EvaluationParams

from shelfgap_flows.stage_files import (
    CORE_FILE,
    StageError,
    calibration_frames,
    model_file,
    open_dataset,
    read_stage_report,
    size_of,
    write_json,
)
from shelfgap_flows.workspace import Workspace


def quantize_sensitivity(workspace: Workspace) -> dict[str, Any]:
    """Measure what each layer costs in INT8 on validation images; writes reports/sensitivity.json."""
    import onnx
    from shelfgap_export.onnx_export import with_front_end
    from shelfgap_export.sensitivity import measure_sensitivity
    from shelfgap_training.evaluate import score_images
    from shelfgap_training.metrics import average_precision

    params = workspace.params()
    exported = read_stage_report(workspace, "export.json", "shelfgap export")
    classes, size = tuple(exported["classes"]), size_of(exported["input_size"])
    dataset = open_dataset(workspace)

    def ap50(core: onnx.ModelProto) -> float:
        model = with_front_end(core, size).SerializeToString()
        detector = candidate_detector(workspace, model, classes, size)
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
    classes, size = tuple(exported["classes"]), size_of(exported["input_size"])
    dataset, params = open_dataset(workspace), workspace.params()
    detectors = {
        precision: candidate_detector(workspace, model_file(workspace, MODEL_FILES[precision]), classes, size)
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
    manifest = candidate_manifest(workspace, tuple(exported["classes"]), size_of(exported["input_size"]), models)
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


def candidate_manifest(
    workspace: Workspace, classes: tuple[str, ...], size: tuple[int, int], models: Mapping[str, Path]
) -> Manifest:
    """Return a manifest for models (precision -> file) that are still being measured."""
    from shelfgap_export.bundle import make_manifest

    return make_manifest(name=workspace.params().bundle.name, classes=classes, input_size=size, models=models)


def candidate_detector(
    workspace: Workspace, model: bytes | Path, classes: tuple[str, ...], size: tuple[int, int]
) -> Any:
    """Return one of them as a detector of the edge runtime."""
    from shelfgap_edge.runtime import Detector

    return Detector(candidate_manifest(workspace, classes, size, {}), model, threads=os.cpu_count() or 1)
