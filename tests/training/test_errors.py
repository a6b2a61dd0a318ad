"""Kinds of errors: each by hand, and that every detection and box has one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_scenes import boxes_at, found_at, nothing, scene
from shelfgap_training.errors import BOX_KINDS, DETECTION_KINDS, count_errors, judge_image
from shelfgap_training.metrics import at_threshold, match_class


@pytest.mark.parametrize(
    ("truth", "found", "detection_kinds", "box_kinds"),
    [
        (boxes_at(0), found_at(2, scores=[0.9]), ["hit"], ["found"]),
        (boxes_at(0), found_at(100, scores=[0.9]), ["background"], ["missed"]),
        (boxes_at(0), found_at(19, scores=[0.9]), ["background"], ["missed"]),  # they share 1 of 39 columns
        (boxes_at(0), found_at(12, scores=[0.9]), ["localisation"], ["localisation"]),
        (boxes_at(0), found_at(0, 2, 12, scores=[0.9, 0.8, 0.7]), ["hit", "duplicate", "duplicate"], ["found"]),
        (boxes_at(0), found_at(12, 0, scores=[0.9, 0.8]), ["duplicate", "hit"], ["found"]),
        (boxes_at(0), found_at(11, 12, scores=[0.9, 0.8]), ["localisation", "duplicate"], ["localisation"]),
        (boxes_at(0), found_at(0, scores=[0.9], class_ids=[1]), ["wrong class"], ["wrong class"]),
        (boxes_at(0), found_at(12, scores=[0.9], class_ids=[1]), ["background"], ["missed"]),
        (boxes_at(0), found_at(0, 0, scores=[0.9, 0.8], class_ids=[1, 0]), ["duplicate", "hit"], ["found"]),
        (
            boxes_at(0, 0, class_ids=[0, 1]),
            found_at(0, 0, scores=[0.9, 0.8], class_ids=[1, 0]),
            ["hit", "hit"],
            ["found", "found"],
        ),
        (boxes_at(0), found_at(0, scores=[0.49]), [], ["missed"]),  # below the operating point
        (boxes_at(), found_at(0, scores=[0.9]), ["background"], []),
        (boxes_at(0), nothing(), [], ["missed"]),
    ],
)
def test_each_kind_by_hand(truth, found, detection_kinds, box_kinds):
    judged = judge_image(truth, found, [0.5, 0.5])
    assert (list(judged.detection_kinds), list(judged.box_kinds)) == (detection_kinds, box_kinds)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 100_000), st.booleans())
def test_everything_has_one_kind_and_the_two_sides_agree(seed, whole_pixels):
    truths, found = scene(np.random.default_rng(seed), 6, classes=3, whole_pixels=whole_pixels)
    points = [0.2, 0.5, 0.35]
    judged = [judge_image(*pair, points) for pair in zip(truths, found, strict=True)]
    detections = Counter(kind for image in judged for kind in image.detection_kinds)
    boxes = Counter(kind for image in judged for kind in image.box_kinds)
    assert set(detections) <= set(DETECTION_KINDS)
    assert set(boxes) <= set(BOX_KINDS)
    assert detections["hit"] == boxes["found"]
    for kind in ("wrong class", "localisation"):
        assert detections[kind] == boxes[kind]
    counts = count_errors(judged, truths, ("a", "b", "c"))
    for class_id, name in enumerate("abc"):
        point = at_threshold(match_class(truths, found, class_id), points[class_id])
        assert counts[name]["detections"]["hit"] == counts[name]["boxes"]["found"] == point.true_positives
        assert sum(counts[name]["detections"].values()) == point.detections
        assert sum(counts[name]["boxes"].values()) == point.boxes


def test_mistakes_count_a_loose_pair_once():
    judged = judge_image(boxes_at(0, 100, 200), found_at(12, 100, 300, scores=[0.9, 0.8, 0.7]), [0.5])
    assert judged.mistakes == {"localisation": 1, "background": 1, "missed": 1}
    assert not judge_image(boxes_at(0), found_at(0, scores=[0.9]), [0.5]).mistakes
