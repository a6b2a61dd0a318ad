"""Accuracy of every run in both precisions, and how sure the differences are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shelfgap_edge.contract import MODEL_FILES, PRECISIONS
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.runtime import Detector
from shelfgap_flows.hashes import code_hash
from shelfgap_training.bootstrap import clusters_of, paired_difference

from versus_yolo.ours import BUNDLE_DIR
from versus_yolo.peer import FP32_FILE, INT8_FILE
from versus_yolo.plan import Fold, Plan, Run, model_identity
from versus_yolo.scoring import NAMES, figures_of, find_all, find_ours, intervals_of, load_found, matches_of, save_found
from versus_yolo.yolo_detector import YoloDetector

Found = Mapping[tuple[str, str], Sequence[Sequence[Detections]]]  # (run, precision) -> detections a fold an image


def model_file(run: Run, folder: Path, precision: str) -> Path:
    """Return the ONNX file of one fold of a run."""
    if run.is_ours:
        return onnx_file(folder / BUNDLE_DIR, precision)
    return folder / {"fp32": FP32_FILE, "int8": INT8_FILE}[precision]


def onnx_file(path: Path, precision: str) -> Path:
    """Return the ONNX file of a bundle folder; any other path is one."""
    return path / MODEL_FILES[precision] if path.is_dir() else path


def score_runs(plan: Plan, runs: Sequence[Run], folds: Sequence[Fold]) -> Found:
    """Detect in the test scenes of each fold what was not detected yet, and return all detections."""
    found: dict[tuple[str, str], list[list[Detections]]] = {}
    code = code_hash("edge")[:16]
    for run in runs:
        for precision in PRECISIONS:
            found[run.name, precision] = []
            for folder, fold in zip(run.folders, folds, strict=True):
                records, kept = fold.dataset.of_split("test"), folder / f"found-{precision}.npz"

                def detect(
                    run: Run = run,
                    folder: Path = folder,
                    fold: Fold = fold,
                    precision: str = precision,
                    kept: Path = kept,
                ) -> dict[str, Any]:
                    print(f"{run.name}, {fold.label}: scoring {precision}", flush=True)
                    detections = find_all(_find(run, folder, precision), fold.root, fold.dataset.of_split("test"))
                    save_found(kept, detections)
                    return {"images": len(detections)}

                identity = {**fold.identity, **model_identity(model_file(run, folder, precision)), "code": code}
                plan.step("score", folder / f"found-{precision}.json", identity, detect)
                detections = load_found(kept)
                assert len(detections) == len(records)
                found[run.name, precision].append(detections)
    return found


def _find(run: Run, folder: Path, precision: str) -> Callable[[bytes], Detections]:
    threads = os.cpu_count() or 1
    if run.is_ours:
        return find_ours(Detector.load(folder / BUNDLE_DIR, precision=precision, threads=threads, verify=False))
    return YoloDetector(model_file(run, folder, precision), threads=threads, min_score=0.001).detect_file


def accuracy(runs: Sequence[Run], folds: Sequence[Fold], found: Found) -> dict[str, dict[str, Any]]:
    """Return, by run and precision, each figure with its interval and its value in each fold.

    `by_fold_all_counted` counts what lies in ignored regions too, as other evaluations do.
    """
    records = [fold.dataset.of_split("test") for fold in folds]
    classes = folds[0].dataset.detector_classes
    table: dict[str, dict[str, Any]] = {}
    for run in runs:
        table[run.name] = {}
        for precision in PRECISIONS:
            detections = found[run.name, precision]
            pairs = list(zip(records, detections, strict=True))
            table[run.name][precision] = {
                **intervals_of(records, detections, classes),
                "by_fold": [figures_of([images], [one], classes) for images, one in pairs],
                "by_fold_all_counted": [
                    figures_of([[image.of_classes(classes) for image in images]], [one], classes)
                    for images, one in pairs
                ],
            }
    return table


def better_run(names: Iterable[str], table: Mapping[str, Mapping[str, Any]], precision: str, figure: str) -> str:
    """Return the name of the run with the highest value of a figure: the hardest one to beat.

    >>> table = {"a": {"int8": {"ap50": {"value": 0.5}}}, "b": {"int8": {"ap50": {"value": 0.6}}}}
    >>> better_run(["a", "b"], table, "int8", "ap50")
    'b'
    """
    return max(names, key=lambda name: float(table[name][precision][figure]["value"] or 0))


def differences(
    runs: Sequence[Run], folds: Sequence[Fold], found: Found, table: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return paired differences with intervals: each preset against the peer's better run, INT8 against fp32.

    Against the peer, each precision is compared with the same, and our INT8 with the peer's fp32 too. The better run
    is chosen for each figure on its own, by the test scenes: a choice in the peer's favour.
    """
    peers = [run.name for run in runs if not run.is_ours]
    pairs = [
        ((run.name, mine), (better_run(peers, table, theirs, figure), theirs), figure)
        for run in runs
        if run.is_ours and peers
        for mine, theirs in (("fp32", "fp32"), ("int8", "int8"), ("int8", "fp32"))
        for figure in NAMES
    ]
    pairs += [((run.name, "int8"), (run.name, "fp32"), figure) for run in runs for figure in NAMES]
    records = [fold.dataset.of_split("test") for fold in folds]
    classes = folds[0].dataset.detector_classes
    clusters = [clusters_of(images) for images in records]
    matches = {key: matches_of(records, detections, classes) for key, detections in found.items()}
    rows = []
    for ours, theirs, figure in pairs:
        interval = paired_difference(matches[ours], matches[theirs], clusters, figure=figure)
        rows.append({"of": list(ours), "minus": list(theirs), "figure": figure, **interval.to_dict()})
    return rows
