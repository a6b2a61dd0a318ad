"""A resize folded into the stem: the same function on the frames it was made for, the resize on all others."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from export_params import QUANTIZE
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from shelfgap_edge.image import frame_from_array
from shelfgap_edge.runtime import Detector
from shelfgap_export.known_frames import fold_resize
from shelfgap_export.onnx_export import PIXELS_NAME
from shelfgap_export.parity import compare
from shelfgap_export.quantize import layer_kinds, quantize_core, quantize_model
from small_network import MODEL

HEIGHT, WIDTH = MODEL.input_size  # 96 x 128
KNOWN = (144, 192)  # ratio 1.5: six pixels of the frame for a patch of four
LARGE = (HEIGHT * 4, WIDTH * 3)  # averaged
OTHERS = [MODEL.input_size, (144, 193), (150, 200), (60, 100)]
RUNTIMES = ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]


def run(model, feed):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feed)


def a_stem(side, grid, channels=3, **options):
    """Pixels (1, 3, side * rows, side * columns), one convolution."""
    weight = np.random.default_rng(0).normal(size=(channels, 3, side, side)).astype(np.float32)
    node = helper.make_node("Conv", [PIXELS_NAME, "w"], ["x"], "stem/Conv", **{"strides": [side, side], **options})
    graph = helper.make_graph(
        [node],
        "stem",
        [helper.make_tensor_value_info(PIXELS_NAME, TensorProto.FLOAT, [1, 3, side * grid[0], side * grid[1]])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    )


@settings(deadline=None, max_examples=25)
@given(
    side=st.integers(2, 4),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    more=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    averaged=st.tuples(st.sampled_from([1, 3, 4]), st.sampled_from([1, 3, 4])),
)
def test_the_folded_stem_is_resize_and_stem_by_opencv(side, grid, more, averaged):
    core = a_stem(side, grid)
    pixels = [side * n if n > 1 else side + min(extra, side) for n, extra in zip(averaged, more, strict=True)]
    frame_size = tuple(n * cells for n, cells in zip(pixels, grid, strict=True))
    folded = fold_resize(core, frame_size)
    image = np.random.default_rng(1).random((*frame_size, 3), np.float32)
    area = cv2.resize(image, (frame_size[1] // averaged[1], frame_size[0] // averaged[0]), interpolation=cv2.INTER_AREA)
    small = cv2.resize(area, (side * grid[1], side * grid[0]), interpolation=cv2.INTER_LINEAR)
    (expected,) = run(core, {PIXELS_NAME: small.transpose(2, 0, 1)[None]})
    (actual,) = run(folded, {PIXELS_NAME: np.ascontiguousarray(image.transpose(2, 0, 1)[None])})
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("core", "size"),
    [
        (a_stem(4, (4, 4)), (15, 16)),  # smaller than the input
        (a_stem(4, (4, 4)), (25, 32)),  # 6.25 rows a patch
        (a_stem(4, (4, 4)), (16, 36)),  # averaged to 18 columns: 4.5 a patch
        (a_stem(4, (4, 4)), (16, 49)),  # the average cuts a column off
        (a_stem(4, (4, 4), strides=[2, 2]), (32, 32)),
        (a_stem(4, (4, 4), pads=[4, 4, 4, 4]), (32, 32)),
    ],
)
def test_what_does_not_divide_evenly_is_not_folded(core, size):
    assert fold_resize(core, size) is None


@pytest.fixture(scope="module", params=["x86", "arm"])
def pair(request, core, frames):
    """The INT8 model without and with a known size."""
    params = QUANTIZE.model_copy(update={"device_class": request.param})
    plain, _ = quantize_model(core, frames, params, MODEL.input_size)
    both = params.model_copy(update={"frame_sizes": (KNOWN, LARGE, (100, 100))})
    known, sizes = quantize_model(core, frames, both, MODEL.input_size)
    assert sizes == [KNOWN, LARGE]  # 100x100 cannot be folded
    return plain, known


def found(quantized, manifest_of, frames, size, runtime):
    detector = Detector(manifest_of(), quantized.model.SerializeToString(), runtime=runtime)
    return [detector.detect(cv2.resize(frame, size[::-1]), score_thresholds=0.0) for frame in frames[:6]]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("size", [KNOWN, LARGE])
def test_frames_of_a_known_size_give_nearly_the_same(pair, manifest_of, frames, size, runtime):
    plain, known = (found(quantized, manifest_of, frames, size, runtime) for quantized in pair)
    parity = compare(plain, known, min_score=0.3)
    assert parity.detections >= 6
    assert parity.unmatched == 0
    assert parity.mean_score < 0.02
    assert parity.mean_score > 0  # it did go another way


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("size", OTHERS)
def test_other_frames_give_the_same(pair, manifest_of, frames, size, runtime):
    plain, known = (found(quantized, manifest_of, frames, size, runtime) for quantized in pair)
    for ours, theirs in zip(plain, known, strict=True):  # a runtime may round elsewhere behind a branch
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=0.005)
    parity = compare(plain, known, min_score=0.3)
    assert parity.detections >= 6
    assert (parity.unmatched, parity.mean_score) == (0, pytest.approx(0, abs=5e-4))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_runtime_hands_over_whole_what_the_model_takes_whole(pair, manifest_of, runtime):
    frame = frame_from_array(np.zeros((*LARGE, 3), np.uint8))
    passed = [
        Detector(manifest_of(), quantized.model.SerializeToString(), runtime=runtime).preprocess(frame).pixels.shape
        for quantized in pair
    ]
    assert passed == [(*MODEL.input_size, 3), (*LARGE, 3)]


def test_both_ways_are_int8_and_only_one_resizes(pair, tmp_path):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.log_severity_level = 3
    ort.InferenceSession(pair[1].model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    (choice,) = (node for node in graph.node if node.op_type == "If")
    (first,) = (node for node in graph.node if choice.output[0] in node.input)
    assert first.op_type == "QLinearConv"  # no transpose on the way
    ways = []
    while choice is not None:
        then, otherwise = sorted((a.name, a.g) for a in choice.attribute)[::-1]
        ways.append([node.op_type for node in then[1].node])
        choice = next((node for node in otherwise[1].node if node.op_type == "If"), None)
        rest = [node.op_type for node in otherwise[1].node]
    assert len(ways) == 2
    for kinds in ways:
        assert kinds.count("QLinearConv") == 1
        assert not {"Conv", "FusedConv", "Resize"} & set(kinds)
        assert kinds[-1] == "QLinearConv"  # no transpose here either
    assert rest.count("QLinearConv") == rest.count("Resize") == 1


def test_a_stem_that_stays_float_is_not_folded(core, frames):
    params = QUANTIZE.model_copy(update={"exclude": ("stem",), "frame_sizes": (KNOWN,)})
    quantized, sizes = quantize_model(core, frames, params, MODEL.input_size)
    assert sizes == []
    assert not any(node.op_type == "If" for node in quantized.model.graph.node)


def test_without_known_sizes_it_is_the_plain_model(core, frames):
    quantized, sizes = quantize_model(core, frames, QUANTIZE, MODEL.input_size)
    assert sizes == []
    assert layer_kinds(quantized.model) == layer_kinds(quantize_core(core, frames, QUANTIZE).model)
