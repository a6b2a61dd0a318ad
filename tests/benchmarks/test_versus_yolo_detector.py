"""The peer is run as it should be: letterbox and its inverse, suppression, colours, boxes in pixels of the frame."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from versus_yolo.memory import peak_memory_mb
from versus_yolo.work import BenchmarkError
from versus_yolo.yolo_detector import YoloDetector, letterbox, nms, read_output, to_frame


@pytest.mark.parametrize("size", [(300, 300), (960, 1280), (1280, 720), (240, 320), (321, 317)])
def test_a_bright_square_comes_back_where_it_was(size):
    height, width = size
    box = np.array([[width // 4, height // 5, width // 2, height // 2]], np.float32)
    frame = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = box[0].astype(int)
    frame[y1:y2, x1:x2] = 255
    square, placement = letterbox(frame, 320)
    assert square.shape == (320, 320, 3)
    rows, columns = np.nonzero(square[..., 0] > 200)  # the border of 114 is no square
    seen = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    back = to_frame(seen, placement, size)
    assert back == pytest.approx(box, abs=1.0 / placement.scale + 0.6)


def test_the_border_is_grey_and_the_frame_in_the_middle():
    square, placement = letterbox(np.full((100, 200, 3), 255, np.uint8), 320)
    assert placement == (1.6, 0, 80)
    assert (square[:80] == 114).all()
    assert (square[80:240] == 255).all()
    assert (square[240:] == 114).all()


@settings(deadline=None)
@given(height=st.integers(1, 800), width=st.integers(1, 800), corner=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_the_inverse_undoes_scale_and_shift(height, width, corner):
    _, placement = letterbox(np.zeros((height, width, 1), np.uint8).repeat(3, axis=2), 320)
    x, y = corner[0] * width, corner[1] * height
    scale = min(320 / height, 320 / width)
    there = np.array([[x * scale + placement.left, y * scale + placement.top, 320, 320]], np.float32)
    back = to_frame(there, placement, (height, width))
    assert back[0, :2] == pytest.approx([x, y], abs=1e-3 * max(height, width))
    assert (back >= 0).all()
    assert (back <= np.array([width, height, width, height], np.float32)).all()


def plain_nms(boxes, scores, class_ids, iou_threshold):
    """Greedy suppression, one pair at a time."""
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        for j in kept:
            x1, y1 = np.maximum(boxes[i][:2], boxes[j][:2])
            x2, y2 = np.minimum(boxes[i][2:], boxes[j][2:])
            shared = max(0.0, x2 - x1) * max(0.0, y2 - y1)
            union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (boxes[i], boxes[j])) - shared
            if class_ids[i] == class_ids[j] and shared / union > iou_threshold:
                break
        else:
            kept.append(i)
    return kept


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), iou_threshold=st.sampled_from([0.3, 0.5, 0.7]))
def test_suppression_is_that_of_a_plain_loop(seed, count, iou_threshold):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 60, (count, 2))], 1).astype(np.float32)
    scores = (rng.permutation(count) + 1).astype(np.float32) / (count + 1)  # no ties
    class_ids = rng.integers(0, 2, count)
    got = nms(boxes, scores, class_ids, iou_threshold=iou_threshold, max_detections=300)
    assert got.tolist() == plain_nms(boxes.astype(float), scores, class_ids, iou_threshold)
    few = nms(boxes, scores, class_ids, iou_threshold=iou_threshold, max_detections=3)
    assert few.tolist() == got.tolist()[:3]


def test_nothing_to_suppress_is_nothing():
    empty = np.empty((0, 4), np.float32)
    assert nms(empty, empty[:, 0], np.empty(0, np.int64), iou_threshold=0.5, max_detections=9).shape == (0,)


def test_each_class_above_the_threshold_is_a_candidate():
    output = np.array([[50, 10], [60, 20], [20, 4], [10, 8], [0.9, 0.1], [0.3, 0.2]], np.float32)  # two cells
    boxes, scores, class_ids = read_output(output, 0.25)
    assert boxes.tolist() == [[40, 55, 60, 65]] * 2
    assert scores.tolist() == pytest.approx([0.9, 0.3])
    assert class_ids.tolist() == [0, 1]


@pytest.fixture(scope="module")
def redness(tmp_path_factory):
    """An exported "YOLO" of 64 pixels with one box in the middle, whose score is the mean of the first channel."""
    box = np.array([32, 32, 16, 8], np.float32).reshape(1, 4, 1)
    nodes = [
        helper.make_node("Split", ["images", "parts"], ["red", "others"], axis=1),
        helper.make_node("ReduceMean", ["red", "axes"], ["mean"], keepdims=1),
        helper.make_node("Reshape", ["mean", "shape"], ["score"]),
        helper.make_node("Concat", ["box", "score"], ["output0"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2], np.int64), "parts"),
        numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"),
        numpy_helper.from_array(np.array([1, 1, 1], np.int64), "shape"),
        numpy_helper.from_array(box, "box"),
    ]
    graph = helper.make_graph(
        nodes,
        "redness",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, 1])],
        constants,
    )
    path = tmp_path_factory.mktemp("yolo") / "redness.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture
def detector(redness):
    return YoloDetector(redness, min_score=0.6)


def test_a_decoded_frame_and_its_file_give_the_same_box(detector):
    rgb = np.zeros((96, 96, 3), np.uint8)
    rgb[..., 0] = 255
    found = detector.detect(rgb)
    assert found.boxes_xyxy.tolist() == [[36, 42, 60, 54]]  # 64 pixels of the square are 96 of the frame
    assert found.scores.tolist() == pytest.approx([1.0])
    assert found.class_ids.tolist() == [0]
    _, png = cv2.imencode(".png", rgb[..., ::-1])  # OpenCV writes BGR
    again = detector.detect_file(png.tobytes())
    assert again.boxes_xyxy.tolist() == found.boxes_xyxy.tolist()
    assert again.scores.tolist() == pytest.approx([1.0])


def test_blue_is_not_red(detector):
    bgr = np.zeros((96, 96, 3), np.uint8)
    bgr[..., 0] = 255
    assert len(detector.detect(bgr, swap=True)) == 0
    assert detector.detect(bgr, swap=True).boxes_xyxy.shape == (0, 4)


def test_what_is_no_picture_is_refused(detector):
    with pytest.raises(ValueError, match="cannot decode"):
        detector.detect_file(b"text")


def test_memory_is_that_of_a_process_of_its_own(redness, tmp_path):
    _, jpeg = cv2.imencode(".jpg", np.zeros((96, 96, 3), np.uint8))
    (tmp_path / "0.jpg").write_bytes(jpeg.tobytes())
    assert 20 < peak_memory_mb(["peer", str(redness)], tmp_path) < 1000
    with pytest.raises(BenchmarkError, match="peak memory: this failed with 1"):
        peak_memory_mb(["peer", str(redness)], tmp_path / "nowhere")
