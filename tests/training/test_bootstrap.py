"""Average precision under weights is COCO's, and the interval covers a true difference."""

from __future__ import annotations

import numpy as np
import pytest
from shelfgap_edge.postprocess import Detections
from shelfgap_training.bootstrap import class_matches, mean_ap50, paired_difference
from shelfgap_training.metrics import Truth, average_precision


def scenes(seed: int, images: int = 30, hit_rate: float = 0.7, boxes: int = 4):
    """Boxes in a row, some of them found, and some false alarms."""
    layout, rng = np.random.default_rng(0), np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(images):
        x = 30.0 * np.arange(boxes)
        box = np.stack([x, 0 * x, x + 20, 0 * x + 20 + layout.integers(0, 20, boxes)], 1).astype(np.float32)
        ids = layout.integers(0, 2, boxes)
        found = rng.random(boxes) < hit_rate
        off = rng.random(boxes) < 0.3
        placed = np.where(off[:, None], box + 60, box)[found]
        scores = np.where(off, rng.uniform(0, 0.7, boxes), rng.uniform(0.3, 1, boxes))[found]
        truths.append(Truth(box, ids))
        detections.append(Detections(placed.astype(np.float32), scores.astype(np.float32), ids[found]))
    return truths, detections


@pytest.mark.parametrize("seed", range(5))
def test_unweighted_it_is_the_average_precision_of_coco(seed):
    truths, detections = scenes(seed)
    expected = average_precision(truths, detections, 2).ap50
    assert mean_ap50(class_matches(truths, detections, 2), np.ones(len(truths), np.int64)) == pytest.approx(expected)


def test_a_weight_is_as_good_as_repeating_the_image():
    truths, detections = scenes(3)
    weights = np.random.default_rng(1).integers(0, 4, len(truths))
    repeated = [i for i, weight in enumerate(weights) for _ in range(weight)]
    expected = average_precision([truths[i] for i in repeated], [detections[i] for i in repeated], 2).ap50
    assert mean_ap50(class_matches(truths, detections, 2), weights) == pytest.approx(expected, abs=0.005)


def test_no_box_is_no_figure():
    empty = Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert np.isnan(mean_ap50(class_matches([empty], [nothing], 1), np.ones(1, np.int64)))


def tables(seed, hit_rate):
    return class_matches(*scenes(seed, 60, hit_rate), 2)


def test_a_better_detector_is_better_with_confidence_and_an_equal_one_is_not():
    clusters = [f"scene {i // 3}" for i in range(60)]
    better = paired_difference([tables(1, 0.9)], [tables(2, 0.5)], clusters, resamples=300)
    assert better.low > 0
    assert better.low < better.value < better.high
    same = paired_difference([tables(1, 0.7)], [tables(1, 0.7)], clusters, resamples=300)
    assert same == (0, 0, 0)
    equal = paired_difference(
        [tables(1, 0.7), tables(3, 0.7)], [tables(2, 0.7), tables(4, 0.7)], clusters, resamples=300
    )
    assert equal.low < 0 < equal.high


def test_larger_clusters_make_wider_intervals():
    narrow, wide = (
        paired_difference([tables(1, 0.7)], [tables(2, 0.6)], [str(i // size) for i in range(60)], resamples=400)
        for size in (1, 20)
    )
    assert (wide.high - wide.low) != (narrow.high - narrow.low)
    again = paired_difference([tables(1, 0.7)], [tables(2, 0.6)], [str(i) for i in range(60)], resamples=400)
    assert again == narrow
