"""Figures under weights: COCO's AP, rates by brute force, and weights that do what repeating images would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_scenes import boxes_at, found_at, nothing, pycocotools_ap, scene
from shelfgap_datasets.schema import Box, ImageRecord
from shelfgap_training.evaluate import ScoredImages
from shelfgap_training.figures import FIGURES, class_matches, full_shelves, mean_ap50
from shelfgap_training.metrics import OperatingPoint, Truth, at_threshold, average_precision, match_class
from shelfgap_training.report import TITLES

POINTS = [0.4, 0.6]


def once(truths):
    return np.ones((1, len(truths)), np.int64)


def value(name, truths, found, classes=2):
    return FIGURES[name](class_matches(truths, found, classes, POINTS[:classes]), once(truths))[0]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 100_000), st.booleans())
def test_average_precision_is_that_of_pycocotools_and_of_faster_coco_eval(seed, whole_pixels):
    truths, found = scene(np.random.default_rng(seed), 8, whole_pixels=whole_pixels)
    if not any(len(truth.class_ids) for truth in truths) or not any(map(len, found)):
        return
    ours = value("ap50", truths, found), value("ap50_95", truths, found)
    theirs = average_precision(truths, found, 2)
    assert ours == pytest.approx(pycocotools_ap(truths, found, 2), abs=1e-9)
    assert ours == pytest.approx((theirs.ap50, theirs.ap50_95), abs=1e-9)


def test_only_the_best_hundred_of_a_class_in_an_image_count():
    truth = boxes_at(0)
    false_alarms = found_at(*range(100, 220), scores=np.linspace(0.9, 0.5, 120))
    found = found_at(*range(100, 220), 0, scores=[*np.linspace(0.9, 0.5, 120), 0.1])
    assert value("ap50", [truth], [found], 1) == pytest.approx(pycocotools_ap([truth], [found], 1)[0]) == 0
    assert len(class_matches([truth], [false_alarms], 1)[0].scores) == 100


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 100_000))
def test_rates_at_the_operating_point_are_those_of_plain_counting(seed):
    truths, found = scene(np.random.default_rng(seed))
    points = [at_threshold(match_class(truths, found, k), POINTS[k]) for k in range(2)]
    pooled = sum(points, OperatingPoint(0, 0, 0))
    figures = {name: value(name, truths, found) for name in ("precision", "recall", "f1")}
    if pooled.boxes:
        assert figures == pytest.approx(
            {"precision": pooled.precision, "recall": pooled.recall, "f1": pooled.f1}, abs=1e-12
        )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 100_000), st.booleans())
def test_recall_at_p90_is_the_best_recall_of_any_threshold_with_that_precision(seed, ties):
    truths, found = scene(np.random.default_rng(seed), whole_pixels=ties, classes=1)
    matches = match_class(truths, found, 0)
    if not matches.boxes:
        return
    points = [at_threshold(matches, float(score)) for score in matches.scores]
    best = max((point.recall for point in points if point.precision >= 0.9), default=0.0)
    assert value("recall_at_p90", truths, found, 1) == pytest.approx(best, abs=1e-12)


def test_false_alarms_are_counted_on_images_without_any_box():
    empty = Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    truths = [empty, boxes_at(0), empty, empty]
    found = [
        found_at(0, 50, 90, scores=[0.9, 0.41, 0.3]),  # two above the first point
        found_at(500, scores=[0.9]),  # on a shelf that is not full
        nothing(),
        found_at(0, 50, scores=[0.9, 0.59], class_ids=[1, 1]),  # one above the second point
    ]
    assert value("false_alarms_per_full_shelf", truths, found) == pytest.approx(1.0)
    assert np.isnan(value("false_alarms_per_full_shelf", truths[1:2], found[1:2]))
    unsure = np.array([[True, True], [True, True], [True, False], [True, True]])
    matches = class_matches(truths, found, 2, POINTS, unsure)
    assert full_shelves(matches).tolist() == [True, False, False, True]
    assert FIGURES["false_alarms_per_full_shelf"](matches, once(truths))[0] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("classes", "full"), [(("gap",), [True, False, False, True]), (("gap", "low"), [True] + [False] * 3)]
)
def test_a_shelf_is_full_where_the_labels_say_so(classes, full):
    box = (0.0, 0.0, 20.0, 20.0)
    labels = [(), (Box("low", box),), (Box("ignore", box),), (Box("occluder", box),)]
    labelled = [None, None, None, ("gap", "occluder")]
    facts = {"width": 90, "height": 60, "sha256": "", "license": "CC0-1.0", "consent": "synthetic", "source": ""}
    records = tuple(
        ImageRecord(file_name=f"{i}.jpg", boxes=boxes, annotated_classes=names, **facts)
        for i, (boxes, names) in enumerate(zip(labels, labelled, strict=True))
    )
    known = [record.of_classes(classes) for record in records]
    truths = tuple(Truth(record.boxes_xyxy(), record.class_ids(classes)) for record in known)
    scored = ScoredImages(classes, records, truths, (nothing(),) * 4, ())
    assert full_shelves(scored.matches({"gap": 0.5, "low": 0.5})).tolist() == full


@pytest.mark.parametrize("name", FIGURES)
def test_a_weight_is_as_good_as_repeating_the_image(name):
    truths, found = scene(np.random.default_rng(3), images=40)
    weights = np.random.default_rng(1).integers(0, 4, (6, len(truths)))
    drawn = FIGURES[name](class_matches(truths, found, 2, POINTS), weights)
    for row, weighted in zip(weights, drawn, strict=True):
        repeated = [i for i, weight in enumerate(row) for _ in range(weight)]
        expected = value(name, [truths[i] for i in repeated], [found[i] for i in repeated])
        # a repeated false alarm lies between repeated hits, which shifts the curve by less than a detection
        assert weighted == pytest.approx(expected, abs=0.01 if name.startswith("ap") else 1e-12, nan_ok=True)


@pytest.mark.parametrize("name", FIGURES)
def test_matches_of_some_images_are_those_of_scoring_them_alone(name):
    truths, found = scene(np.random.default_rng(5), images=30)
    chosen = np.random.default_rng(2).random(30) < 0.5
    inside = [table.of_images(chosen) for table in class_matches(truths, found, 2, POINTS)]
    alone = [i for i in range(30) if chosen[i]]
    expected = value(name, [truths[i] for i in alone], [found[i] for i in alone])
    assert FIGURES[name](inside, once(alone))[0] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_what_nothing_defines_is_nan_and_what_nothing_reaches_is_zero():
    empty, gap = Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), boxes_at(0)
    for name in ("ap50", "ap50_95", "recall", "f1", "recall_at_p90"):
        assert np.isnan(value(name, [empty], [found_at(0, scores=[0.9])], 1)), name
        assert value(name, [gap], [nothing()], 1) == 0, name
    assert np.isnan(mean_ap50(class_matches([empty], [nothing()], 1), np.ones(1, np.int64)))
    assert value("ap50", [gap], [found_at(0, scores=[0.9])], 2) == 1  # a class without boxes is not in the mean


def test_a_figure_at_the_operating_point_needs_one():
    truths, found = scene(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"needs class_matches\(\.\.\., score_thresholds=\.\.\.\)"):
        FIGURES["recall"](class_matches(truths, found, 2), once(truths))


def test_every_figure_has_a_title():
    assert list(TITLES) == list(FIGURES)
