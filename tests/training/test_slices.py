"""Slices: they part the test set, small ones are counted, and light and blur are measured on real pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image
from scored_scenes import scene
from shelfgap_datasets.coco import IMAGES_DIR
from shelfgap_datasets.schema import ImageRecord
from shelfgap_training.errors import judge_image
from shelfgap_training.figures import FIGURES, class_matches
from shelfgap_training.params import CalibrationParams, EvaluationParams, SliceParams
from shelfgap_training.slices import Look, look_at, slice_figures

SIZE = 300  # of the scenes, in pixels
POINTS = [0.4, 0.4]


def params(**changes):
    slices = {"min_boxes": 5, "area_percent": (1, 2), "mean_luma": (80, 160), "sharpness": ()} | changes
    calibration = CalibrationParams(bins=10, min_score=0.05)
    return EvaluationParams(
        resamples=200, confidence=0.9, seed=0, gallery=4, slices=SliceParams(**slices), calibration=calibration
    )


def record(name, **changes):
    facts = {"width": SIZE, "height": SIZE, "sha256": "", "license": "CC0-1.0", "consent": "synthetic", "source": name}
    return ImageRecord(file_name=name, **facts | changes)


@pytest.fixture
def scored():
    """40 images of 20 groups in three stores, the last of which is small, and one store for those that name none."""
    rng = np.random.default_rng(7)
    truths, found = scene(rng, 40)
    stores = ["north"] * 20 + ["south"] * 10 + ["tiny"] + [None] * 9
    records = [record(f"{i:02d}.jpg", group=str(i // 2), store=store) for i, store in enumerate(stores)]
    looks = [Look(float(luma), 500.0) for luma in rng.uniform(40, 200, 40)]
    return records, truths, found, looks


def rows_of(scored, chosen):
    records, truths, found, looks = scored
    judged = [judge_image(*pair, POINTS) for pair in zip(truths, found, strict=True)]
    return slice_figures(
        records, truths, judged, class_matches(truths, found, 2, POINTS), looks, ("gap", "low"), chosen
    )


def test_slices_of_pictures_have_the_ap50_of_those_pictures(scored):
    _, truths, found, looks = scored
    rows = [row for row in rows_of(scored, params()) if row["figure"] == "ap50"]
    assert [(row["by"], row["slice"]) for row in rows] == [
        ("brightness", "below 80"),
        ("brightness", "80 to 160"),
        ("brightness", "160 and more"),
        ("sharpness", "all"),
        ("store", "north"),
        ("store", "south"),
        ("store", "tiny"),
        ("store", "unstated"),
    ]
    for by in ("brightness", "sharpness", "store"):
        assert sum(row["images"] for row in rows if row["by"] == by) == 40
        assert sum(row["boxes"] for row in rows if row["by"] == by) == sum(len(t.class_ids) for t in truths)
    dark = [i for i, look in enumerate(looks) if look.mean_luma < 80]
    alone = class_matches([truths[i] for i in dark], [found[i] for i in dark], 2)
    expected = FIGURES["ap50"](alone, np.ones((1, len(dark)), np.int64))[0]
    assert rows[0]["value"] == pytest.approx(expected, abs=1e-6)
    assert rows[0]["low"] < rows[0]["value"] < rows[0]["high"]


def test_slices_of_boxes_have_the_recall_of_those_boxes(scored):
    _, truths, found, _ = scored
    rows = [row for row in rows_of(scored, params(min_boxes=1)) if row["figure"] == "recall"]
    matches = class_matches(truths, found, 2, POINTS)
    for class_id, name in enumerate(("gap", "low")):
        recall = FIGURES["recall"]([matches[class_id]], np.ones((1, 40), np.int64))[0]
        for by, names in (
            ("area", ["below 1 % of the frame", "1 to 2 % of the frame", "2 % of the frame and more"]),
            ("across", ["left", "centre", "right"]),
            ("down", ["top", "middle", "bottom"]),
        ):
            mine = [row for row in rows if (row["by"], row["class"]) == (by, name)]
            assert [row["slice"] for row in mine] == names
            boxes = [row["boxes"] for row in mine]
            assert sum(boxes) == matches[class_id].boxes.sum()
            assert np.average([row["value"] or 0 for row in mine], weights=boxes) == pytest.approx(recall, abs=1e-6)


def test_a_slice_of_few_boxes_is_counted_and_has_no_figure(scored):
    rows = rows_of(scored, params(min_boxes=60))
    small = [row for row in rows if row["boxes"] < 60]
    assert small
    assert all((row["value"], row["low"], row["high"]) == (None, None, None) for row in small)
    assert all(row["value"] is not None for row in rows if row["boxes"] >= 60)
    assert all(row["value"] is None for row in rows_of(scored, params(min_boxes=10_000)))


def test_a_slice_of_one_group_has_a_value_and_no_interval(scored):
    tiny = next(row for row in rows_of(scored, params(min_boxes=1)) if row["slice"] == "tiny")
    assert (tiny["images"], tiny["groups"]) == (1, 1)
    assert tiny["value"] is not None
    assert (tiny["low"], tiny["high"]) == (None, None)


def test_light_and_blur_are_seen_in_pictures(tmp_path):
    rng = np.random.default_rng(0)
    shelf = np.kron(rng.integers(0, 255, (30, 40, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    versions = {
        "plain.png": shelf,
        "dark.png": shelf // 3,
        "blurred.png": cv2.GaussianBlur(shelf, (0, 0), 6),
        "large.png": cv2.resize(shelf, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST),
    }
    (tmp_path / IMAGES_DIR).mkdir()
    looks = {}
    for name, pixels in versions.items():
        Image.fromarray(pixels).save(tmp_path / IMAGES_DIR / name)
        looks[name] = look_at(tmp_path, record(name))
    plain = looks["plain.png"]
    assert plain.mean_luma == pytest.approx(cv2.cvtColor(shelf, cv2.COLOR_RGB2GRAY).mean(), abs=2)
    assert looks["dark.png"].mean_luma == pytest.approx(plain.mean_luma / 3, abs=2)
    assert looks["blurred.png"].mean_luma == pytest.approx(plain.mean_luma, abs=2)
    assert looks["blurred.png"].sharpness < plain.sharpness / 5
    assert looks["large.png"].sharpness == pytest.approx(plain.sharpness, rel=0.25)  # measured at one size


def test_bounds_must_ascend():
    with pytest.raises(ValueError, match="must be ascending, each number once"):
        params(area_percent=(2, 1))
