"""A sweep as its user runs it: trials, MLflow, the best parameters; kills, Ctrl-C, failures, several at a time."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from contextlib import closing

import psutil
import pytest
from patches_workspace import patches_params, processes_below, shelfgap, start, wait_for
from shelfgap_flows.params import load_params
from shelfgap_flows.workspace import open_workspace
from small_network import TRAIN, dark_patches

pytestmark = pytest.mark.slow

RATE = "train.learning_rate"


@pytest.fixture(scope="module")
def patches(tmp_path_factory, prefect_db):
    root = tmp_path_factory.mktemp("sweep") / "patches"
    dark_patches(root, 14, 6, 6)
    return root


def a_workspace(root, source, **sections):
    params = patches_params(root / "given.yaml", source, **sections)
    open_workspace(root / "w", params=params)
    return root / "w"


@pytest.fixture(scope="module")
def swept(patches, tmp_path_factory):
    workspace = a_workspace(tmp_path_factory.mktemp("swept"), patches)
    code, result, err = shelfgap("sweep", "--workspace", workspace)
    assert code == 0, err
    return workspace, result


def test_the_recipe_is_the_first_trial_and_the_best_one_is_named(swept):
    _, result = swept
    trials = result["trials"]
    assert [trial["number"] for trial in trials] == [0, 1, 2]
    assert trials[0]["values"][RATE] == TRAIN.learning_rate
    assert result["recipe"] == trials[0]
    assert {trial["state"] for trial in trials} <= {"complete", "pruned"}
    complete = [trial for trial in trials if trial["state"] == "complete"]
    assert result["best"]["val_ap50"] == max(trial["val_ap50"] for trial in complete)


def test_the_best_parameters_are_those_of_the_workspace_but_for_what_was_searched(swept):
    workspace, result = swept
    before, best = load_params(workspace / "params.yaml"), load_params(workspace / "sweep" / "best_params.yaml")
    assert best.train.learning_rate == result["best"]["values"][RATE]
    assert best.train.epochs == before.train.epochs
    values = result["best"]["values"]
    assert best.train.loss.box_weight == values["train.loss.box_weight"]
    assert best.train.augment.mosaic_probability == values["train.augment.mosaic_probability"]
    assert best.model_copy(update={"presets": before.presets}) == before


# MLflow declares its tables in a way that SQLAlchemy 2.1 deprecates
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_mlflow_holds_the_trials_below_the_sweep(swept):
    from mlflow.tracking import MlflowClient

    workspace, result = swept
    client = MlflowClient(f"sqlite:///{workspace}/mlflow/mlflow.db")
    parent = client.get_run(result["mlflow_run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["val/ap50"] == pytest.approx(result["best"]["val_ap50"])
    assert parent.data.params["preset"] == "fast"
    assert [entry.path for entry in client.list_artifacts(parent.info.run_id, "sweep")] == ["sweep/best_params.yaml"]
    for trial in result["trials"]:
        run = client.get_run(trial["mlflow_run_id"])
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["shelfgap.state"] == trial["state"]
        assert run.info.status == "FINISHED"
        assert float(run.data.params[RATE]) == trial["values"][RATE]
        curve = [point.value for point in client.get_metric_history(run.info.run_id, "val/ap50")]
        assert len(curve) >= trial["epochs"]
        assert curve[-1] == pytest.approx(trial["val_ap50"])


def test_prefect_holds_the_table(swept, prefect_db):
    _, result = swept
    with closing(sqlite3.connect(prefect_db)) as store:
        ((table,),) = store.execute("select data from artifact where key = 'sweep-trials'").fetchall()
        runs = store.execute("select count(*) from task_run where name like 'trial%'").fetchall()
    assert runs == [(3,)]
    assert f"{result['best']['val_ap50']:.4f}" in table


def test_the_same_again_trains_nothing_and_more_trials_only_the_new(swept):
    workspace, result = swept
    code, again, err = shelfgap("sweep", "--workspace", workspace)
    assert (code, again) == (0, result), err
    assert "trial 0" not in err
    code, more, err = shelfgap("sweep", "--workspace", workspace, "--trials", 4)
    assert code == 0, err
    assert more["trials"][:3] == result["trials"]
    assert len(more["trials"]) == 4
    assert more["mlflow_run_id"] == result["mlflow_run_id"]
    assert not any((workspace / ".scratch").glob("sweep-*/*"))


def test_a_study_of_a_name_is_not_mixed_with_another_recipe(swept, tmp_path):
    workspace, result = swept
    other = patches_params(tmp_path / "other.yaml", load_params(workspace / "params.yaml").dataset.source)
    other.write_text(other.read_text().replace("warmup_epochs: 1", "warmup_epochs: 2"))
    before = (workspace / "params.yaml").read_bytes()
    try:
        open_workspace(workspace, params=other)
        code, _, err = shelfgap("sweep", "--workspace", workspace, "--study", result["study"])
    finally:
        (workspace / "params.yaml").write_bytes(before)
    assert code == 1
    assert f"study {result['study']} was begun with other parameters, data or code; name another with --study" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_sweep_cut_short_goes_on_to_the_same_trials(swept, patches, tmp_path, blow):
    _, unbroken = swept
    # the last one that is not pruned at once: which that is depends on the processor's rounding
    cut = max(trial["number"] for trial in unbroken["trials"] if trial["epochs"] > 2)
    workspace = a_workspace(tmp_path, patches)
    log = tmp_path / "log"
    process = start("sweep", "--workspace", workspace, "--json", log=log)
    wait_for(lambda: f"trial {cut}: epoch 2 of 4" in log.read_text(), process)
    below = processes_below(process)
    if blow == signal.SIGKILL:
        process.kill()  # the flow alone: its trial must notice
    else:
        os.killpg(process.pid, blow)  # as a terminal does
    assert process.wait(timeout=120) == (130 if blow == signal.SIGINT else -signal.SIGKILL)
    _, alive = psutil.wait_procs(below, timeout=120)
    assert alive == []
    if blow == signal.SIGINT:
        assert "shelfgap: interrupted; run the same command to go on from there" in log.read_text()
    code, result, err = shelfgap("sweep", "--workspace", workspace)
    assert code == 0, err
    assert not any(f"trial {number} " in err or f"trial {number}: " in err for number in range(cut))
    assert f"trial {cut} goes on" in err
    assert f"trial {cut}: epoch 1 of 4" not in err

    def of(trials):
        return [{key: value for key, value in trial.items() if key != "mlflow_run_id"} for trial in trials]

    assert of(result["trials"]) == of(unbroken["trials"])
    assert len({trial["mlflow_run_id"] for trial in result["trials"]}) == 3


def test_trials_that_fail_are_recorded_and_the_others_go_on(patches, tmp_path):
    """More detections than the network has cells is refused by the training alone, not by params.yaml."""
    space = {"model.max_detections": {"low": 10, "high": 1000, "log": False}}
    workspace = a_workspace(tmp_path, patches, sweep={"space": space, "concurrency": 2, "trials": 4})
    code, result, err = shelfgap("sweep", "--workspace", workspace)
    assert code == 0, err
    failed = [trial for trial in result["trials"] if trial["state"] == "failed"]
    assert failed
    assert all("expected at least max_detections" in trial["reason"] for trial in failed)
    most = result["best"]["values"]["model.max_detections"]
    assert all(trial["values"]["model.max_detections"] > most for trial in failed)
    with closing(sqlite3.connect(workspace / "mlflow" / "mlflow.db")) as store:
        states = store.execute("select status, count(*) from runs group by status").fetchall()
    assert dict(states)["FAILED"] == len(failed)


def test_a_sweep_in_which_none_succeeds_says_why(patches, tmp_path):
    space = {"model.max_detections": {"low": 900, "high": 1000, "log": False}}
    workspace = a_workspace(tmp_path, patches, sweep={"space": space, "trials": 1})
    code, result, err = shelfgap("sweep", "--workspace", workspace)
    assert (code, result) == (1, {})
    assert re.search(r"none of 1 trials succeeded; the last one: .*an input of \d+x\d+ has \d+ cells", err)
    assert err.splitlines()[-1].startswith(("shelfgap: error: ", "Stopping temporary server"))
    assert not (workspace / "sweep" / "best_params.yaml").exists()
