"""Pictures for people: what is drawn, in which order, and where."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scored_scenes import boxes_at, found_at, scene
from shelfgap_datasets.coco import IMAGES_DIR
from shelfgap_datasets.schema import ImageRecord
from shelfgap_training.calibration import reliability
from shelfgap_training.charts import draw_curves
from shelfgap_training.evaluate import ScoredImages
from shelfgap_training.figures import class_matches
from shelfgap_training.gallery import worst_first, worst_sheet
from shelfgap_training.params import CalibrationParams

GREEN, YELLOW, RED = (40, 220, 90), (255, 235, 40), (230, 40, 40)
GREYS = (60, 110, 160)


@pytest.fixture
def three(tmp_path):
    """Three grey pictures: all found; one box missed and two false alarms; one false alarm."""
    truths = [boxes_at(10), boxes_at(10), boxes_at()]
    found = [found_at(10, scores=[0.9]), found_at(60, 90, scores=[0.9, 0.8]), found_at(60, scores=[0.9])]
    (tmp_path / IMAGES_DIR).mkdir()
    records = []
    for number, grey in enumerate(GREYS):
        Image.fromarray(np.full((80, 120, 3), grey, np.uint8)).save(tmp_path / IMAGES_DIR / f"{number}.png")
        facts = {"sha256": "", "license": "CC0-1.0", "consent": "synthetic", "source": ""}
        records.append(ImageRecord(file_name=f"{number}.png", width=120, height=80, **facts))
    return tmp_path, ScoredImages(("gap",), tuple(records), tuple(truths), tuple(found), ())


def has(picture, colour):
    return bool((np.abs(picture.astype(int) - colour).sum(-1) < 12).any())


def test_the_sheet_holds_pictures_with_mistakes_worst_first(three):
    root, scored = three
    sheet = worst_sheet(root, scored, {"gap": 0.5}, 50)
    assert sheet.shape == (256, 5 * 320, 3)
    first, second, rest = sheet[:, :320], sheet[:, 320:640], sheet[:, 640:]
    assert has(first, [GREYS[1]] * 3)
    assert has(first, YELLOW)
    assert has(first, RED)
    assert not has(first, GREEN)
    assert has(second, [GREYS[2]] * 3)
    assert has(second, RED)
    assert not has(second, YELLOW)
    assert len(np.unique(rest)) == 1  # the faultless picture is not on it
    assert len(np.unique(worst_sheet(root, scored, {"gap": 0.5}, 1)[:, 320:])) == 1


def test_boxes_lie_where_they_lie_in_the_picture(three):
    root, scored = three
    sheet = worst_sheet(root, scored, {"gap": 0.5}, 1)
    scale = 316 / 120
    top, bottom = 2 + 16, 2 + 16 + 20 * scale
    rows, columns = np.nonzero(np.abs(sheet.astype(int) - RED).sum(-1) < 12)
    below_tags = rows > (top + bottom) / 2
    assert rows.max() == pytest.approx(bottom, abs=3)
    assert columns[below_tags].min() == pytest.approx(2 + 60 * scale, abs=3)  # false alarms at 60 to 80 and 90 to 110
    assert columns[below_tags].max() == pytest.approx(2 + 110 * scale, abs=3)


def test_without_a_mistake_the_sheet_is_empty(three):
    root, scored = three
    faultless = ScoredImages(
        scored.classes, *(part[:1] for part in (scored.records, scored.truths, scored.detections)), ()
    )
    assert len(np.unique(worst_sheet(root, faultless, {"gap": 0.5}, 50))) == 1


def test_worst_first_counts_misses_and_false_alarms(three):
    _, scored = three
    assert worst_first(scored.truths, scored.detections, [0.5]) == [1, 2, 0]


def test_curves_are_drawn_for_each_class_with_and_without_detections(tmp_path):
    truths, found = scene(np.random.default_rng(0), 30)
    matches = class_matches(truths, found, 3, [0.5, 0.5, 0.5])  # the third class is nowhere
    classes = ("gap", "low", "occluder")
    params = CalibrationParams(bins=10, min_score=0.05)
    calibration = {name: reliability(table, params) for name, table in zip(classes, matches, strict=True)}
    draw_curves(tmp_path / "curves.png", matches, calibration, classes)
    with Image.open(tmp_path / "curves.png") as picture:
        pixels = np.array(picture.convert("RGB"))
    left, right = np.split(pixels, 2, axis=1)
    for colour in (RED, (245, 160, 20)):
        assert has(left, colour)
        assert has(right, colour) or has(right[..., :], tuple(0.7 * c + 0.3 * 255 for c in colour))
