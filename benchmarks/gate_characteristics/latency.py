"""Real latency runs: a detector against itself, and against one that does some more work for the same answers."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from shelfgap_datasets.synthetic.stills import render_still
from shelfgap_edge.bench.harness import Pipeline, measure
from shelfgap_edge.contract import MODEL_FILES, OUTPUT_SCORES
from shelfgap_edge.runtime import Detector
from shelfgap_export.bundle import GOLDEN_SIZE, make_manifest
from shelfgap_export.gate.against import CHECKS_AGAINST, latency_check
from shelfgap_export.gate.entrant import Entrant, entrant_of
from shelfgap_export.gate.latency import compare_latency
from shelfgap_export.onnx_export import export_core, with_float_front_end
from shelfgap_export.params import GateParams
from shelfgap_training.model import GapDetector
from shelfgap_training.params import ModelParams

_WIDTH = 128  # of the extra layers
_CLASSES = ("gap", "low", "occluder")


def frames() -> list[bytes]:
    """Return four synthetic frames."""
    return [render_still(4242, index, 0, GOLDEN_SIZE).jpeg for index in range(4)]


def untrained(params: ModelParams) -> onnx.ModelProto:
    """Return a float model with chance weights: what it answers does not matter here."""
    torch.manual_seed(0)
    return with_float_front_end(export_core(GapDetector(params, len(_CLASSES)).eval()), params.input_size)


def entrant(model: onnx.ModelProto, input_size: tuple[int, int], name: str) -> Entrant:
    """Return a model as an entrant of the gate."""
    content = model.SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / MODEL_FILES["fp32"]
        file.write_bytes(content)
        manifest = make_manifest(name=name, classes=_CLASSES, input_size=input_size, models={"fp32": file})
    return entrant_of(manifest, {MODEL_FILES["fp32"]: content}, name)


def with_more_layers(model: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """Return the model with `count` more matrix products after it, whose result counts nothing."""
    longer = onnx.ModelProto()
    longer.CopyFrom(model)
    graph = longer.graph
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == OUTPUT_SCORES:
                node.output[index] = "scores_before"
    weight = np.random.default_rng(0).normal(0, _WIDTH**-0.5, (_WIDTH, _WIDTH)).astype(np.float32)
    graph.initializer.extend(
        [
            numpy_helper.from_array(weight, "more/weight"),
            numpy_helper.from_array(np.ones((1, _WIDTH), np.float32), "more/ones"),
            numpy_helper.from_array(np.float32(0), "more/zero"),
        ]
    )
    nodes = [
        helper.make_node("ReduceSum", ["scores_before"], ["more/sum"], keepdims=0),
        helper.make_node("Mul", ["more/ones", "more/sum"], ["more/0"]),
        *(
            helper.make_node("MatMul", [f"more/{k}", "more/weight"], [f"more/{k + 1}"], f"more/product_{k}")
            for k in range(count)
        ),
        helper.make_node("ReduceSum", [f"more/{count}"], ["more/end"], keepdims=0),
        helper.make_node("Mul", ["more/end", "more/zero"], ["more/nothing"]),
        helper.make_node("Add", ["scores_before", "more/nothing"], [OUTPUT_SCORES]),
    ]
    graph.node.extend(nodes)
    onnx.checker.check_model(longer)
    assert graph.output[1].type.tensor_type.elem_type == TensorProto.FLOAT
    return longer


def layers_for(model: onnx.ModelProto, input_size: tuple[int, int], slower: float, seconds: float) -> int:
    """Return how many more layers make a model slower by a share, measured side by side in this process."""
    trial = 200
    pipelines = [
        Pipeline(name, Detector(of.manifest, of.files[MODEL_FILES["fp32"]]).stages())
        for name, of in (
            ("as it is", entrant(model, input_size, "as it is")),
            ("longer", entrant(with_more_layers(model, trial), input_size, "longer")),
        )
    ]
    # what the machine does otherwise is not counted
    timings = measure(pipelines, frames(), min_seconds=seconds, min_count=100, clock_ns=time.process_time_ns)
    base, longer = (float(np.percentile(timing.latency_ms["total"], 25)) for timing in timings)
    return max(1, round(trial * slower * base / (longer - base)))


@dataclass
class LatencyRuns:
    """Verdicts of latency runs of one pair of models."""

    name: str
    verdicts: Counter[str] = field(default_factory=Counter)
    ratios: list[float] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)
    loads: list[float | None] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return it for a table and JSON."""
        return {
            "candidate": self.name,
            **{name: self.verdicts[name] for name in ("pass", "inconclusive", "fail")},
            "ratios": [round(value, 4) for value in self.ratios],
            "pairs": self.pairs,
            "load_average_1min": self.loads,
        }


def run_latency(
    candidate: Entrant, champion: Entrant, params: GateParams, count: int, name: str
) -> Iterator[LatencyRuns]:
    """Measure a candidate against a champion `count` times; yields the tally after each."""
    runs, pictures = LatencyRuns(name), frames()
    for _ in range(count):
        measured = compare_latency(candidate, champion, pictures, params, runtime="onnxruntime", checks=CHECKS_AGAINST)
        runs.verdicts[latency_check(measured, params).verdict] += 1
        runs.ratios.append(measured["ratio"]["value"])
        runs.pairs.append(measured["pairs"])
        runs.loads.append(measured["device"]["load_average_1min"])
        yield runs
