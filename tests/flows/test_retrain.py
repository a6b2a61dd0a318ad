"""Retraining as its user runs it: on new versions of the data, from the champion and from scratch, through the gate."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest
from patches_workspace import patches_params, processes_below, shelfgap, start, wait_for
from shelfgap_flows.params import load_params
from shelfgap_flows.params_file import save_params
from shelfgap_flows.retrain import RetrainError, point_at_data
from shelfgap_flows.workspace import open_workspace
from small_network import dark_patches

pytestmark = pytest.mark.slow

EPOCHS = 6
RIGHTS = ("--license", "CC0-1.0", "--consent", "synthetic", "--no-redact")


def ingest(workspace: Path, pictures: int, *options: str) -> tuple[int, dict, str]:
    """Make a version of so many pictures; the first ones are always the same."""
    source = workspace.parent / f"patches-{pictures}"
    dark_patches(source, pictures, 0, 0)
    return shelfgap("data", "ingest", source, "--name", source.name, *RIGHTS, "--workspace", workspace, *options)


def mislabel(version: Path, *splits: str) -> None:
    """Move the labels of some splits to where no patch is."""
    document = json.loads((version / "annotations.json").read_text())
    wrong = {image["id"] for image in document["images"] if image["split"] in splits}
    for label in document["annotations"]:
        if label["image_id"] in wrong:
            label["bbox"] = [2, 84, 20, 10]
    (version / "annotations.json").write_text(json.dumps(document))


def manifest(workspace: Path) -> dict:
    return json.loads((workspace / "release" / "bundle" / "manifest.json").read_text())


@pytest.fixture(scope="module")
def first(tmp_path_factory, prefect_db):
    """A workspace with a first version of the data, trained and released."""
    root = tmp_path_factory.mktemp("retrain")
    workspace = root / "w"
    open_workspace(workspace, params=patches_params(root / "given.yaml", epochs=EPOCHS))
    code, result, err = ingest(workspace, 30)
    assert (code, result["version"]) == (0, "v0001"), err
    code, result, err = shelfgap("retrain", "--workspace", workspace)
    assert code == 0, err
    return workspace, result, err


def test_without_a_champion_one_is_trained_from_scratch(first):
    workspace, result, err = first
    assert (result["verdict"], result["chosen"], result["champion"]) == ("pass", "from-scratch", None)
    assert "from scratch only: there is no champion yet" in err
    assert list(result["comparison"]["ap50"]) == ["from-scratch"]
    assert result["release"]["bundle"] == str(workspace / "release" / "bundle")
    assert result["source"] == "data/versions/v0001"


def test_on_the_data_of_the_champion_nothing_is_done(first):
    workspace, _, _ = first
    before = manifest(workspace)
    code, result, err = shelfgap("retrain", "--workspace", workspace)
    assert (code, result["verdict"]) == (0, "up to date"), err
    assert f"the released bundle {before['version']} was trained on this data" in result["reason"]
    assert "epoch" not in err
    assert manifest(workspace) == before


@pytest.fixture(scope="module")
def second(first):
    """The same workspace after an ingestion that retrained."""
    workspace, _, _ = first
    champion = manifest(workspace)
    code, result, err = ingest(workspace, 42, "--then-retrain")
    assert code == 0, err
    assert (result["version"], result["added"]) == ("v0002", 12)
    return workspace, champion, result["retraining"], err


def test_an_ingestion_brings_two_candidates_compared_on_the_same_images(second):
    workspace, champion, result, err = second
    assert (result["verdict"], result["champion"]) == ("pass", champion["version"])
    comparison = result["comparison"]
    assert list(comparison["ap50"]) == ["champion", "from-scratch", "from-champion"]
    values = {name: figure["value"] for name, figure in comparison["ap50"].items()}
    gain = comparison["from_champion_minus_from_scratch"]
    assert gain["value"] == pytest.approx(values["from-champion"] - values["from-scratch"], abs=1e-5)
    assert gain["low"] <= gain["value"] <= gain["high"]
    assert (result["chosen"] == "from-scratch") == (gain["high"] < 0)
    assert comparison["images"] == result["release"]["dataset"]["val_images"]
    assert err.count(f"epoch {EPOCHS}/{EPOCHS}") == 2  # each trained once
    text = (workspace / "reports" / "retrain.md").read_text()
    assert "| from-champion |" in text
    assert "On test images, INT8: AP50" in text


def test_what_was_shipped_is_what_params_yaml_says_and_a_release_changes_nothing(second):
    workspace, champion, result, _ = second
    shipped = manifest(workspace)
    assert shipped["version"] != champion["version"]
    gate = json.loads((workspace / "release" / "bundle" / "gate.json").read_text())
    assert (gate["candidate"]["version"], gate["champion"]["version"]) == (shipped["version"], champion["version"])
    params = load_params(workspace / "params.yaml")
    assert params.dataset.source == "data/versions/v0002"
    if result["chosen"] == "from-champion":
        assert params.train.initial_weights == f"models/champions/{champion['hashes']['detector'][:16]}.pt"
    else:
        assert params.train.initial_weights is None
    code, released, err = shelfgap("release", "--workspace", workspace)
    assert (code, released["verdict"]) == (0, "pass")
    assert released["evaluation"] == result["release"]["evaluation"]
    assert "epoch" not in err
    assert manifest(workspace) == shipped


# MLflow declares its tables in a way that SQLAlchemy 2.1 deprecates
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_mlflow_knows_the_candidates_and_prefect_the_result(second, prefect_db):
    from mlflow.tracking import MlflowClient

    workspace, _, result, _ = second
    client = MlflowClient(f"sqlite:///{workspace}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("shelfgap").experiment_id
    found = client.search_runs([experiment], f"tags.`shelfgap.retraining` = 'retrain-{result['key']}'")
    assert {run.data.tags["shelfgap.start"] for run in found} == {"from-scratch", "from-champion"}
    assert {run.info.status for run in found} == {"FINISHED"}
    for run in found:
        value = result["comparison"]["ap50"][run.data.tags["shelfgap.start"]]["value"]
        assert run.data.metrics["val/fp32/ap50"] == pytest.approx(value, abs=1e-5)
    (chosen,) = (run for run in found if run.data.tags["shelfgap.start"] == result["chosen"])
    assert chosen.info.run_id == result["release"]["mlflow_run_id"]
    assert chosen.data.tags["shelfgap.verdict"] == "pass"
    with closing(sqlite3.connect(prefect_db)) as store:
        texts = store.execute("select data from artifact where key = 'retraining' order by created").fetchall()
    assert result["reason"] in texts[-1][0]


def set_floor(workspace: Path, min_ap50: float) -> None:
    params = load_params(workspace / "params.yaml")
    gate = params.gate.model_copy(update={"min_ap50": min_ap50})
    save_params(workspace / "params.yaml", params.model_copy(update={"gate": gate}))


def test_a_candidate_that_does_not_pass_leaves_the_bundle_and_is_not_trained_again(second):
    workspace, _, _, _ = second
    shipped, weights = manifest(workspace), (workspace / "release" / "detector.pt").read_bytes()
    assert ingest(workspace, 54)[1]["version"] == "v0003"
    mislabel(workspace / "data" / "versions" / "v0003", "test")
    set_floor(workspace, 0.5)
    code, failed, err = shelfgap("retrain", "--workspace", workspace)
    assert (code, failed["verdict"]) == (1, "fail"), err
    assert re.search(r"the gate did not pass \((int8|fp32) ap50 is", failed["reason"])
    assert failed["release"]["bundle"] is None
    assert (manifest(workspace), (workspace / "release" / "detector.pt").read_bytes()) == (shipped, weights)
    code, again, err = shelfgap("retrain", "--workspace", workspace)
    assert (code, again) == (1, failed)
    assert "Running stage 'train'" not in err
    set_floor(workspace, 0)
    code, passed, err = shelfgap("retrain", "--workspace", workspace)
    assert (code, passed["verdict"]) == (0, "pass"), err
    assert passed["comparison"] == failed["comparison"]
    assert "epoch" not in err  # both trainings were kept
    assert manifest(workspace) != shipped


def test_a_champion_that_finds_more_stays(second):
    """Candidates that learned from wrong labels."""
    workspace, _, _, _ = second
    shipped = manifest(workspace)
    ingest(workspace, 60)
    mislabel(workspace / "data" / "versions" / "v0004", "train")
    code, result, err = shelfgap("retrain", "--workspace", workspace)
    assert (code, result["verdict"], result["release"]) == (1, "fail", None), err
    assert re.search(r"it finds less than the champion \(-0\.\d+ AP50 \[.*, -0\..*\]\), which stays", result["reason"])
    assert result["comparison"]["minus_champion"][result["chosen"]]["high"] < 0
    assert manifest(workspace) == shipped


def test_a_retraining_that_was_killed_goes_on(second, tmp_path):
    workspace, _, _, _ = second
    dark_patches(tmp_path / "more", 66, 0, 0)
    log = tmp_path / "log"
    process = start("retrain", "--workspace", workspace, "--dataset", tmp_path / "more", "--json", log=log)
    wait_for(lambda: log.read_text().count(f"epoch 3/{EPOCHS}") == 2, process)  # of the second candidate
    below = processes_below(process)
    process.kill()  # the flow alone: its training must notice
    process.wait()
    _, alive = psutil.wait_procs(below, timeout=120)
    assert alive == []
    code, result, err = shelfgap("retrain", "--workspace", workspace, "--dataset", tmp_path / "more")
    assert (code, result["verdict"]) == (0, "pass"), err
    assert "resuming after epoch" in err
    assert f"epoch 1/{EPOCHS}" not in err
    assert err.count(f"epoch {EPOCHS}/{EPOCHS}") == 1
    assert list(result["comparison"]["ap50"]) == ["champion", "from-scratch", "from-champion"]


def test_a_folder_that_is_not_there_does_not_get_into_params_yaml(tmp_path):
    workspace = open_workspace(tmp_path / "w")
    before = workspace.params_file.read_text()
    with pytest.raises(RetrainError, match="none: no such folder; --dataset takes a folder of photographs with labels"):
        point_at_data(workspace, tmp_path / "none")
    assert workspace.params_file.read_text() == before


def test_it_is_served_as_a_deployment_with_a_schedule(second, monkeypatch):
    workspace, _, _, _ = second
    monkeypatch.delenv("PREFECT_API_URL")  # it keeps a server of its own
    log = workspace.parent / "served.log"
    process = start("retrain", "--workspace", workspace, "--serve", "--cron", "30 2 * * *", log=log)
    note = workspace / ".prefect" / "lasting_server.pid"
    wait_for(lambda: note.exists() and "--port" in psutil.Process(int(note.read_text())).cmdline(), process)
    command = psutil.Process(int(note.read_text())).cmdline()
    api = f"http://127.0.0.1:{command[command.index('--port') + 1]}/api"
    wait_for(lambda: "being served" in log.read_text(), process)
    (deployment,) = httpx.post(f"{api}/deployments/filter", json={}).json()
    assert (deployment["name"], deployment["schedules"][0]["schedule"]["cron"]) == ("w", "30 2 * * *")

    def run_of(state):
        query = {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}, "state": {"type": {"any_": [state]}}}}
        return httpx.post(f"{api}/flow_runs/filter", json=query).json()

    wait_for(lambda: run_of("SCHEDULED"), process)  # of the nights to come
    httpx.post(f"{api}/deployments/{deployment['id']}/create_flow_run", json={}).raise_for_status()
    wait_for(lambda: run_of("COMPLETED") or run_of("FAILED"), process)
    assert run_of("COMPLETED"), log.read_text()[-3000:]
    below = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=120) == 0
    _, alive = psutil.wait_procs(below, timeout=120)
    assert alive == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cron", "0 3 * * *"), "--cron goes with --serve"),
        (("--serve", "--cron", "every night"), "five fields such as"),
        (("--serve", "--json"), "no result to print as JSON"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_exit_code_2(tmp_path, arguments, message):
    with start("retrain", "--workspace", tmp_path / "w", *arguments) as process:
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())
