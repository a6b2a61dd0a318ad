"""A detector trained in seconds, and the dataset that it learned; shared by the suites above the data layer."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from shelfgap_datasets.schema import Dataset
from shelfgap_training.model import GapDetector
from small_network import MODEL, TRAIN, dark_patches

# how long an example takes says how busy the machine is, and nothing of the code
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell starts what it runs in the background deaf to Ctrl-C, and so would be the commands that tests interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Trained:
    """A trained detector with its data."""

    root: Path
    dataset: Dataset
    model: GapDetector
    val_ap50: float


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from shelfgap_training.train import train

    root = tmp_path_factory.mktemp("patches") / "data"
    dataset = dark_patches(root)
    params = TRAIN.model_copy(update={"epochs": 40, "validate_every_epochs": 40})
    scratch = tmp_path_factory.mktemp("scratch")
    result = train(root, dataset, MODEL, params, scratch=scratch, workers=0)
    return Trained(root, dataset, result.model, result.val_ap50)
