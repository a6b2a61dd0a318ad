"""A training in another process: it reports, obeys, survives what happens to it, and says why it failed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from shelfgap_flows.apart import (
    LOG_FILE,
    InterruptedTrainingError,
    Trained,
    Training,
    TrainingFailedError,
    train_apart,
)
from shelfgap_training.params import Preset
from shelfgap_training.tracking import Tracker
from small_network import MODEL, TRAIN, dark_patches

pytestmark = [
    pytest.mark.slow,  # each process loads torch
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("apart")
    dark_patches(root / "data")
    tracker = Tracker(f"sqlite:///{root}/mlflow.db", (root / "artifacts").as_uri(), "shelfgap")
    return root, tracker, tracker.open_run("trial", {}, {})


@pytest.fixture
def training(place, tmp_path):
    root, tracker, run_id = place
    recipe = Preset(model=MODEL, train=TRAIN)
    return Training(root / "data", recipe, tmp_path / "scratch", None, None, tracker, run_id, 1)


def never():
    return False


def test_each_validation_is_heard_of_and_the_last_one_is_the_result(training):
    from mlflow.tracking import MlflowClient

    heard = []
    trained = train_apart(training, go_on=lambda *found: heard.append(found) or True, should_stop=never)
    assert [epoch for epoch, _ in heard] == [1, 2, 3]
    assert isinstance(trained, Trained)
    assert trained.val_ap50 == heard[-1][1]
    assert "epoch 3/3" in (training.scratch / LOG_FILE).read_text()
    client = MlflowClient(tracking_uri=training.tracker.uri)
    curve = [point.value for point in client.get_metric_history(training.run_id, "val/ap50")]
    assert curve == pytest.approx([ap50 for _, ap50 in heard])
    again = train_apart(training, go_on=lambda *found: heard.append(found) or True, should_stop=never)
    assert (again.val_ap50, again.val_ap50_95) == (trained.val_ap50, trained.val_ap50_95)
    assert heard[3:] == heard[2:3]  # nothing was left to do but to say it again


def test_it_ends_when_no_more_is_wanted(training):
    assert train_apart(training, go_on=lambda epoch, _: epoch < 2, should_stop=never) is None
    assert "epoch 3/3" not in (training.scratch / LOG_FILE).read_text()


def test_what_was_told_to_stop_goes_on_from_its_last_epoch(training):
    heard = []
    with pytest.raises(InterruptedTrainingError, match="run the same command to go on"):
        train_apart(training, go_on=lambda *found: heard.append(found) or True, should_stop=lambda: len(heard) == 2)
    again = []
    train_apart(training, go_on=lambda *found: again.append(found) or True, should_stop=never)
    assert again[0][0] in (2, 3)
    assert again[-1][0] == 3


def test_a_process_that_was_killed_is_a_failure_that_says_so(training):
    def kill(epoch: int, _: float) -> bool:
        (child,) = multiprocessing.active_children()
        child.kill()
        return True

    with pytest.raises(TrainingFailedError, match=r"ended with exit code -9; see .*training\.log"):
        train_apart(training, go_on=kill, should_stop=never)


def test_a_ctrl_c_of_the_terminal_leaves_it_to_the_flow(training):
    """The signal reaches every process of a terminal; the training waits to be told."""
    heard = []

    def interrupt(*found: object) -> bool:
        for child in psutil.Process().children(recursive=True):
            child.send_signal(signal.SIGINT)
        heard.append(found)
        return True

    assert isinstance(train_apart(training, go_on=interrupt, should_stop=never), Trained)
    assert len(heard) == 3


def test_several_run_beside_each_other_in_threads(place, tmp_path):
    root, tracker, _ = place
    recipe = Preset(model=MODEL, train=TRAIN)
    results = {}

    def run(number: int) -> None:
        run_id = tracker.open_run(f"trial-{number}", {}, {"shelfgap.trial": str(number)})
        one = Training(root / "data", recipe, tmp_path / str(number), None, None, tracker, run_id, 1)
        results[number] = train_apart(one, go_on=lambda *_: True, should_stop=never)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0].val_ap50 == results[1].val_ap50


def test_what_cannot_be_trained_says_why(training, tmp_path):
    with pytest.raises(TrainingFailedError, match=r"none\.pt: no trained detector here"):
        train_apart(replace(training, initial=tmp_path / "none.pt"), go_on=lambda *_: True, should_stop=never)
    with pytest.raises(TrainingFailedError, match="none"):
        train_apart(replace(training, dataset=tmp_path / "none"), go_on=lambda *_: True, should_stop=never)


def test_it_ends_when_the_process_that_wants_it_is_gone(place, tmp_path):
    """As a kill -9 of the flow: nobody tells the training anything more."""
    root, tracker, run_id = place
    script = tmp_path / "flow.py"
    script.write_text(
        f"""
from pathlib import Path
from shelfgap_flows.apart import Training, train_apart
from shelfgap_training.params import Preset
from shelfgap_training.tracking import Tracker
from small_network import MODEL, TRAIN
if __name__ == "__main__":
    recipe = Preset(model=MODEL, train=TRAIN.model_copy(update={{"epochs": 500}}))
    tracker = Tracker({tracker.uri!r}, None, "shelfgap")
    training = Training(Path({str(root / "data")!r}), recipe, Path("scratch"), None, None, tracker, {run_id!r}, 1)
    train_apart(training, go_on=lambda *_: print("heard", flush=True) or True, should_stop=lambda: False)
"""
    )
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    flow = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment, cwd=tmp_path)
    assert flow.stdout.readline() == b"heard\n"
    children = psutil.Process(flow.pid).children(recursive=True)
    flow.kill()
    flow.communicate()
    _, alive = psutil.wait_procs(children, timeout=120)
    assert alive == []
