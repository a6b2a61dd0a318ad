from __future__ import annotations

import numpy as np
import pytest
from shelfgap_edge.postprocess import thresholds_by_class, to_detections

NAN, INF = float("nan"), float("inf")


def detect(rows, thresholds=(0.5, 0.3), covered=(0, 0, 200, 100), size=(100, 200)):
    boxes = np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 4)
    return to_detections(
        boxes,
        np.array([row[1] for row in rows], dtype=np.float32),
        np.array([row[2] for row in rows], dtype=np.int64),
        thresholds=np.array(thresholds, dtype=np.float32),
        covered_xyxy=covered,
        full_size=size,
    )


def test_boxes_come_out_in_frame_pixels_best_first():
    found = detect([((0, 0, 0.5, 0.5), 0.6, 0), ((0.25, 0.5, 1, 1), 0.9, 1)])
    assert found.boxes_xyxy.tolist() == [[50, 50, 200, 100], [0, 0, 100, 50]]
    assert found.scores == pytest.approx([0.9, 0.6])
    assert found.class_names(("gap", "low")) == ["low", "gap"]
    assert (found.boxes_xyxy.dtype, found.scores.dtype, found.class_ids.dtype) == ("f4", "f4", "i8")


def test_each_class_has_its_threshold_and_it_counts_as_passed():
    box = (0, 0, 1, 1)
    found = detect([(box, 0.5, 0), (box, 0.49, 0), (box, 0.3, 1), (box, 0.29, 1)])
    assert [(round(float(s), 2), int(c)) for s, c in zip(found.scores, found.class_ids, strict=True)] == [
        (0.5, 0),
        (0.3, 1),
    ]


@pytest.mark.parametrize(
    "row",
    [
        ((NAN, 0, 1, 1), 0.9, 0),
        ((0, 0, INF, 1), 0.9, 0),
        ((0, 0, 1, 1), NAN, 0),
        ((0, 0, 1, 1), INF, 0),
        ((0.5, 0, 0.5, 1), 0.9, 0),
        ((0.6, 0, 0.5, 1), 0.9, 0),
        ((1.1, 0, 1.5, 1), 0.9, 0),
        ((0, -2, 1, -0.5), 0.9, 0),
        ((0, 0, 1, 1), 0.9, 2),
        ((0, 0, 1, 1), 0.9, -1),
    ],
)
def test_unusable_rows_are_dropped_and_their_neighbours_kept(row):
    good = ((0, 0, 0.5, 1), 0.8, 0)
    found = detect([row, good])
    assert found.boxes_xyxy.tolist() == [[0, 0, 100, 100]]
    assert len(detect([row])) == 0


def test_boxes_are_clipped_however_far_they_reach():
    found = detect([((-3e38, -0.1, 3e38, 1.1), 0.9, 0)])
    assert found.boxes_xyxy.tolist() == [[0, 0, 200, 100]]


def test_nothing_found_is_a_valid_answer():
    found = detect([])
    assert len(found) == 0
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.to_dicts(("gap", "low")) == []


def test_the_covered_area_places_the_boxes():
    found = detect([((0, 0, 1, 1), 0.9, 0)], covered=(-5, 10, 150, 90))
    assert found.boxes_xyxy.tolist() == [[0, 10, 150, 90]]


def test_dicts_are_rounded_and_plain():
    (item,) = detect([((0, 0, 1 / 3, 1), 0.87654, 1)]).to_dicts(("gap", "low"))
    assert item == {"class": "low", "score": 0.8765, "box_xyxy": [0.0, 0.0, 66.67, 100.0]}


def test_thresholds_may_be_one_number_or_by_class():
    default = {"gap": 0.5, "low": 0.3}
    classes = ("gap", "low")
    assert thresholds_by_class(classes, None, default) == pytest.approx([0.5, 0.3])
    assert thresholds_by_class(classes, 0, default) == pytest.approx([0, 0])
    assert thresholds_by_class(classes, {"low": 0.1}, default) == pytest.approx([0.5, 0.1])
    with pytest.raises(ValueError, match="no class occluder in this bundle"):
        thresholds_by_class(classes, {"occluder": 0.1}, default)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        thresholds_by_class(classes, 1.5, default)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        thresholds_by_class(classes, NAN, default)
