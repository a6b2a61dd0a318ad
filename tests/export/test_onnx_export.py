"""The exported graph says what torch says, takes any frame, and carries nothing of the machine that made it."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from shelfgap_edge.postprocess import Detections
from shelfgap_export.onnx_export import DECODE_SCOPE, with_integer_front_end
from shelfgap_export.params import ParityParams
from shelfgap_export.parity import ParityError, compare, require_parity, torch_detections
from small_network import MODEL

LIMITS = ParityParams(min_score=0.05, max_box_px=0.05, max_score=0.001)


def test_float_onnx_agrees_with_torch_on_every_kept_detection(trained, fp32, detector_of, frames):
    parity = require_parity(trained.model, detector_of(fp32), frames, LIMITS)
    assert parity.images == len(frames)
    assert parity.detections >= len(frames)
    assert parity.unmatched == 0
    assert parity.max_box_px < 0.01


def test_a_deviating_export_is_refused_with_its_figures(trained, fp32, detector_of, frames):
    bent = onnx.ModelProto()
    bent.CopyFrom(fp32)
    scale = next(i for i in bent.graph.initializer if i.name == "front_scale")
    scale.CopyFrom(numpy_helper.from_array(np.array(1 / 250, np.float32), "front_scale"))
    with pytest.raises(ParityError, match=r"the float export differs from torch: .* \(allowed 0.05\), score by up to"):
        require_parity(trained.model, detector_of(bent), frames, LIMITS)


def test_the_graph_resizes_like_opencv(trained, fp32, detector_of):
    rng = np.random.default_rng(5)
    height, width = MODEL.input_size
    smooth = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (300, 222), interpolation=cv2.INTER_CUBIC)
    found = detector_of(fp32).detect(smooth, score_thresholds=0.0)
    resized = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
    expected = torch_detections(trained.model, resized)
    assert found.scores[0] == pytest.approx(expected.scores[0], abs=0.01)
    scale = np.array([300 / width, 222 / height] * 2)
    np.testing.assert_allclose(found.boxes_xyxy[0], expected.boxes_xyxy[0] * scale, atol=3)


def test_boxes_come_back_in_the_pixels_of_the_frame(fp32, detector_of, frames):
    detector = detector_of(fp32)
    frame = frames[1]
    twice = np.repeat(np.repeat(frame, 2, axis=0), 3, axis=1)
    small, large = (detector.detect(f) for f in (frame, twice))
    assert len(small) == len(large) == 2
    by_place = (np.argsort(found.boxes_xyxy[:, 0]) for found in (small, large))
    first, second = by_place
    ratio = large.boxes_xyxy[second] / small.boxes_xyxy[first]
    np.testing.assert_allclose(ratio, np.tile([3, 2, 3, 2], (2, 1)), rtol=0.15)


def test_the_graph_keeps_the_contract_and_no_trace_of_its_maker(fp32, int8):
    for model in (fp32, int8):
        (frame,) = model.graph.input
        shape = [d.dim_param or d.dim_value for d in frame.type.tensor_type.shape.dim]
        assert (frame.name, frame.type.tensor_type.elem_type, shape) == (
            "frame",
            onnx.TensorProto.UINT8,
            ["height", "width", 3],
        )
        outputs = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output}
        count = MODEL.max_detections
        assert outputs == {"boxes_xyxy_norm": [count, 4], "scores": [count], "class_ids": [count]}
        assert b"/site-packages/" not in model.SerializeToString()
        assert not any(node.op_type == "NonMaxSuppression" for node in model.graph.node)


def test_training_branches_are_folded_into_single_convolutions(trained, core):
    convolutions = sum(node.op_type == "Conv" for node in core.graph.node)
    assert convolutions == sum(isinstance(m, torch.nn.Conv2d) for m in trained.model.fold().modules())
    assert not any(node.op_type == "BatchNormalization" for node in core.graph.node)
    decode = {node.op_type for node in core.graph.node if node.name.startswith(DECODE_SCOPE)}
    assert {"MaxPool", "TopK"} <= decode
    assert "Conv" not in decode


def test_an_integer_front_end_needs_a_quantized_core(core):
    with pytest.raises(ValueError, match="expected one QuantizeLinear on pixels, got"):
        with_integer_front_end(core, MODEL.input_size)


def detections(*rows):
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    return Detections(
        boxes, np.array([row[4] for row in rows], np.float32), np.array([row[5] for row in rows], np.int64)
    )


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        ([(0, 0, 10, 10, 0.9, 0)], [(1, 0, 10, 12, 0.8, 0)], (1, 0, 2.0, 0.1)),
        ([(0, 0, 10, 10, 0.9, 0)], [(0, 0, 10, 10, 0.9, 1)], (1, 1, 0.0, 0.0)),  # another class
        ([(0, 0, 10, 10, 0.9, 0)], [(8, 8, 18, 18, 0.9, 0)], (1, 1, 0.0, 0.0)),  # too far
        ([(0, 0, 10, 10, 0.9, 0)] * 2, [(0, 0, 10, 10, 0.9, 0)], (2, 1, 0.0, 0.0)),  # each pairs once
        ([(0, 0, 10, 10, 0.01, 0)], [], (0, 0, 0.0, 0.0)),  # not kept
        ([], [(0, 0, 10, 10, 0.9, 0)], (0, 0, 0.0, 0.0)),
    ],
)
def test_pairs_are_of_one_class_near_and_used_once(reference, candidate, expected):
    parity = compare([detections(*reference)], [detections(*candidate)], 0.05)
    measured = (parity.detections, parity.unmatched, parity.max_box_px, parity.max_score)
    assert measured == pytest.approx(expected, abs=1e-6)
