"""Synthetic shelves: the same bytes from the same seed, true boxes, whole datasets or none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from shelfgap_datasets.coco import load_dataset
from shelfgap_datasets.params import SynthParams
from shelfgap_datasets.schema import DatasetError, box_problem
from shelfgap_datasets.synthetic.labels import label_openings
from shelfgap_datasets.synthetic.lens import bend
from shelfgap_datasets.synthetic.render import paint_scene
from shelfgap_datasets.synthetic.scene import EMPTY, Stock, build_scene, find_openings
from shelfgap_datasets.synthetic.shown import paint_shown
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


def _pushed_back(place, indices):
    """Return a full shelf but for some facings, whose stock stands in the depth of the shelf."""
    facings = place.fixture.facings
    setback = np.full(len(facings), place.fixture.setback_m)
    setback[indices] = 0.6 * place.fixture.depth_m
    return Stock(setback, np.array([f.product.layers for f in facings]))


def _labelled_facings(place):
    """Return the facings of which a hole is labelled, the one nearest to the middle of the view first."""
    x, y = (float(v) for v in place.camera.position[:2])
    full = _pushed_back(place, [])
    facings = place.fixture.facings
    seen = [i for i in range(len(facings)) if label_openings(*_one(place, facings, full.setback_m, full.layers, i))]
    boards = place.fixture.boards_m
    return sorted(
        seen, key=lambda i: np.hypot((facings[i].x1_m + facings[i].x2_m) / 2 - x, boards[facings[i].shelf] - y)
    )


@pytest.mark.parametrize("scene", [0, 1, 3, 5])
def test_low_stock_that_neighbours_hide_counts_as_empty(scene):
    place = build_scene(np.random.default_rng((5, scene)), (240, 320))
    near, *_, far = _labelled_facings(place)
    for index, shows in ((near, True), (far, False)):
        stock = _pushed_back(place, [index])
        image, shown = paint_shown(place.fixture, stock, place.camera, np.random.default_rng(1))
        painted = paint_scene(place.fixture, stock, place.camera, np.random.default_rng(1))
        assert np.array_equal(image, bend(painted, place.camera))
        others = np.arange(len(stock.setback_m)) != index
        assert np.array_equal(shown.setback_m[others], stock.setback_m[others])
        assert shown.setback_m[index] == (stock.setback_m[index] if shows else EMPTY)
        assert stock.setback_m[index] != EMPTY, "what stands there stays as it is"
        (opening,) = find_openings(place.fixture, stock)
        (box,) = label_openings(place.fixture, place.camera, (opening,), np.zeros((240, 320), np.bool_))
        without = Stock(np.where(others, stock.setback_m, EMPTY), stock.layers)
        bare = bend(paint_scene(place.fixture, without, place.camera, np.random.default_rng(1)), place.camera)
        x1, y1, x2, y2 = (round(v) for v in box.xyxy)
        differs = np.any(bare != image, axis=2)[y1:y2, x1:x2].mean()
        assert differs > 0.2 if shows else differs < 0.2


def test_hidden_low_stock_beside_a_gap_makes_one_gap_with_it():
    place = build_scene(np.random.default_rng((5, 5)), (240, 320))
    far = _labelled_facings(place)[-1]
    stock = _pushed_back(place, [far])
    stock.setback_m[far - 1] = EMPTY
    assert {o.class_name for o in find_openings(place.fixture, stock)} == {"gap", "low"}
    _, shown = paint_shown(place.fixture, stock, place.camera, np.random.default_rng(1))
    (opening,) = find_openings(place.fixture, shown)
    assert (opening.class_name, opening.facings) == ("gap", slice(far - 1, far + 1))


def test_stills_label_low_stock_only_where_it_shows(monkeypatch):
    labelled = [render_still(0, scene, view, (240, 320)).boxes for scene in range(6) for view in range(2)]
    monkeypatch.setattr("shelfgap_datasets.synthetic.shown._LEAST_SHOWN", 0.0)
    by_stock = [render_still(0, scene, view, (240, 320)).boxes for scene in range(6) for view in range(2)]
    low, low_by_stock = (
        sum(box.class_name == "low" for boxes in stills for box in boxes) for stills in (labelled, by_stock)
    )
    assert 0 < low < low_by_stock


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
