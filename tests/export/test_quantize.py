"""INT8 where it saves time, float where it would cost accuracy; calibrated on what it was given."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from export_params import QUANTIZE
from onnx import numpy_helper
from shelfgap_export.onnx_export import DECODE_SCOPE
from shelfgap_export.quantize import QuantizeError, convolution_kinds, head_outputs, quantize_core
from shelfgap_training.evaluate import score_images, summarise


def test_all_convolutions_but_the_head_outputs_are_int8(core, quantized):
    heads = head_outputs(core)
    assert len(heads) == 2  # heatmap and box sides
    total = sum(node.op_type == "Conv" for node in core.graph.node)
    assert convolution_kinds(quantized.model) == {"int8": total - 2, "float": 2}
    assert (quantized.int8_convolutions, quantized.float_convolutions) == (total - 2, 2)


def test_weights_are_signed_per_channel_and_activations_unsigned(quantized):
    values = {i.name: numpy_helper.to_array(i) for i in quantized.model.graph.initializer}
    makers = {o: n for n in quantized.model.graph.node for o in n.output}
    seen = 0
    for conv in (n for n in quantized.model.graph.node if n.op_type == "Conv"):
        activation, weight = (makers.get(name) for name in conv.input[:2])
        if weight is None or weight.op_type != "DequantizeLinear":
            continue
        seen += 1
        assert values[weight.input[0]].dtype == np.int8
        assert values[weight.input[1]].shape == (values[weight.input[0]].shape[0],)
        assert values[activation.input[2]].dtype == np.uint8
    assert seen == quantized.int8_convolutions


def test_the_decode_is_left_alone(core, quantized):
    def scoped(model):
        return sorted(n.op_type for n in model.graph.node if n.name.startswith(DECODE_SCOPE))

    kinds = scoped(quantized.model)
    assert [k for k in kinds if not k.endswith("quantizeLinear")] == scoped(core)


def test_the_bytes_of_a_frame_go_in_without_a_float_in_between(int8):
    readers = {name: node for node in int8.graph.node for name in node.input}
    node = readers["frame"]
    while node.op_type in ("Unsqueeze", "Resize", "Transpose"):
        node = readers[node.output[0]]
    assert node.op_type == "DequantizeLinear"


def test_int8_scores_like_float(trained, fp32, int8, detector_of):
    records = trained.dataset.of_split("test")
    ap50 = {}
    for name, model in (("fp32", fp32), ("int8", int8)):
        scored = score_images(detector_of(model), trained.root, records, trained.dataset.annotated_classes)
        ap50[name] = summarise(scored, {"gap": 0.3}, name)["ap50"]["value"]
    assert ap50["fp32"] > 0.6
    assert ap50["int8"] > ap50["fp32"] - 0.05


def test_quantization_without_an_image_is_refused(core):
    with pytest.raises(QuantizeError, match="no calibration image; quantization needs images in the training split"):
        quantize_core(core, [], QUANTIZE)


def test_calibration_sees_every_image_it_is_given(core, frames):
    given = iter(frames)
    quantize_core(core, given, QUANTIZE)
    assert next(given, None) is None


def test_the_int8_model_is_smaller(fp32, int8):
    assert len(int8.SerializeToString()) < 0.6 * len(fp32.SerializeToString())
    onnx.checker.check_model(int8)
