"""What no label can judge counts neither as right nor as wrong: by pycocotools, with crowds for ignored regions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_scenes import boxes_at, found_at, nothing, pycocotools_ap, scene
from shelfgap_datasets.schema import Box, ImageRecord
from shelfgap_training.evaluate import ScoredImages
from shelfgap_training.figures import full_shelves
from shelfgap_training.looked_for import only_looked_for, without_ignored
from shelfgap_training.metrics import average_precision


def regions(rng, images):
    """Return, image by image, up to three regions of a fifth to a half of the picture's side."""
    corners = [rng.uniform(0, 180, (int(rng.integers(0, 4)), 2)) for _ in range(images)]
    return [np.concatenate([c, c + rng.uniform(40, 110, c.shape)], 1).astype(np.float32) for c in corners]


def picture(*boxes: Box, **given: object) -> ImageRecord:
    given |= {"file_name": "a.jpg", "license": "CC0", "consent": "synthetic"}
    return ImageRecord(width=100, height=50, sha256="", source="a.jpg", boxes=boxes, **given)


@given(st.integers(0, 10_000))
def test_ap50_is_that_of_pycocotools_with_each_region_as_a_crowd(seed):
    rng = np.random.default_rng(seed)
    truths, found = scene(rng)
    ignored = regions(rng, len(truths))
    judged = [without_ignored(*one) for one in zip(found, truths, ignored, strict=True)]
    expected, _ = pycocotools_ap(truths, found, 2, crowds=ignored)
    if any(len(truth.class_ids) for truth in truths):
        assert average_precision(truths, judged, 2).ap50 == pytest.approx(expected, abs=1e-9)


def test_a_detection_in_a_region_is_left_out_unless_it_finds_a_box():
    truth = boxes_at(0)
    found = found_at(0, 10, 30, 60, scores=[0.9, 0.8, 0.7, 0.6])  # finds; a second on it; half in the region; outside
    region = np.array([[0, 0, 40, 20]], np.float32)
    judged = without_ignored(found, truth, region)
    assert judged.boxes_xyxy[:, 0].tolist() == [0, 60]
    assert judged.scores.tolist() == pytest.approx([0.9, 0.6])
    assert without_ignored(found, truth, np.zeros((0, 4), np.float32)) is found
    assert len(without_ignored(nothing(), truth, region)) == 0


def test_the_box_of_another_class_excuses_no_detection_from_being_ignored():
    truth = boxes_at(0, class_ids=[1])
    found = found_at(0, 0, scores=[0.9, 0.8], class_ids=[0, 1])
    judged = without_ignored(found, truth, np.array([[0, 0, 40, 20]], np.float32))
    assert judged.class_ids.tolist() == [1]


def test_a_picture_says_which_classes_and_regions_it_can_judge():
    record = picture(Box("gap", (0, 0, 20, 20)), Box("ignore", (50, 0, 90, 20)), annotated_classes=("gap", "ignore"))
    found = found_at(0, 25, 55, 0, scores=[0.9, 0.8, 0.7, 0.6], class_ids=[0, 0, 0, 1])
    judged = only_looked_for(found, record, ("gap", "low"))
    assert judged.boxes_xyxy[:, 0].tolist() == [0, 25]
    halved = found_at(0, 25, 55, 0, scores=[0.9, 0.8, 0.7, 0.6], class_ids=[0, 0, 0, 1])
    halved.boxes_xyxy[:] /= 2
    assert only_looked_for(halved, record.resized((25, 50)), ("gap", "low")).boxes_xyxy[:, 0].tolist() == [0, 12.5]


def test_a_shelf_of_which_a_region_says_nothing_is_not_known_to_be_full():
    empty = boxes_at()
    records = (picture(Box("ignore", (50, 0, 90, 20))), picture())
    scored = ScoredImages(("gap",), records, (empty, empty), (nothing(), nothing()), ())
    assert full_shelves(scored.matches({"gap": 0.5})).tolist() == [False, True]
