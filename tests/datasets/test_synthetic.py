"""Synthetic shelves: the same bytes from the same seed, true boxes, whole datasets or none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from shelfgap_datasets.coco import load_dataset
from shelfgap_datasets.params import SynthParams
from shelfgap_datasets.schema import DatasetError, box_problem
from shelfgap_datasets.synthetic.labels import label_openings
from shelfgap_datasets.synthetic.render import paint_scene
from shelfgap_datasets.synthetic.scene import EMPTY, Stock, build_scene, find_openings
from shelfgap_datasets.synthetic.stills import render_still, synthesize

PARAMS = SynthParams(count=5, seed=3, height=120, width=160, shelves_per_scene=2, products=None)


def test_the_arguments_alone_decide_every_byte():
    first = render_still(7, 2, 1, (120, 160))
    render_still(7, 3, 0, (120, 160))  # another scene between changes nothing
    again = render_still(7, 2, 1, (120, 160))
    assert (first.jpeg, first.boxes) == (again.jpeg, again.boxes)
    assert render_still(8, 2, 1, (120, 160)).jpeg != first.jpeg
    assert render_still(7, 2, 0, (120, 160)).jpeg != first.jpeg


@pytest.mark.parametrize("scene", range(12))
def test_boxes_lie_inside_the_picture(scene):
    still = render_still(11, scene, 0, (120, 160))
    assert still.image_rgb.shape == (120, 160, 3)
    for box in still.boxes:
        assert box_problem(box.xyxy, 160, 120) is None
        x1, y1, x2, y2 = box.xyxy
        assert min(x1, y1) >= 0
        assert x2 <= 160
        assert y2 <= 120


@pytest.mark.parametrize("scene", range(8))
def test_a_facing_taken_away_changes_the_picture_inside_its_box_only(scene):
    """Paint a full shelf and the same without some facings: what differs must lie where the labels say."""
    place = build_scene(np.random.default_rng((5, scene)), (240, 320))
    facings = place.fixture.facings
    full = np.full(len(facings), place.fixture.setback_m)
    layers = np.array([f.product.layers for f in facings])
    seen = [i for i, f in enumerate(facings) if label_openings(*_one(place, facings, full, layers, i))]
    emptied = full.copy()
    emptied[seen[len(seen) // 2]] = EMPTY
    stock = Stock(emptied, layers)
    boxes = label_openings(
        place.fixture, place.camera, find_openings(place.fixture, stock), np.zeros((240, 320), np.bool_)
    )
    assert [box.class_name for box in boxes] == ["gap"]
    straight = place.camera
    pictures = [paint_scene(place.fixture, s, straight, np.random.default_rng(1)) for s in (Stock(full, layers), stock)]
    from shelfgap_datasets.synthetic.lens import bend

    before, after = (bend(p, straight).astype(int) for p in pictures)
    changed = np.abs(before - after).max(2) > 60
    x1, y1, x2, y2 = (round(v) for v in boxes[0].xyxy)
    inside = changed[y1:y2, x1:x2].mean()
    # Neighbours vary a little from piece to piece and show their sides, so some change lies outside.
    outside = changed.copy()
    margin = 6
    outside[max(0, y1 - margin) : y2 + margin, max(0, x1 - margin) : x2 + margin] = False
    assert inside > 5 * outside.mean()
    assert inside > 0.15


def _one(place, facings, full, layers, index):
    setback = full.copy()
    setback[index] = EMPTY
    openings = find_openings(place.fixture, Stock(setback, layers))
    return place.fixture, place.camera, openings, np.zeros((240, 320), np.bool_)


def test_a_full_shelf_has_no_gap():
    place = build_scene(np.random.default_rng(1), (120, 160))
    layers = np.array([f.product.layers for f in place.fixture.facings])
    stock = Stock(np.full(len(layers), place.fixture.setback_m), layers)
    assert find_openings(place.fixture, stock) == ()


def test_a_dataset_is_written_whole_and_alike_with_any_number_of_workers(tmp_path):
    steps = []
    one = synthesize(tmp_path / "one", PARAMS, lambda done, total: steps.append((done, total)), workers=1)
    two = synthesize(tmp_path / "two", PARAMS, workers=2)
    assert one == two == load_dataset(tmp_path / "one")
    assert steps == [(2, 5), (4, 5), (5, 5)]
    for image in one.images:
        pictures = [(tmp_path / name / "images" / image.file_name).read_bytes() for name in ("one", "two")]
        assert pictures[0] == pictures[1]
        assert cv2.imdecode(np.frombuffer(pictures[0], np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)
    assert len({image.store for image in one.images}) == 3
    assert {image.license for image in one.images} == {"CC0-1.0"}
    synthesize(tmp_path / "one", PARAMS, workers=1)  # again, over the earlier one
    assert load_dataset(tmp_path / "one") == one


def test_a_folder_with_other_things_is_not_overwritten(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DatasetError, match="not empty and not a synthetic dataset"):
        synthesize(tmp_path, PARAMS, workers=1)
    assert (tmp_path / "letter.txt").exists()


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetError, match="is a file; choose a folder"):
        synthesize(tmp_path / "file", PARAMS, workers=1)


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "data", PARAMS, interrupt, workers=1)
    assert list(tmp_path.iterdir()) == []
