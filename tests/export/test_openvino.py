"""A quantized network in OpenVINO: INT8 where it was quantized, and what onnxruntime finds."""

from __future__ import annotations

import importlib.util
from collections import Counter

import cv2
import pytest
from export_params import QUANTIZE
from shelfgap_edge.runtime import Detector
from shelfgap_edge.verify import verify_bundle
from shelfgap_export.bundle import write_bundle
from shelfgap_export.onnx_export import with_integer_front_end
from shelfgap_export.params import BundleParams
from shelfgap_export.parity import compare
from shelfgap_export.quantize import quantize_core
from small_network import MODEL

if importlib.util.find_spec("openvino") is None:
    pytest.skip("needs the extra: pip install 'shelfgap-edge[openvino]'", allow_module_level=True)

SIZES = [MODEL.input_size, (144, 200)]


def run_as(detector, kind):
    """The types in which the compiled model runs its operations of one kind."""
    (request,) = detector._session._compiled.values()
    operations = [op.get_rt_info() for op in request.get_compiled_model().get_runtime_model().get_ops()]
    return Counter(info["runtimePrecision"].value for info in operations if info["layerType"].value == kind)


@pytest.fixture(scope="module", params=["x86", "arm"])
def quantized_for(request, core, frames):
    quantized = quantize_core(core, frames, QUANTIZE.model_copy(update={"device_class": request.param}))
    return with_integer_front_end(quantized.model, MODEL.input_size)


@pytest.mark.parametrize("size", SIZES)
def test_every_convolution_runs_in_int8(core, quantized_for, manifest_of, frames, size):
    detector = Detector(manifest_of(), quantized_for.SerializeToString(), runtime="openvino")
    detector.detect(cv2.resize(frames[0], size[::-1]))
    total = sum(node.op_type == "Conv" for node in core.graph.node)
    kinds = run_as(detector, "Convolution")
    assert set(kinds) <= {"u8", "i8"}
    assert sum(kinds.values()) == total - 2  # the two head outputs are one product
    assert set(run_as(detector, "FullyConnected")) <= {"u8", "i8"}


def test_float_runs_in_float(fp32, manifest_of, frames):
    detector = Detector(manifest_of(), fp32.SerializeToString(), runtime="openvino")
    detector.detect(frames[0])
    assert set(run_as(detector, "Convolution")) == {"f32"}


@pytest.mark.parametrize("size", [*SIZES, (60, 100)])
@pytest.mark.parametrize(("precision", "box_px", "score"), [("int8", 4.0, 0.02), ("fp32", 0.1, 0.001)])
def test_it_finds_what_onnxruntime_finds(fp32, quantized_for, manifest_of, frames, size, precision, box_px, score):
    model = (fp32 if precision == "fp32" else quantized_for).SerializeToString()
    resized = [cv2.resize(frame, size[::-1]) for frame in frames[:6]]
    found = []
    for runtime in ("onnxruntime", "openvino"):
        detector = Detector(manifest_of(), model, runtime=runtime)
        found.append([detector.detect(frame, score_thresholds=0.0) for frame in resized])
    parity = compare(*found, min_score=0.3)
    assert parity.detections >= 6
    assert parity.unmatched == 0
    assert parity.max_box_px < box_px
    assert parity.max_score < score


def test_a_bundle_made_with_onnxruntime_verifies(models, manifest_of, tmp_path):
    gate = {"schema": "shelfgap-gate/1", "verdict": "pass", "reason": "", "checks": []}
    params = BundleParams(name="patches", golden_frames=4, golden_seed=3)
    write_bundle(tmp_path / "bundle", manifest_of(models=models), models, gate, params)
    report = verify_bundle(tmp_path / "bundle", runtime="openvino")
    assert report.passed, [result for result in report.golden if not result.passed]
