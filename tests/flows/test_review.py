"""From planted errors to a queue, through a reviewer's hands, to a corrected version."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from shelfgap_datasets.coco import load_dataset, save_dataset
from shelfgap_datasets.labelling.correct import correct_dataset
from shelfgap_datasets.labelling.review import write_review
from shelfgap_datasets.schema import Box, DatasetError
from shelfgap_flows.params import default_params, load_params
from shelfgap_flows.review import review_labels
from shelfgap_training.params import Preset
from small_network import MODEL, TRAIN, dark_patches

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*Checkpoint directory.*",
    "ignore:.*multi-threaded, use of fork.*:DeprecationWarning",
)


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    """A dataset of dark patches in which three boxes were taken away and one widened, and its CVAT queue."""
    import shelfgap_flows.review as module
    from shelfgap_training.train import train

    root = tmp_path_factory.mktemp("review")
    dataset = dark_patches(root / "data")
    images = list(dataset.images)
    removed = {}
    for row in (1, 5, 9):
        removed[images[row].file_name] = images[row].boxes[0]
        images[row] = replace(images[row], boxes=images[row].boxes[1:])
    save_dataset(root / "data", replace(dataset, images=tuple(images)))
    params = load_params(module.Path(__file__).parents[2] / "params.yaml")
    preset = Preset(model=MODEL, train=TRAIN.model_copy(update={"epochs": 40}))
    params = params.model_copy(update={"presets": {params.preset: preset}})
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "train", lambda *a, **k: train(*a, **k, workers=0))  # threads run in the test process
    given = {"params": params, "scratch": root / "scratch", "folds": 2, "most": 12, "format": "cvat"}
    suspects = review_labels(root / "data", root / "queue", **given)
    trainings = []
    patch.setattr(module, "train", lambda *a, **k: trainings.append(a))
    again = review_labels(root / "data", root / "again", **given)
    patch.undo()
    assert (again, trainings) == (suspects, [])  # the folds were kept
    return root, removed, suspects


def test_other_code_trains_anew_and_a_taken_folder_is_refused_before(tmp_path, monkeypatch):
    import shelfgap_flows.review as module

    dark_patches(tmp_path / "data")
    folders = []

    def train(*_, scratch, **__):
        folders.append(scratch)
        raise DatasetError("enough")

    monkeypatch.setattr(module, "train", train)
    given = {"params": default_params(), "scratch": tmp_path / "s", "folds": 2, "most": 12, "format": "cvat"}
    for code in ("one", "one", "other"):
        monkeypatch.setattr(module, "code_hash", lambda *_, code=code: code)
        with pytest.raises(DatasetError, match="enough"):
            review_labels(tmp_path / "data", tmp_path / "queue", **given)
    assert folders[0] == folders[1] != folders[2]
    with pytest.raises(DatasetError, match="data: exists and is not empty; choose another folder"):
        review_labels(tmp_path / "data", tmp_path / "data", **given)
    assert len(folders) == 3


def test_pictures_of_one_scene_stand_in_one_fold_without_a_split_too(tmp_path, monkeypatch):
    """A detector that saw a copy of a picture agrees with its wrong labels."""
    import shelfgap_flows.review as module

    dataset = dark_patches(tmp_path / "data", 12, 4, 4)
    images = tuple(
        replace(image, group=None, split=None, camera=f"camera-{row % 5}") for row, image in enumerate(dataset.images)
    )
    save_dataset(tmp_path / "data", replace(dataset, images=images))
    seen = []

    def train(root, divided, *_, devices, **__):
        seen.append((divided, devices))
        raise DatasetError("enough")

    monkeypatch.setattr(module, "train", train)
    given = {"params": default_params(), "scratch": tmp_path / "s", "folds": 2, "most": 12, "format": "cvat"}
    with pytest.raises(DatasetError, match="enough"):
        review_labels(tmp_path / "data", tmp_path / "queue", **given)
    ((divided, devices),) = seen
    sides = {split: {image.camera for image in divided.of_split(split)} for split in ("train", "val")}
    assert sides["train"].isdisjoint(sides["val"])
    assert devices == 1  # several would each run the whole command


def test_boxes_that_were_taken_away_lead_the_queue(reviewed):
    root, removed, suspects = reviewed
    missing = [s for s in suspects if s.kind == "missing"][:3]
    assert {s.file_name for s in missing} == set(removed)
    rows = [json.loads(line) for line in (root / "queue" / "review.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [s.file_name for s in suspects]
    assert (root / "queue" / "sheet.jpg").stat().st_size > 5000


def test_a_queue_that_nobody_touched_changes_nothing(reviewed, tmp_path):
    root, _, _ = reviewed
    report = correct_dataset(root / "data", root / "queue", tmp_path / "new", class_aliases={})
    assert report.changed == ()
    assert report.seen > 0


def test_an_accepted_suggestion_comes_back_as_a_box(reviewed, tmp_path):
    root, removed, suspects = reviewed
    best = next(s for s in suspects if s.kind == "missing")
    page = root / "queue" / "annotations.xml"
    text = page.read_text()
    picture = re.search(rf'<image [^>]*name="{re.escape(best.file_name)}".*?</image>', text, re.DOTALL)[0]
    accepted = picture.replace('label="suggest-gap"', 'label="gap"', 1)
    assert accepted != picture
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "annotations.xml").write_text(text.replace(picture, accepted))
    report = correct_dataset(root / "data", tmp_path / "back", tmp_path / "new", class_aliases={})
    assert report.changed == (best.file_name,)
    now = next(i for i in load_dataset(tmp_path / "new").images if i.file_name == best.file_name)
    added = now.boxes[-1].xyxy
    assert added == pytest.approx(removed[best.file_name].xyxy, abs=8)


def test_label_studio_gets_suggestions_as_predictions(reviewed, tmp_path):
    from shelfgap_datasets.labelling.review import Remark

    root, _, _ = reviewed
    dataset = load_dataset(root / "data")
    name = dataset.images[0].file_name
    remarks = [
        Remark(name, "missing", 0.8, Box("gap", (1.0, 2.0, 30.0, 40.0)), None),
        Remark(name, "extra", 0.5, None, 0),
    ]
    assert write_review(root / "data", dataset, remarks, "label-studio", tmp_path / "queue") == 1
    (task,) = json.loads((tmp_path / "queue" / "tasks.json").read_text())
    assert task["data"]["review"] == "missing (0.80); label 1: extra (0.50)"
    assert task["predictions"][0]["result"][0]["value"]["rectanglelabels"] == ["gap"]
    assert len(task["annotations"][0]["result"]) == len(dataset.images[0].boxes)
    with pytest.raises(DatasetError, match="nothing to review"):
        write_review(root / "data", dataset, [], "cvat", tmp_path / "none")
