"""Training: it learns, it goes on after an interruption to the same weights, it says what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from shelfgap_datasets.schema import DatasetError
from shelfgap_training.checkpoint import CheckpointError, TrainedDetector, load_detector, save_detector
from shelfgap_training.module import DetectorModule
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
