"""What INT8 costs and saves on a workspace: by calibration, device class, form of the graph, and runtime.

    python benchmarks/quantization.py WORKSPACE [--split val] [--runtime onnxruntime openvino]

The workspace must have been released once. AP50 comes with its paired difference to float and the interval of it,
clustered by group. Every variant runs on one thread in turns with the others, and its processor time is taken, so that
the ratios to float hold on a busy machine: on frames that have the input size, and on pictures as they are, which the
graph resizes.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
from shelfgap_datasets.coco import load_dataset
from shelfgap_datasets.frames import read_frame
from shelfgap_datasets.pictures import read_picture
from shelfgap_edge.bench.harness import Pipeline, Timing, measure, ratio
from shelfgap_edge.contract import MODEL_FILES, RUNTIMES
from shelfgap_edge.runtime import Detector
from shelfgap_export import quantize
from shelfgap_export.bundle import make_manifest
from shelfgap_flows.stage_files import CORE_FILE, calibration_frames
from shelfgap_flows.workspace import Workspace
from shelfgap_training.bootstrap import clusters_of, paired_difference
from shelfgap_training.evaluate import score_images
from shelfgap_training.metrics import average_precision

METHODS, COUNTS = ("minmax", "entropy", "percentile"), (16, 64, 128)


def variants(workspace: Workspace, methods: Sequence[str], counts: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """Yield name and model: float, then INT8 one change at a time from the workspace's parameters."""
    params = workspace.params()
    size, chosen = params.model.input_size, params.quantize
    core = onnx.load(workspace.models / CORE_FILE)

    def model(count: int, **changes: object) -> bytes:
        frames = calibration_frames(workspace, count, size)
        changed = chosen.model_copy(update=changes)
        return quantize.quantize_model(core, frames, changed, size)[0].model.SerializeToString()

    count = chosen.calibration_images
    yield "fp32", (workspace.models / MODEL_FILES["fp32"]).read_bytes()
    for method, images in itertools.product(methods, counts):
        yield f"{method} {images}", model(images, calibration_method=method)
    for device_class in ("x86", "x86-vnni", "arm"):
        yield device_class, model(count, device_class=device_class)
    yield "no known sizes", model(count, frame_sizes=())
    with mock.patch.object(quantize, "with_integer_forms", lambda core, keep: core):
        yield "as exported", model(count, frame_sizes=())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--split", choices=("val", "test"), default="val", help="images to score (default val)")
    parser.add_argument("--rounds", type=int, default=200, help="timed frames a variant (default 200)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="of calibration")
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="of calibration images")
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=RUNTIMES[:1])
    arguments = parser.parse_args()
    workspace = Workspace(arguments.workspace.resolve())
    dataset = load_dataset(workspace.dataset)
    size = workspace.params().model.input_size
    manifest = make_manifest(name="benchmark", classes=dataset.detector_classes, input_size=size)
    models = dict(variants(workspace, arguments.methods, arguments.counts))
    detectors = {
        (name, runtime): Detector(manifest, model, threads=1, runtime=runtime)
        for name, model in models.items()
        for runtime in arguments.runtime
    }
    pictures = [
        read_frame(read_picture(workspace.dataset, record.file_name))
        for record in dataset.of_split(arguments.split)[:8]
    ]
    pipelines = [Pipeline(f"{name} {runtime}", detector.stages()) for (name, runtime), detector in detectors.items()]

    def timed(frames: Sequence[Any]) -> dict[tuple[str, str], Timing]:
        timings = measure(pipelines, frames, min_seconds=0, min_count=arguments.rounds, clock_ns=time.process_time_ns)
        return dict(zip(detectors, timings, strict=True))

    tables = [timed(calibration_frames(workspace, 8, size)), timed(pictures)]
    scored = {
        key: score_images(detector, workspace.dataset, dataset.of_split(arguments.split), dataset.annotated_classes)
        for key, detector in detectors.items()
    }
    reference = ("fp32", arguments.runtime[0])
    thresholds = manifest.score_thresholds
    clusters = clusters_of(scored[reference].records)
    print(f"{'':38}{'':26}{'input size':>18}{'as they are':>18}")
    print(f"{'variant':<16}{'runtime':<14}{'AP50':>8}{'minus fp32, in points':>26}" + f"{'ms':>9}{'of fp32':>9}" * 2)
    for (name, runtime), images in scored.items():
        ap50 = average_precision(images.truths, images.detections, len(images.classes)).ap50
        loss = paired_difference([images.matches(thresholds)], [scored[reference].matches(thresholds)], clusters)
        row = f"{name:<16}{runtime:<14}{ap50:>8.4f}"
        row += f"{100 * loss.value:>+10.2f} [{100 * loss.low:+.2f}, {100 * loss.high:+.2f}]".ljust(26)
        for table in tables:
            of_float = ratio(table[name, runtime], table[reference], "inference") or float("nan")
            row += f"{np.median(table[name, runtime].latency_ms['inference']):>9.2f}{of_float:>9.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
