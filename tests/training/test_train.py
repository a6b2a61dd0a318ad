"""Training: it learns, it goes on after an interruption to the same weights, it says what is wrong."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import pytest
import torch
from shelfgap_datasets.schema import DatasetError
from shelfgap_training.checkpoint import CheckpointError, TrainedDetector, load_detector, save_detector
from shelfgap_training.module import DetectorModule, TrainingError
from shelfgap_training.params import ImitationParams
from shelfgap_training.train import TrainingInterruptedError, train
from small_network import MODEL, TRAIN, dark_patches

pytestmark = pytest.mark.filterwarnings(
    # Lightning's own use of a deprecated torch tree helper, and its view of two cores
    "ignore:.*LeafSpec.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*Checkpoint directory.*",
    "ignore:.*multi-threaded, use of fork.*:DeprecationWarning",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("patches")
    return root / "data", dark_patches(root / "data")


def test_it_learns_to_find_dark_patches(trained):
    assert trained.val_ap50 > 0.6


@pytest.mark.parametrize("imitated", [0, 2])
def test_an_interrupted_training_goes_on_to_the_same_weights(data, tmp_path, imitated):
    root, dataset = data
    recipe = TRAIN.model_copy(update={"imitation": ImitationParams(epochs=imitated, size_px=64)})
    whole = train(root, dataset, MODEL, recipe, scratch=tmp_path / "whole", workers=0)
    batches = 0

    def stop_in_the_second_epoch():
        nonlocal batches
        batches += 1
        return batches == 5  # three batches an epoch

    message = f"stopped after epoch 1 of {3 + imitated}; run the same command to go on"
    with pytest.raises(TrainingInterruptedError, match=message):
        train(root, dataset, MODEL, recipe, scratch=tmp_path / "cut", should_stop=stop_in_the_second_epoch, workers=0)
    resumed = train(root, dataset, MODEL, recipe, scratch=tmp_path / "cut", workers=0)
    assert resumed.resumed_from_epoch == 1
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0, msg=name)
    assert resumed.val_ap50 == whole.val_ap50


@pytest.mark.parametrize("every", [2, 5])
def test_the_figures_are_those_of_the_weights_after_the_last_epoch(data, tmp_path, every):
    root, dataset = data
    wanted = train(root, dataset, MODEL, TRAIN, scratch=tmp_path / "each", workers=0)
    recipe, told = TRAIN.model_copy(update={"validate_every_epochs": every}), []
    for number in (1, 2):  # the second goes on where nothing is left to train: the first was killed before it had ended
        found = train(
            root,
            dataset,
            MODEL,
            recipe,
            scratch=tmp_path / "some",
            workers=0,
            on_validation=lambda epoch, ap50: told.append((epoch, ap50)),
        )
        assert (found.val_ap50, found.val_ap50_95) == (wanted.val_ap50, wanted.val_ap50_95)
        assert found.resumed_from_epoch == (0 if number == 1 else 3)
        assert told[-1] == (3, wanted.val_ap50)


def test_a_checkpoint_needs_no_room_elsewhere(data, tmp_path, monkeypatch):
    root, dataset = data
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "another disk, and full"))
    train(root, dataset, MODEL, TRAIN.model_copy(update={"epochs": 1}), scratch=tmp_path / "scratch", workers=0)
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["last.ckpt"]


def test_a_checkpoint_that_cannot_be_read_is_named(data, tmp_path):
    root, dataset = data
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt: not a checkpoint .*; remove it, and the training begins anew"
    ):
        train(root, dataset, MODEL, TRAIN, scratch=tmp_path, workers=0)


@pytest.mark.parametrize(("rate", "what"), [(1e20, "epoch 1: the loss"), (1e6, "epoch 1: the score of a detection")])
def test_weights_that_are_lost_end_the_training(data, tmp_path, rate, what):
    root, dataset = data
    recipe = TRAIN.model_copy(update={"learning_rate": rate})
    with pytest.raises(TrainingError, match=rf"{what} is no number any more, .* lower learning_rate .* now 1e\+"):
        train(root, dataset, MODEL, recipe, scratch=tmp_path, workers=0)
    assert not (tmp_path / "last.ckpt").exists()


def test_more_detections_than_cells_are_refused_before_the_first_epoch(data, tmp_path):
    root, dataset = data
    model = MODEL.model_copy(update={"max_detections": 193})
    with pytest.raises(TrainingError, match=r"128x96 has 192 cells for 1 class.*max_detections, 193; lower that"):
        train(root, dataset, model, TRAIN, scratch=tmp_path, workers=0)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n cut short", b"\xff\xd8\xff cut short", None])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, content):
    dataset = dark_patches(tmp_path / "data", train=4, val=1, test=0)
    picture = tmp_path / "data" / "images" / "2.png"
    picture.unlink() if content is None else picture.write_bytes(content)
    with pytest.raises(DatasetError, match=r"the picture 2\.png cannot be read \(.+\); run: shelfgap data check"):
        train(tmp_path / "data", dataset, MODEL, TRAIN, scratch=tmp_path, workers=0)


def test_it_starts_from_the_weights_of_another_training(data, trained, tmp_path):
    root, dataset = data
    count = len(dataset.detector_classes)
    module = DetectorModule(MODEL, TRAIN, count, total_steps=3)
    first = TrainedDetector(trained.model, dataset.detector_classes, "", None)
    other = DetectorModule(MODEL.model_copy(update={"neck_channels": 24}), TRAIN, count, total_steps=3)
    with pytest.raises(CheckpointError, match="of another network"):
        other.start_from(dataset.detector_classes, first)
    larger = DetectorModule(MODEL.model_copy(update={"input_height": 160}), TRAIN, count, total_steps=3)
    for started in (module, larger):
        started.start_from(dataset.detector_classes, first)
    assert larger.model.params.input_height == 160
    for name, value in larger.averaged_model().state_dict().items():
        torch.testing.assert_close(trained.model.state_dict()[name], value, rtol=0, atol=0)
    for name, value in trained.model.state_dict().items():
        torch.testing.assert_close(module.averaged_model().state_dict()[name], value, rtol=0, atol=0)
    brief = TRAIN.model_copy(
        update={"epochs": 1, "warmup_epochs": 0, "learning_rate": 1e-6, "validate_every_epochs": 1}
    )
    went_on = train(root, dataset, MODEL, brief, scratch=tmp_path, initial=first, workers=0)
    assert went_on.val_ap50 == pytest.approx(trained.val_ap50, abs=0.1)


def test_of_the_classes_those_that_both_know_are_taken_over(trained):
    model, names = trained.model, trained.dataset.detector_classes
    wider = DetectorModule(MODEL, TRAIN, len(names) + 1, total_steps=3)
    before = wider.model.score.weight[0].clone()
    wider.start_from(("product", *names), TrainedDetector(model, names, "", None))
    torch.testing.assert_close(wider.model.score.weight[0], before)
    torch.testing.assert_close(wider.model.score.weight[1:], model.score.weight)


@pytest.mark.parametrize("missing", ["train", "val"])
def test_a_split_without_images_is_named(data, tmp_path, missing):
    root, dataset = data
    kept = tuple(image for image in dataset.images if image.split != missing)
    with pytest.raises(DatasetError, match=f"no image in split {missing}; run: shelfgap data split"):
        train(root, replace(dataset, images=kept), MODEL, TRAIN, scratch=tmp_path, workers=0)


def test_a_detector_is_saved_and_read_and_a_damaged_file_refused(tmp_path):
    from shelfgap_training.model import GapDetector

    path = tmp_path / "models" / "detector.pt"
    trained = TrainedDetector(GapDetector(MODEL, 1), ("gap",), "ab" * 32, "run")
    save_detector(path, trained)
    again = load_detector(path)
    assert (again.classes, again.dataset_sha256, again.mlflow_run_id) == (("gap",), "ab" * 32, "run")
    for name, value in trained.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"detector\.pt"):
        load_detector(path)
    with pytest.raises(CheckpointError, match="no trained detector here; run: shelfgap train"):
        load_detector(tmp_path / "none.pt")
