"""The stage `train`: what it reports where a kill left nothing to train, and the pictures that it shows."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from patches_workspace import patches_params
from shelfgap_datasets.coco import save_dataset
from shelfgap_datasets.schema import Dataset
from shelfgap_edge.postprocess import Detections
from shelfgap_export import parity
from shelfgap_flows import stages
from shelfgap_flows.settings import Settings
from shelfgap_flows.workspace import Workspace
from shelfgap_training import checkpoint, gallery
from shelfgap_training import train as training
from shelfgap_training.checkpoint import TrainedDetector
from shelfgap_training.model import GapDetector
from small_network import MODEL, dark_patches

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*Checkpoint directory.*",
)


def test_a_kill_after_the_last_epoch_leaves_a_report_that_is_json(run_command, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    patches_params(workspace.params_file, epochs=1)
    dark_patches(workspace.dataset, 4, 2, 2)
    monkeypatch.setattr(training, "train", partial(training.train, workers=0))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_detector", killed)
        with pytest.raises(KeyboardInterrupt):
            stages.train_stage(workspace, Settings())
    code, out, err = run_command("train", "--workspace", workspace.root, "--json")
    assert code == 0, err
    report = json.loads(out.splitlines()[-1])
    assert (report["resumed_from_epoch"], report["val_images"]) == (1, 2)
    assert (
        0 <= report["val_ap50_95"] <= report["val_ap50"] <= 1
    )  # of the weights, though the epoch was validated before
    assert json.loads((workspace.reports / "training.json").read_text(), parse_constant=pytest.fail) == report


def test_a_kill_before_dvc_has_noted_the_training_costs_nothing_of_it(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    patches_params(workspace.params_file, epochs=1)
    dark_patches(workspace.dataset, 4, 2, 2)
    monkeypatch.setattr(training, "train", partial(training.train, workers=0))
    first = stages.train_stage(workspace, Settings())
    for output in (workspace.models / "detector.pt", workspace.reports / "training.json"):
        output.unlink()  # as DVC does before it runs the stage again
    again = stages.train_stage(workspace, Settings())
    assert (first["resumed_from_epoch"], again["resumed_from_epoch"]) == (0, 1)
    assert again["weights_sha256"] == first["weights_sha256"]
    assert any(workspace.scratch.glob("train-*"))
    patches_params(workspace.params_file, epochs=2)
    stages.train_stage(workspace, Settings())  # a retraining that fails exports nothing
    assert len([*workspace.scratch.glob("train-*")]) == 1
    stages.export_stage(workspace)
    assert not any(workspace.scratch.glob("train-*"))


def test_what_nobody_looked_for_in_a_picture_is_no_mistake_of_its_worst_sheet(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    dataset = dark_patches(workspace.dataset, 2, 2, 1)
    images = tuple(replace(image, annotated_classes=("gap",)) for image in dataset.images)
    save_dataset(workspace.dataset, Dataset(images, ("gap", "low")))
    drawn = []

    def draw(frame, shown, classes, truth):
        drawn.extend(shown.class_names(classes))
        return frame

    everywhere = Detections(
        np.array([[2, 2, 40, 40]] * 2, np.float32), np.array([0.9, 0.8], np.float32), np.array([1, 0], np.int64)
    )
    monkeypatch.setattr(parity, "torch_detections", lambda *_: everywhere)
    monkeypatch.setattr(gallery, "draw_detections", draw)
    model = GapDetector(MODEL, 2).eval()
    stages._worst_sheet(workspace, TrainedDetector(model, ("gap", "low"), "", None))
    assert drawn == ["gap"] * 2
