"""What INT8 costs and saves: AP50 on the test split and latency for each calibration method and activation type.

    python benchmarks/quantization.py WORKSPACE

The workspace must have been released once. Every variant is timed on one thread in turns with the others, so
that the ratios to fp32 hold on a noisy machine.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import onnx
from shelfgap_datasets.coco import load_dataset
from shelfgap_edge.contract import MODEL_FILES
from shelfgap_edge.runtime import Detector
from shelfgap_export.bundle import make_manifest
from shelfgap_export.onnx_export import with_integer_front_end
from shelfgap_export.quantize import quantize_core
from shelfgap_flows.stages import CORE_FILE, calibration_frames
from shelfgap_flows.workspace import Workspace
from shelfgap_training.evaluate import score_images, summarise


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--rounds", type=int, default=200, help="timed frames a variant (default 200)")
    arguments = parser.parse_args()
    workspace = Workspace(arguments.workspace.resolve())
    params = workspace.params()
    dataset = load_dataset(workspace.dataset)
    size = params.model.input_size
    frames = calibration_frames(workspace, params.quantize.calibration_images, size)
    core = onnx.load(workspace.models / CORE_FILE)
    models = {"fp32": (workspace.models / MODEL_FILES["fp32"]).read_bytes()}
    for method, activation in itertools.product(("minmax", "percentile", "entropy"), ("uint8", "int8")):
        if activation == "int8" and method != "minmax":
            continue  # its cost is the question, once is enough
        changes = {"calibration_method": method, "activation_type": activation}
        quantized = quantize_core(core, frames, params.quantize.model_copy(update=changes)).model
        models[f"{method} {activation}"] = with_integer_front_end(quantized, size).SerializeToString()
    manifest = make_manifest(
        name="benchmark",
        models={},
        classes=dataset.annotated_classes,
        input_size=size,
        score_thresholds=dict.fromkeys(dataset.annotated_classes, 0.5),
        hashes={},
        metrics={},
    )
    detectors = {name: Detector(manifest, model, threads=1) for name, model in models.items()}
    latency_ms: dict[str, list[float]] = {name: [] for name in detectors}
    for turn in range(arguments.rounds + 5):
        for name, detector in detectors.items():
            started = time.perf_counter()
            detector.detect(frames[turn % len(frames)])
            if turn >= 5:  # warm-up
                latency_ms[name].append(1000 * (time.perf_counter() - started))
    base = np.array(latency_ms["fp32"])
    print(f"{'variant':<20}{'AP50':>8}{'ms p50':>10}{'of fp32':>10}")
    for name, detector in detectors.items():
        scored = score_images(detector, workspace.dataset, dataset.of_split("test"), dataset.annotated_classes)
        ap50 = summarise(scored, manifest.score_thresholds, name)["ap50"]["value"]
        ratio = float(np.median(np.array(latency_ms[name]) / base))
        print(f"{name:<20}{ap50:>8.4f}{np.median(latency_ms[name]):>10.2f}{ratio:>10.2f}")


if __name__ == "__main__":
    main()
