"""Time and energy of a training: summed over sessions, absent where nothing is metered."""

from __future__ import annotations

import pytest
import shelfgap_training.cost
import shelfgap_training.train
from shelfgap_training.cost import EnergyMeter, TrainingCost
from shelfgap_training.train import TrainingInterruptedError, train
from small_network import MODEL, TRAIN, dark_patches

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*Checkpoint directory.*",
    "ignore:.*multi-threaded, use of fork.*:DeprecationWarning",
)


@pytest.fixture
def powercap(tmp_path):
    """Two packages, and zones that are part of one or hold both."""

    def zone(folder, name, energy):
        path = tmp_path / folder
        path.mkdir()
        for file, text in (("name", name), ("energy_uj", energy), ("max_energy_range_uj", 1_000_000_000)):
            (path / file).write_text(f"{text}\n")

    zone("intel-rapl:0", "package-0", 1_000_000)
    zone("intel-rapl:1", "package-1", 999_000_000)
    zone("intel-rapl:0:0", "core", 5)
    zone("intel-rapl:2", "psys", 5)
    zone("intel-rapl-mmio:0", "package-0", 5)  # the same package again
    return tmp_path


def counts(powercap, folder, energy):
    (powercap / folder / "energy_uj").write_text(f"{energy}\n")


def test_packages_are_added_up_and_a_counter_may_wrap(powercap):
    meter = EnergyMeter(powercap)
    assert meter.joules() == 0
    counts(powercap, "intel-rapl:0", 4_000_000)
    counts(powercap, "intel-rapl:1", 1_000_000)  # past 1 000 000 000
    for other in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        counts(powercap, other, 900)
    assert meter.joules() == pytest.approx(3 + 2)
    assert meter.joules() == 0


@pytest.mark.parametrize("damage", ["no folder", "one package unreadable", "gone later"])
def test_what_is_not_metered_whole_has_no_figure(powercap, damage):
    counter = powercap / "intel-rapl:1" / "energy_uj"
    if damage == "one package unreadable":
        counter.write_text("")
    meter = EnergyMeter(powercap / "none" if damage == "no folder" else powercap)
    if damage == "gone later":
        counter.unlink()
    assert meter.joules() is None


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
