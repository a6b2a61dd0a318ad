"""Average precision against pycocotools, matching and thresholds by hand and by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_scenes import nothing, pycocotools_ap, scene
from shelfgap_edge.postprocess import Detections
from shelfgap_training.metrics import Truth, at_threshold, average_precision, best_f1_threshold, match_class


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_pycocotools(seed):
    truths, found = scene(np.random.default_rng(seed))
    ours = average_precision(truths, found, 2)
    assert (ours.ap50, ours.ap50_95) == pytest.approx(pycocotools_ap(truths, found, 2), abs=1e-9)


def test_perfect_nothing_found_and_nothing_labelled():
    truths, _ = scene(np.random.default_rng(1))
    perfect = [Detections(t.boxes_xyxy, np.ones(len(t.class_ids), np.float32), t.class_ids) for t in truths]
    blank = [nothing() for _ in truths]
    assert average_precision(truths, perfect, 2).ap50_95 == pytest.approx(1)
    assert average_precision(truths, blank, 2).ap50 == 0
    unlabelled = [Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)) for _ in truths]
    assert math.isnan(average_precision(unlabelled, perfect, 2).ap50)
    with pytest.raises(ValueError, match="got 12 truths and 0 detections"):
        average_precision(truths, [], 2)


def test_of_two_boxes_on_one_gap_only_the_surer_is_a_hit():
    truth = Truth(np.array([[0, 0, 10, 10]], np.float32), np.array([0]))
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64))
    matches = match_class([truth], [found], 0)
    assert matches.is_hit.tolist() == [True, False, False]
    point = at_threshold(matches, 0.75)
    assert (point.precision, point.recall) == (0.5, 1.0)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_no_threshold_gives_a_better_f1_than_the_chosen(seed):
    truths, found = scene(np.random.default_rng(seed), images=5, classes=1)
    matches = match_class(truths, found, 0)
    chosen = at_threshold(matches, best_f1_threshold(matches)).f1
    others = [at_threshold(matches, float(score)).f1 for score in matches.scores]
    if matches.is_hit.any():
        assert chosen == pytest.approx(max(others))


def test_without_a_hit_the_threshold_is_the_fallback():
    truth = Truth(np.array([[0, 0, 10, 10]], np.float32), np.array([0]))
    assert best_f1_threshold(match_class([truth], [nothing()], 0), fallback=0.4) == 0.4
