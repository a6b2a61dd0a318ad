"""Time and energy of a training: summed over sessions, absent where nothing is metered."""

from __future__ import annotations

import pytest
import shelfgap_training.train
from shelfgap_training.cost import TrainingCost
from shelfgap_training.train import TrainingInterruptedError, train
from small_network import MODEL, TRAIN, dark_patches

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*Checkpoint directory.*",
    "ignore:.*multi-threaded, use of fork.*:DeprecationWarning",
)


class _Steps:
    """Uses ten joules between any two looks at it."""

    def joules(self):
        return 10.0


class _None:
    def joules(self):
        return None


def test_a_session_goes_on_from_the_count_in_the_checkpoint():
    cost = TrainingCost(_Steps())
    cost.load_state_dict({"seconds": 100.0, "joules": 50.0, "sessions": 2})
    cost.on_fit_start(None, None)
    cost.on_train_batch_end()
    assert (cost.sessions, cost.joules) == (3, 60.0)
    assert 100 <= cost.seconds < 200
    unmetered = TrainingCost(_None())
    unmetered.load_state_dict(cost.state_dict())
    assert unmetered.state_dict()["joules"] is None
    cost.load_state_dict(unmetered.state_dict())  # a part of the energy is no energy of the training
    assert cost.state_dict()["joules"] is None


def test_a_resumed_training_counts_all_its_sessions(tmp_path, monkeypatch):
    root = tmp_path / "data"
    dataset = dark_patches(root)
    monkeypatch.setattr(shelfgap_training.train, "EnergyMeter", _Steps)
    batches = 0

    def stop_in_the_second_epoch():
        nonlocal batches
        batches += 1
        return batches == 5  # three batches an epoch

    with pytest.raises(TrainingInterruptedError):
        train(root, dataset, MODEL, TRAIN, scratch=tmp_path / "s", should_stop=stop_in_the_second_epoch, workers=0)
    resumed = train(root, dataset, MODEL, TRAIN, scratch=tmp_path / "s", workers=0)
    assert resumed.sessions == 2
    assert resumed.all_seconds > resumed.seconds * 0.5
    assert resumed.energy_joules >= 10 * 9  # nine batches, two of which ran twice and count once
