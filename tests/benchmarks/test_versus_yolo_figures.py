"""Figures of the comparison: ratios with intervals, the floor, turns, sizes of networks, detections kept on disk."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from shelfgap_datasets.schema import Box, ImageRecord
from shelfgap_edge.postprocess import Detections
from versus_yolo.convolutions import int8_convolutions, network_size
from versus_yolo.intervals import of_turns, paired_ratio
from versus_yolo.latency import CONVOLUTIONS, decode_name, in_turns
from versus_yolo.outcome import agreement, convolution_rate, summarise_latency
from versus_yolo.scoring import figures_of, find_all, intervals_of, load_found, save_found
from versus_yolo.yolo_quantize import all_but_weighted, decode_nodes


def test_the_interval_of_a_ratio_holds_the_true_one():
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        ours, theirs = rng.gamma(50, 2 / 50, 200), rng.gamma(50, 8 / 50, 200)
        interval = paired_ratio(ours, theirs, resamples=200)
        assert interval.low <= interval.value <= interval.high
        held += interval.low <= 0.25 <= interval.high
    assert held >= 34


def test_what_slows_both_in_a_turn_widens_nothing():
    rng = np.random.default_rng(0)
    slow = rng.gamma(4, 1, 300)
    ours, theirs = 2 * slow, 8 * slow
    together = paired_ratio(ours, theirs, resamples=300)
    assert together == pytest.approx((0.25, 0.25, 0.25))
    apart = paired_ratio(ours, rng.permutation(theirs), resamples=300)
    assert apart.high - apart.low > 0.01


def test_turns_must_be_paired():
    with pytest.raises(ValueError, match=r"every turn needs one sample of each, got \[2, 3\]"):
        paired_ratio(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="every turn needs"):
        of_turns({"a": np.ones(0)}, lambda median: median["a"])


def test_turns_go_forwards_and_backwards_and_a_pause_brings_an_untimed_call():
    now, calls = [0], []

    def work(name, milliseconds):
        def call(turn):
            calls.append(f"{name}{turn}")
            now[0] += int(milliseconds * 1e6)

        return call

    both = {"a": work("a", 2), "b": work("b", 5)}
    taken = in_turns(both, 3, warmup=1, clock_ns=lambda: now[0])
    assert calls == ["a-1", "b-1", "b0", "a0", "a1", "b1", "b2", "a2"]
    assert taken["a"].tolist() == [2, 2, 2]
    assert taken["b"].tolist() == [5, 5, 5]
    calls.clear()
    in_turns(both, 1, pause_s=1e-6, warmup=0, clock_ns=lambda: now[0])
    assert calls == ["a0", "a0", "b0", "b0"]


def test_latency_is_told_as_a_ratio_to_the_peer_and_to_the_floor():
    _, macs = int8_convolutions()
    ones = np.ones(30)
    jpeg = {
        "fast int8": 6 * ones,
        "YOLO11n int8": 24 * ones,
        CONVOLUTIONS: 2 * ones,
        decode_name((320, 320), "exact"): 3 * ones,
        decode_name((320, 320), "fast"): 2 * ones,
    }
    both = {"fast int8": ones, "YOLO11n int8": 8 * ones}
    samples = {"model": both, "small frame": {}, "frame": {"fast int8": ones}, "jpeg": jpeg}
    models = {"fast int8": {"macs": macs // 2, "input_size": [320, 320]}}
    rows = summarise_latency(
        {row: {k: v.tolist() for k, v in s.items()} for row, s in samples.items()}, "YOLO11n int8", models
    )
    found = {(row["row"], row["model"]): row for row in rows}
    assert found["model", "fast int8"]["ratio"] == {"value": 0.125, "low": 0.125, "high": 0.125}
    assert "ratio" not in found["frame", "fast int8"]
    assert found["jpeg", "fast int8"]["ratio"]["value"] == 0.25
    floor = found["jpeg", "fast int8"]["floor"]
    assert floor["decode"] == "fast decode for 320x320"
    assert (floor["decode_ms"], floor["convolutions_ms"]) == (2, 1)
    assert floor["ratio"] == {"value": 2, "low": 2, "high": 2}
    assert "floor" not in found["jpeg", "YOLO11n int8"]
    assert len(rows) == 5  # the parts of the floor are no models
    assert convolution_rate({"jpeg": {CONVOLUTIONS: [2.0, 2.0]}}) == pytest.approx(macs / 2e6, abs=0.1)


def test_a_network_is_as_large_as_its_layers_say():
    """A strided convolution, a grouped one without a bias whose weights are shared, attention, a linear layer."""
    shapes = {"w": [8, 3, 3, 3], "b": [8], "grouped": [8, 2, 1, 1], "linear": [10, 6]}
    nodes = [
        helper.make_node("Identity", ["grouped"], ["shared"]),
        helper.make_node("Conv", ["x", "w", "b"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c1", "shared"], ["c2"], group=4),
        helper.make_node("Reshape", ["c2", "shape"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["columns"], perm=[1, 0]),
        helper.make_node("MatMul", ["rows", "columns"], ["attention"]),
        helper.make_node("MatMul", ["rows", "linear"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.zeros(dims, np.float32), name) for name, dims in shapes.items()]
    constants.append(numpy_helper.from_array(np.array([-1, 10], np.int64), "shape"))
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 20, 30]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(nodes, "layers", ends[:1], ends[1:], constants)
    size = network_size(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
    cells = 10 * 15
    rows = 8 * cells // 10
    assert size.macs == cells * 8 * 27 + cells * 8 * 2 + rows * rows * 10 + rows * 6 * 10
    assert size.parameters == 8 * 27 + 8 + 8 * 2 + 10 * 6


def test_the_chain_of_convolutions_runs_and_does_not_saturate():
    model, macs = int8_convolutions()
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(1).integers(0, 256, (1, 64, 40, 40), np.uint8)
    (output,) = session.run(None, {"x": pixels})
    assert output.shape == pixels.shape
    assert 0.01 < np.mean((output > 0) & (output < 255)) < 1
    assert macs == 8 * 40 * 40 * 64 * 64 * 9


def test_what_stays_float_in_the_decode_is_found_by_the_graph():
    """A backbone and a head output, then a decode with a convolution of its own behind a Softmax."""
    links = [
        ("Conv", "backbone", ["x", "w"], "a"),
        ("Sigmoid", "gate", ["a"], "g"),
        ("Mul", "act", ["a", "g"], "b"),
        ("Conv", "head", ["b", "w"], "c"),
        ("Reshape", "flat", ["c", "s"], "d"),
        ("Softmax", "soft", ["d"], "e"),
        ("Transpose", "turn", ["e"], "f"),
        ("Conv", "expectation", ["f", "w"], "h"),
        ("Concat", "all", ["h", "d"], "y"),
    ]
    nodes = [helper.make_node(kind, inputs, [output], name) for kind, name, inputs, output in links]
    model = helper.make_model(helper.make_graph(nodes, "yolo", [], []))
    assert decode_nodes(model) == ["flat", "soft", "turn", "expectation", "all"]
    assert all_but_weighted(model) == ["gate", "act", "flat", "soft", "turn", "all"]


def record(number: int, boxes) -> ImageRecord:
    name = f"{number}.jpg"
    return ImageRecord(
        file_name=name,
        width=100,
        height=100,
        sha256=name,
        license="CC0-1.0",
        consent="synthetic",
        source=name,
        group=f"scene {number // 2}",
        boxes=tuple(Box("gap", box) for box in boxes),
    )


def detections(boxes, scores) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.zeros(len(scores), np.int64)
    )


RECORDS = [record(number, [(10, 10, 30, 30), (50, 50, 90, 90)]) for number in range(8)]
PERFECT = [detections([(10, 10, 30, 30), (50, 50, 90, 90)], [0.9, 0.8]) for _ in RECORDS]
HALF = [detections([(10, 10, 30, 30)], [0.9]) for _ in RECORDS]


def test_figures_over_folds_are_means():
    assert figures_of([RECORDS], [PERFECT], ("gap",)) == {"ap50": 1, "ap50_95": 1}
    half = figures_of([RECORDS], [HALF], ("gap",))
    assert half["ap50"] == pytest.approx(51 / 101)  # of 101 levels of recall, those up to a half
    both = figures_of([RECORDS[:4], RECORDS[4:]], [PERFECT[:4], HALF[4:]], ("gap",))
    assert both["ap50"] == pytest.approx((1 + half["ap50"]) / 2)
    drawn = intervals_of([RECORDS[:4], RECORDS[4:]], [PERFECT[:4], HALF[4:]], ("gap",))
    assert drawn["ap50"]["value"] == pytest.approx(both["ap50"], abs=1e-6)
    assert drawn["ap50"]["low"] <= drawn["ap50"]["value"] <= drawn["ap50"]["high"]


def test_detections_survive_the_disk(tmp_path):
    nothing = detections([], [])
    save_found(tmp_path / "found.npz", [nothing, *PERFECT[:2], nothing])
    loaded = load_found(tmp_path / "found.npz")
    assert [len(one) for one in loaded] == [0, 2, 2, 0]
    assert loaded[0].boxes_xyxy.shape == (0, 4)
    assert loaded[1].boxes_xyxy.tolist() == PERFECT[0].boxes_xyxy.tolist()
    assert loaded[2].scores.dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["found.npz"]


def test_a_picture_that_cannot_be_read_holds_nothing(tmp_path, caplog):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.jpg").write_bytes(b"text")

    def refuse(data):
        raise ValueError("OpenCV cannot decode the picture")

    (found,) = find_all(refuse, tmp_path, RECORDS[:1])
    assert len(found) == 0
    assert "0.jpg: nothing found: OpenCV cannot decode the picture" in caplog.text


def test_another_score_of_the_same_file_is_noticed():
    run = {
        "name": "YOLO11n, 100 epochs",
        "accuracy": {"fp32": {"by_fold_all_counted": [{"ap50": 0.660}, {"ap50": 0.640}]}},
        "trainings": [{"ultralytics_val": {"onnx": {"ap50": 0.664}}}, {"ultralytics_val": {"onnx": {"ap50": 0.650}}}],
    }
    ours = {"name": "fast", "accuracy": {}, "trainings": [{}]}
    assert [check["agrees"] for check in agreement([ours, run])] == [True, False]
