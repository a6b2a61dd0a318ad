"""Runs in a real MLflow store: found again, nested, finished."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from shelfgap_training.tracking import Tracker, TrackingError

# MLflow declares its tables in a way that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    return Tracker(f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri(), "shelfgap")


def client(tracker):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=tracker.uri)


def test_an_unfinished_run_is_taken_up_and_a_finished_one_is_not(tracker):
    first = tracker.open_run("train", {"a": {"b": 1}}, {"shelfgap.training": "x"})
    assert client(tracker).get_run(first).data.params == {"a.b": "1"}
    assert tracker.open_run("train", {}, {"shelfgap.training": "x"}) == first
    tracker.finish(first)
    assert tracker.open_run("train", {}, {"shelfgap.training": "x"}) != first


def test_a_run_stands_below_its_parent(tracker):
    parent = tracker.open_run("sweep", {}, {"shelfgap.sweep": "s"})
    tags = {"shelfgap.sweep": "s", "shelfgap.trial": "0"}
    child = tracker.open_run("trial", {"train.learning_rate": 0.5}, tags, parent)
    assert child != parent
    assert tracker.tag(child, "mlflow.parentRunId") == parent
    assert tracker.open_run("trial", {}, tags, parent) == child


def test_a_finished_run_is_reopened_by_its_id(tracker):
    run_id = tracker.open_run("again", {}, {"shelfgap.sweep": "again"})
    tracker.finish(run_id, "FAILED")
    assert client(tracker).get_run(run_id).info.status == "FAILED"
    assert tracker.reopen(run_id)
    assert client(tracker).get_run(run_id).info.status == "RUNNING"
    assert not tracker.reopen("0" * 32)
    assert not tracker.reopen(None)


def test_a_training_that_another_store_recorded_is_stood_for_by_one_run(tracker, tmp_path):
    mine = tracker.open_run("mine", {}, {"who": "me"})
    assert tracker.run_for(mine, "elsewhere") == mine
    other = tracker.run_for("0" * 32, "elsewhere")
    tracker.finish(other)
    assert tracker.run_for("0" * 32, "elsewhere") == other != tracker.run_for("1" * 32, "elsewhere")
    assert client(tracker).get_run(other).data.tags["shelfgap.trained_as"] == "0" * 32
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=r"mlflow\.db: MLflow cannot be used"):
        replace(tracker, uri=f"sqlite:///{tmp_path}/file/mlflow.db").run_for(mine, "elsewhere")


def test_a_store_that_cannot_be_used_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    tracker = Tracker(f"sqlite:///{tmp_path}/file/mlflow.db", None, "shelfgap")
    with pytest.raises(TrackingError, match=r"mlflow\.db: MLflow cannot be used"):
        tracker.open_run("train", {}, {})


def test_a_run_that_somebody_removed_is_said_in_one_line(tracker):
    tracker.open_run("train", {}, {})
    with pytest.raises(TrackingError, match=r"mlflow\.db: MLflow cannot be used \(.*Run with id=0+ not found"):
        tracker.finish("0" * 32)


def test_curves_end_where_the_store_does_and_nothing_else(tmp_path, caplog):
    store = tmp_path / "mlflow.db"
    tracker = Tracker(f"sqlite:///{store}", (tmp_path / "artifacts").as_uri(), "shelfgap")
    run_id = tracker.open_run("train", {}, {})
    curves = tracker.lightning_logger(run_id)
    curves.log_metrics({"train/loss": 1.0}, 0)
    curves.finalize("success")
    assert client(tracker).get_run(run_id).data.metrics == {"train/loss": 1.0}
    assert client(tracker).get_run(run_id).info.status == "FINISHED"
    store.write_bytes(b"no database " * 999)
    with caplog.at_level(logging.WARNING, "shelfgap_training"):
        curves.log_metrics({"train/loss": 0.5}, 1)
        curves.log_metrics({"train/loss": 0.4}, 2)
        curves.finalize("failed")
    assert [r.message.splitlines()[1:] for r in caplog.records if "its curves end here" in r.message] == [[]]
    with pytest.raises(TrackingError, match=r"mlflow\.db: MLflow cannot be used"):
        tracker.log(run_id, {"train_seconds": 1.0})
