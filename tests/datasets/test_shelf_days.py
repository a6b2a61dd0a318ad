"""Shelf-days: the timeline and the boxes of every frame tell the same story, and the seed decides all of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise

import cv2
import numpy as np
import pytest
from shelfgap_datasets.coco import load_dataset
from shelfgap_datasets.params import ShelfDayParams, SynthParams
from shelfgap_datasets.schema import DatasetError, box_problem
from shelfgap_datasets.synthetic import shelf_days
from shelfgap_datasets.synthetic.day import simulate_day
from shelfgap_datasets.synthetic.faces import load_faces
from shelfgap_datasets.synthetic.scene import build_scene, stock_state
from shelfgap_datasets.synthetic.shelf_days import render_moment, synthesize_days
from shelfgap_datasets.synthetic.stills import synthesize
from shelfgap_edge.sources.recording import read_recording

PARAMS = ShelfDayParams(
    days=2,
    seed=4,
    height=120,
    width=160,
    open_hour=9,
    close_hour=13,
    minutes_per_frame=20,
    demand=2.5,
    products=None,
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("days") / "data"
    synthesize_days(root, PARAMS, workers=1)
    return root, load_dataset(root), json.loads((root / "timeline.json").read_text())["days"]


def test_every_frame_has_its_time_and_boxes_inside_it(rendered):
    _, dataset, days = rendered
    assert len(days) == 2
    assert len(dataset.images) == sum(len(day["frames"]) for day in days) == 30
    for day in days:
        times = [frame["time"] for frame in day["frames"]]
        assert times == sorted(set(times))
        assert times[0].endswith("T08:30:00")
    for image in dataset.images:
        assert image.consent == "synthetic"
        assert all(box_problem(box.xyxy, 160, 120) is None for box in image.boxes)
    assert len({image.camera for image in dataset.images}) == 2


def state_at(facing: dict, time: str) -> str:
    """Return the state that a picture shows: low stock may be hidden."""
    if any(first <= time <= last for first, last in facing["looks_empty"]):
        return "gap"
    return [change["state"] for change in facing["changes"] if change["time"] <= time][-1]


def test_timeline_and_boxes_agree(rendered):
    """Where a frame boxes a gap, the facings in the box are gaps in the timeline."""
    _, dataset, days = rendered
    agreed = checked = 0
    for image in dataset.images:
        day = days[int(image.file_name[4:6])]
        for box in image.boxes:
            if box.class_name == "occluder":
                continue
            x1, y1, x2, y2 = box.xyxy
            for facing in day["facings"]:
                if facing["box_xyxy"] is None:
                    continue
                a1, b1, a2, b2 = facing["box_xyxy"]
                overlap = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
                if overlap > 0.8 * (a2 - a1) * (b2 - b1) > 40:
                    checked += 1
                    agreed += state_at(facing, image.captured_at) == box.class_name
    assert checked > 30
    assert agreed / checked > 0.97  # a shifted camera puts a sliver of a neighbour into a box


def test_only_low_stock_is_hidden(rendered):
    _, _, days = rendered
    hidden = [(f, first) for day in days for f in day["facings"] for first, _ in f["looks_empty"]]
    assert hidden
    for facing, time in hidden:
        assert [change["state"] for change in facing["changes"] if change["time"] <= time][-1] == "low"


def test_facings_run_empty_in_order_and_only_restocking_fills_them(rendered):
    _, _, days = rendered
    order = {"full": 0, "low": 1, "gap": 2}
    causes = set()
    for day in days:
        for facing in day["facings"]:
            assert facing["changes"][0]["cause"] == "start"
            for one, two in pairwise(facing["changes"]):
                assert one["time"] < two["time"]
                causes.add(two["cause"])
                if two["cause"] == "sold":
                    assert order[two["state"]] > order[one["state"]]
                else:
                    assert two["state"] == "full"
    assert causes == {"sold", "restocked"}


def test_occluded_facings_lie_behind_a_visit(rendered):
    _, _, days = rendered
    assert any(facing["occluded"] for day in days for facing in day["facings"])
    for day in days:
        for facing in day["facings"]:
            for start, end in facing["occluded"]:
                for frame in day["frames"]:
                    if start <= frame["time"] <= end:
                        assert any(v["from"] <= frame["time"] <= v["to"] for v in day["visits"])


def test_any_number_of_workers_writes_the_same_bytes(rendered, tmp_path):
    root, _, _ = rendered
    synthesize_days(tmp_path / "again", PARAMS, workers=2)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(root)).read_bytes() == path.read_bytes(), path


def test_a_stopped_run_goes_on_and_writes_the_same_bytes(rendered, tmp_path, monkeypatch):
    root, _, _ = rendered

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize_days(tmp_path / "days", PARAMS, stop, workers=1)
    assert not (tmp_path / "days").exists()
    asked = []
    monkeypatch.setattr(shelf_days, "render_moment", lambda *key: asked.append(key) or render_moment(*key))
    synthesize_days(tmp_path / "days", PARAMS, workers=1)
    frames = len(json.loads((root / "annotations.json").read_text())["images"])
    assert len(asked) == frames - 12  # those of the first job are there
    for path in sorted(root.rglob("*")):
        if path.is_file():
            assert (tmp_path / "days" / path.relative_to(root)).read_bytes() == path.read_bytes(), path
    assert [path.name for path in tmp_path.iterdir()] == ["days"]


def test_what_another_run_left_is_not_taken(tmp_path):
    one_day = PARAMS.model_copy(update={"days": 1, "minutes_per_frame": 120})

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize_days(tmp_path / "days", one_day, stop, workers=1)
    synthesize_days(tmp_path / "days", one_day.model_copy(update={"seed": 5}), workers=1)
    synthesize_days(tmp_path / "other", one_day.model_copy(update={"seed": 5}), workers=1)
    ours, theirs = ((tmp_path / name / "annotations.json").read_bytes() for name in ("days", "other"))
    assert ours == theirs
    assert {path.name for path in tmp_path.iterdir()} == {"days", "other"}


def test_what_does_not_change_looks_the_same_from_frame_to_frame():
    """Between two frames without sale, visit, knock or change of light only noise differs."""
    calm = PARAMS.model_copy(update={"demand": 1e-6})
    first, second = (render_moment(calm, 0, frame)[0].image_rgb for frame in (6, 7))
    assert np.abs(first.astype(int) - second).mean() < 8


def test_a_busier_day_sells_more():
    scene = build_scene(np.random.default_rng(3), (120, 160))

    def sold(demand: float) -> int:
        params = PARAMS.model_copy(update={"demand": demand})
        day = simulate_day(np.random.default_rng(1), scene.fixture, scene.camera, params)
        return sum(not change.restocked for change in day.changes)

    assert sold(0.1) < sold(1.0) < sold(4.0)


def test_moments_hold_the_stock_that_the_changes_say():
    scene = build_scene(np.random.default_rng(5), (120, 160))
    day = simulate_day(np.random.default_rng(2), scene.fixture, scene.camera, PARAMS)
    state = {}
    waiting = sorted(day.changes, key=lambda change: change.minute)
    for moment in day.moments:
        while waiting and waiting[0].minute <= moment.minute:
            change = waiting.pop(0)
            state[change.facing] = change.state
        assert [stock_state(scene.fixture, s) for s in moment.stock.setback_m] == [state[i] for i in range(len(state))]


@pytest.fixture
def products(tmp_path):
    """Two products on white, one natural photograph, a damaged file, and their licence."""
    folder = tmp_path / "products"
    folder.mkdir()
    for number, colour in enumerate(((200, 30, 30), (30, 30, 200))):
        image = np.full((200, 160, 3), 255, np.uint8)
        cv2.ellipse(image, (80, 100), (40, 80), 0, 0, 360, colour, -1)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    cv2.imwrite(str(folder / "natural.jpg"), np.random.default_rng(0).integers(0, 200, (200, 160, 3), np.uint8))
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "LICENSE").write_text("Permission is hereby granted, free of charge, to any person")
    return folder


def with_products(folder) -> SynthParams:
    return SynthParams(count=2, seed=1, height=120, width=160, shelves_per_scene=1, products=str(folder))


def test_product_pictures_are_cut_out_and_shown_on_the_shelf(products, tmp_path):
    faces = load_faces(products)
    assert sorted(face.is_cut_out for face in faces) == [False, True, True]
    cut = next(face for face in faces if face.is_cut_out)
    assert cut.aspect == pytest.approx(0.5, abs=0.03)
    assert 0.7 < (cut.sprite[..., 3] > 128).mean() < 0.85  # an ellipse fills pi / 4 of its rectangle
    params = with_products(products)
    dataset = synthesize(tmp_path / "stills", params, workers=1)
    assert {image.license for image in dataset.images} == {"CC0-1.0 AND MIT"}
    plain = synthesize(tmp_path / "plain", params.model_copy(update={"products": None}), workers=1)
    assert [i.sha256 for i in plain.images] != [i.sha256 for i in dataset.images]


def test_products_without_licence_or_pictures_are_refused(products, tmp_path):
    params = with_products(products)
    (products / "LICENSE").unlink()
    with pytest.raises(DatasetError, match=r"states no licence; put a LICENSE file or a SOURCE\.yaml"):
        synthesize(tmp_path / "stills", params, workers=1)
    (products / "SOURCE.yaml").write_text("license: CC-BY-4.0")
    for path in products.glob("*.*g"):
        path.unlink()
    with pytest.raises(DatasetError, match="no readable picture"):
        synthesize(tmp_path / "stills", params, workers=1)
    with pytest.raises(DatasetError, match="no such folder"):
        synthesize(tmp_path / "stills", with_products("/nowhere"), workers=1)


def test_the_edge_service_replays_a_day_in_its_order(rendered):
    root, dataset, days = rendered
    pictures = read_recording(root, camera=days[1]["camera"])
    assert [str(picture.path.relative_to(root / "images")) for picture in pictures] == [
        frame["file_name"] for frame in days[1]["frames"]
    ]
    assert len(read_recording(root)) == len(dataset.images)
    times = [datetime.fromisoformat(frame["time"]).replace(tzinfo=UTC).timestamp() for frame in days[1]["frames"]]
    assert [picture.at for picture in pictures] == times
