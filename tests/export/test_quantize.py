"""INT8 where it saves time, float where it would cost accuracy; calibrated on what it was given."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from export_params import QUANTIZE
from onnx import numpy_helper
from shelfgap_export.onnx_export import DECODE_SCOPE, head_outputs, with_front_end, with_integer_front_end
from shelfgap_export.parity import compare
from shelfgap_export.quantize import (
    QuantizeError,
    calibrate,
    layer_kinds,
    quantize_core,
    quantize_layers,
)
from shelfgap_training.evaluate import score_images, summarise
from small_network import MODEL

CLASSES = ("x86-vnni", "x86", "arm")


def of_class(device_class):
    return QUANTIZE.model_copy(update={"device_class": device_class})


@pytest.fixture(scope="module")
def by_class(core, frames):
    return {name: quantize_core(core, frames, of_class(name)) for name in CLASSES}


def kernels(model, tmp_path):
    """The operations that onnxruntime makes of a graph, as it would run them on any processor."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", "1")  # ARM's default; else x86 makes signed unsigned
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]


@pytest.mark.parametrize("device_class", CLASSES)
def test_every_convolution_runs_in_int8(core, by_class, tmp_path, device_class):
    total = sum(node.op_type == "Conv" for node in core.graph.node)
    assert len(head_outputs(core)) == 2  # heatmap and box sides, one product in the quantized core
    quantized = by_class[device_class]
    assert (quantized.int8_convolutions, quantized.float_convolutions) == (total - 1, 0)
    assert set(layer_kinds(quantized.model).values()) == {"int8"}
    found = kernels(with_integer_front_end(quantized.model, MODEL.input_size), tmp_path)
    assert found.count("QLinearConv") == total - 2
    assert found.count("MatMulIntegerToFloat") == 1
    assert "Conv" not in found
    assert "FusedConv" not in found


@pytest.mark.parametrize(
    ("device_class", "activations", "largest_weight"),
    [("x86-vnni", "uint8", 127), ("x86", "uint8", 64), ("arm", "int8", 127)],
)
def test_types_follow_the_device_class(by_class, device_class, activations, largest_weight):
    quantized = by_class[device_class].model
    values = {i.name: numpy_helper.to_array(i) for i in quantized.graph.initializer}
    makers = {o: n for n in quantized.graph.node for o in n.output}
    weights = []
    for conv in (n for n in quantized.graph.node if n.op_type == "Conv"):
        activation, weight = (makers[name] for name in conv.input[:2])
        assert values[weight.input[0]].dtype == np.int8
        assert values[weight.input[1]].shape == (values[weight.input[0]].shape[0],)  # one scale a channel
        assert values[activation.input[2]].dtype == activations
        weights.append(values[weight.input[0]].astype(int))
    assert max(np.abs(weight).max() for weight in weights) == largest_weight


@pytest.mark.parametrize("device_class", CLASSES)
def test_every_device_class_agrees_with_float(fp32, by_class, detector_of, frames, device_class):
    int8 = with_integer_front_end(by_class[device_class].model, MODEL.input_size)
    found = [[detector_of(model).detect(frame, score_thresholds=0.0) for frame in frames] for model in (fp32, int8)]
    parity = compare(*found, min_score=0.3)
    assert parity.detections >= len(frames)
    assert parity.unmatched == 0
    assert parity.mean_score < 0.03
    assert parity.max_box_px < 4


def test_the_decode_is_left_alone(core, quantized):
    def scoped(model):
        return sorted(n.op_type for n in model.graph.node if n.name.startswith(f"{DECODE_SCOPE}") and "+" not in n.name)

    kinds = [k for k in scoped(quantized.model) if not k.endswith("quantizeLinear")]
    assert [k for k in kinds if k != "Add"] == [k for k in scoped(core) if k != "Add"]
    assert kinds.count("Add") == scoped(core).count("Add") + 2  # the biases of the two head outputs


@pytest.mark.parametrize(("device_class", "passes"), [("x86-vnni", 0), ("arm", 2)])
def test_the_bytes_of_a_frame_meet_the_first_convolution(by_class, tmp_path, device_class, passes):
    """Unsigned: nothing between resize and convolution. Signed: one pass over the bytes, out and in again."""
    found = kernels(with_integer_front_end(by_class[device_class].model, MODEL.input_size), tmp_path)
    before = found[found.index("Resize") + 1 : found.index("QLinearConv")]
    assert [k for k in before if k not in ("Reshape", "Transpose")] == ["DequantizeLinear", "QuantizeLinear"][:passes]


def test_int8_scores_like_float(trained, fp32, int8, detector_of):
    records = trained.dataset.of_split("test")
    ap50 = {}
    for name, model in (("fp32", fp32), ("int8", int8)):
        scored = score_images(detector_of(model), trained.root, records, trained.dataset.annotated_classes)
        ap50[name] = summarise(scored, {"gap": 0.3}, name)["ap50"]["value"]
    assert ap50["fp32"] > 0.6
    assert ap50["int8"] > ap50["fp32"] - 0.05


def test_excluded_modules_stay_float_and_the_others_do_not(core, frames, fp32, detector_of):
    params = QUANTIZE.model_copy(update={"exclude": ("stem", "stage8/0", "box")})
    quantized = quantize_core(core, frames, params)
    floats = [name for name, kind in layer_kinds(quantized.model).items() if kind == "float"]
    assert sorted(floats) == ["box/Conv", "stage8/0/Conv", "stem/Conv"]
    assert quantized.float_convolutions == 3
    with pytest.raises(ValueError, match="expected one QuantizeLinear on pixels, got"):
        with_integer_front_end(quantized.model, MODEL.input_size)
    int8 = with_front_end(quantized.model, MODEL.input_size)
    found = [[detector_of(model).detect(frame, score_thresholds=0.0) for frame in frames] for model in (fp32, int8)]
    assert compare(*found, min_score=0.3).unmatched == 0


def test_a_module_that_is_not_there_is_named_with_those_that_are(core, frames):
    for scope in ("stage9", "stage", "stage8/0/Conv"):
        params = QUANTIZE.model_copy(update={"exclude": (scope,)})
        with pytest.raises(QuantizeError, match=rf"no convolution in '{scope}'; the network has stem, stage4/0, "):
            quantize_core(core, frames, params)


def test_layers_are_quantized_alone_or_left_out_alone(core, frames):
    calibrated = calibrate(core, frames, QUANTIZE)
    assert calibrated.layers[0] == "stem/Conv"
    for layer in calibrated.layers:
        alone, without = quantize_layers(calibrated, only=layer), quantize_layers(calibrated, without=layer)
        assert [n for n, kind in layer_kinds(alone.model).items() if kind == "int8"] == [layer]
        assert [n for n, kind in layer_kinds(without.model).items() if kind == "float"] == [layer]
    with pytest.raises(QuantizeError, match="no layer 'nowhere/Conv' to quantize; the network has stem/Conv, "):
        quantize_layers(calibrated, only="nowhere/Conv")


def test_quantization_without_an_image_is_refused(core):
    with pytest.raises(QuantizeError, match="no calibration image; quantization needs images in the training split"):
        quantize_core(core, [], QUANTIZE)


def test_calibration_sees_every_image_it_is_given(core, frames):
    given = iter(frames)
    quantize_core(core, given, QUANTIZE)
    assert next(given, None) is None


def test_the_int8_weights_are_a_quarter_of_the_float_ones(fp32, int8):
    def stored(model):
        return sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)

    assert stored(int8) < 0.4 * stored(fp32)  # with scales and zero points, which weigh in so small a network
    onnx.checker.check_model(int8)
