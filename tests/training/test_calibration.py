"""The reliability table: a calibrated detector has no error, one that boasts has the error of its boast."""

from __future__ import annotations

import numpy as np
import pytest
from shelfgap_training.calibration import reliability
from shelfgap_training.figures import ClassMatches
from shelfgap_training.params import CalibrationParams

PARAMS = CalibrationParams(bins=10, min_score=0.05)


def matches(scores, is_hit):
    order = np.argsort(-scores)
    hits = np.tile(is_hit[order], (10, 1))
    image = np.zeros(len(scores), np.int64)
    return ClassMatches(scores[order].astype(np.float32), image, hits, np.array([1]), np.array([True]), 0.5)


@pytest.mark.parametrize("boast", [0.0, 0.2])
def test_the_error_is_what_the_scores_promise_too_much(boast):
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.1, 0.8, 40_000)
    table = reliability(matches(probability + boast, rng.random(40_000) < probability), PARAMS)
    assert table["expected_calibration_error"] == pytest.approx(boast, abs=0.01)
    filled = [row for row in table["bins"] if row["count"]]
    assert sum(row["count"] for row in filled) == 40_000
    for row in filled:
        assert row["from_score"] <= row["mean_score"] <= row["to_score"]
        assert row["mean_score"] - row["precision"] == pytest.approx(boast, abs=0.05)


def test_small_scores_are_left_out_and_the_highest_is_in_the_last_bin():
    table = reliability(matches(np.array([1.0, 0.05, 0.049]), np.array([True, False, False])), PARAMS)
    assert [row["count"] for row in table["bins"]] == [1, *[0] * 8, 1]
    assert table["bins"][9]["precision"] == 1
    assert table["bins"][1] == {"from_score": 0.1, "to_score": 0.2, "count": 0, "mean_score": None, "precision": None}


def test_no_detection_has_no_error():
    table = reliability(matches(np.zeros(0), np.zeros(0, bool)), PARAMS)
    assert table["expected_calibration_error"] is None
    assert len(table["bins"]) == 10
