"""The release flow as its user runs it: a subprocess, a workspace, real DVC, Prefect, MLflow; minutes, so `slow`."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from patches_workspace import OPEN_GATE, wait_for

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]
EPOCHS = 6


def command(name, *arguments):
    return [str(BIN / name), *map(str, arguments)]


def run(name, *arguments, **options):
    return subprocess.run(command(name, *arguments), capture_output=True, text=True, check=False, **options)


def last_json(done):
    return json.loads(done.stdout.splitlines()[-1])


def small_params(path: Path, **floors: float) -> Path:
    """The default recipe, cut down to a network and a dataset of seconds, and floors that it can reach."""
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["synth"].update(count=40, shelves_per_scene=2)
    preset = values["presets"][values["preset"]]
    preset["model"].update(input_height=128, input_width=160, stage_channels=[8, 16, 24, 32])
    preset["model"].update(neck_channels=16, head_channels=24)
    preset["train"]["imitation"]["epochs"] = 0
    preset["train"].update(epochs=EPOCHS, warmup_epochs=1, validate_every_epochs=EPOCHS)
    values["shelf_day"].update(height=240, width=320, minutes_per_frame=10)
    values["quantize"].update(calibration_images=8)
    values["bench"].update(min_seconds=0.2, min_count=20)
    values["gate"].update(OPEN_GATE | floors)
    values["bundle"].update(golden_frames=1)
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    params = small_params(folder / "small.yaml")
    done = run("shelfgap", "release", "--workspace", folder / "ws", "--params", params, "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "ws", last_json(done), done


def test_the_last_line_is_the_release_as_json(released):
    root, result, done = released
    assert result["verdict"] == "pass"
    assert result["bundle"] == str(root / "release" / "bundle")
    assert {"ap50", "ap50_95", "precision", "recall", "f1", "images", "boxes", "precision_mode"} <= set(result)
    assert result["precision_mode"] == "int8"
    assert done.stdout.count("\n") == 1  # what stages say goes to standard error
    assert f"epoch {EPOCHS}/{EPOCHS}" in done.stderr


def test_the_bundle_proves_itself_and_scores_as_reported(released):
    root, result, _ = released
    for form in ("bundle", "bundle.tar"):
        verified = run("shelfgap-edge", "verify", root / "release" / form)
        assert verified.returncode == 0, verified.stderr
    for precision, reported in (("int8", result["evaluation"]), ("fp32", result["fp32_evaluation"])):
        arguments = ("--bundle", result["bundle"], "--dataset", root / "data" / "dataset", "--precision", precision)
        scored = last_json(run("shelfgap", "evaluate", *arguments, "--json"))
        assert scored == reported


def test_the_latency_report_names_the_models_that_were_measured(released):
    root, _, _ = released
    report = json.loads((root / "reports" / "latency.json").read_text())
    manifest = json.loads((root / "release" / "bundle" / "manifest.json").read_text())
    assert manifest["version"] in json.dumps(report)


# MLflow and Prefect each declare their tables in ways that SQLAlchemy 2.1 deprecates.
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_mlflow_holds_parameters_curves_dataset_and_bundle(released):
    from mlflow.tracking import MlflowClient

    root, result, _ = released
    client = MlflowClient(f"sqlite:///{root}/mlflow/mlflow.db")
    run_ = client.get_run(result["mlflow_run_id"])
    assert run_.info.status == "FINISHED"
    assert run_.data.params["train.epochs"] == str(EPOCHS)
    assert len(run_.data.tags["shelfgap.dataset_sha256"]) == 64
    assert run_.data.tags["shelfgap.verdict"] == "pass"
    for bound, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
        assert run_.data.metrics[f"test/int8/ap50{suffix}"] == pytest.approx(result["ap50"][bound])
    assert len(client.get_metric_history(result["mlflow_run_id"], "train/loss")) == EPOCHS
    kept = {entry.path for entry in client.list_artifacts(result["mlflow_run_id"])}
    assert {"bundle", "gallery", "model", "reports"} <= kept
    reports = {entry.path for entry in client.list_artifacts(result["mlflow_run_id"], "reports")}
    pages = (
        "evaluation.json",
        "evaluation.md",
        "curves.png",
        "worst_test.jpg",
        "gate.json",
        "gate.md",
        "gate.html",
        "latency.json",
    )
    assert {f"reports/{name}" for name in pages} <= reports


def test_prefect_holds_the_flow_run_and_its_summary(released):
    root, result, _ = released
    with sqlite3.connect(root / ".prefect" / "prefect.db") as store:
        ((state,),) = store.execute("select state_type from flow_run").fetchall()
        ((summary,),) = store.execute("select data from artifact where key = 'release-summary'").fetchall()
    store.close()
    assert state == "COMPLETED"
    assert result["mlflow_run_id"] in summary


def test_no_scene_stands_in_two_splits(released):
    root, _, _ = released
    checked = run("shelfgap", "data", "check", root / "data" / "dataset", "--json")
    assert checked.returncode == 0
    assert last_json(checked)["leaks"] == []


def test_a_second_release_retrains_nothing_and_a_changed_floor_only_judges_anew(released, tmp_path):
    root, result, _ = released
    detector = root / "models" / "detector.pt"
    before = detector.stat().st_mtime_ns
    again = run("shelfgap", "release", "--workspace", root, "--json")
    assert again.returncode == 0
    assert last_json(again) == result
    assert "epoch 1/" not in again.stderr
    strict = small_params(tmp_path / "strict.yaml", min_ap50=0.999)
    failed = run("shelfgap", "release", "--workspace", root, "--params", strict, "--json")
    assert failed.returncode == 1
    assert (last_json(failed)["verdict"], last_json(failed)["bundle"]) == ("fail", None)
    assert " ap50 is" in last_json(failed)["reason"]
    assert "Traceback" not in failed.stderr
    assert detector.stat().st_mtime_ns == before
    repaired = run("shelfgap", "release", "--workspace", root, "--params", small_params(tmp_path / "p.yaml"), "--json")
    assert repaired.returncode == 0
    assert detector.stat().st_mtime_ns == before


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_training_cut_short_goes_on_to_the_same_detector(released, tmp_path, blow):
    root, _, _ = released
    params = small_params(tmp_path / "small.yaml")
    log = tmp_path / "log"
    arguments = command("shelfgap", "release", "--workspace", tmp_path / "ws", "--params", params, "--json")
    with log.open("w") as stream:
        flow = subprocess.Popen(arguments, stdout=stream, stderr=stream, start_new_session=True)
        wait_for(lambda: "epoch 2/" in log.read_text(), flow)
        server = int((tmp_path / "ws" / ".prefect" / "server.pid").read_text())
        if blow == signal.SIGKILL:
            flow.kill()  # the flow alone: its training must notice
        else:
            os.killpg(flow.pid, blow)  # as a terminal does
        assert flow.wait(timeout=60) == (130 if blow == signal.SIGINT else -signal.SIGKILL)
    wait_for(lambda: not _processes_in(tmp_path / "ws"))
    assert not (tmp_path / "ws" / "models" / "detector.pt").exists()
    assert not (tmp_path / "ws" / "release").exists()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert not psutil.pid_exists(server)  # the next flow ends what a killed one left behind
    assert "resuming after epoch" in done.stderr
    assert "epoch 1/" not in done.stderr
    weights = [torch.load(w / "models" / "detector.pt", weights_only=True) for w in (root, tmp_path / "ws")]
    for name, value in weights[0]["state_dict"].items():
        torch.testing.assert_close(weights[1]["state_dict"][name], value, rtol=0, atol=0, msg=name)


def _processes_in(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").resolve() == folder.resolve():
                    found.append(entry.name)
            except OSError:
                continue
    return found


NOTEBOOKS = {
    "02_error_analysis": ("recall at 0.9 precision", "Labelled boxes", "% of the frame", "false alarms"),
    "03_latency_and_alerts": ("1500 cameras, a frame every 60 s each", "facings; ", "gaps alerted", "open_frames"),
}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebooks_run_on_the_workspace(released, tmp_path, name):
    root, _, _ = released
    notebook = REPOSITORY / "notebooks" / f"{name}.py"
    environment = {**os.environ, "SHELFGAP_WORKSPACE": str(root), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    target = tmp_path / "executed.ipynb"
    done = run("jupytext", "--to", "ipynb", "--execute", "--output", target, notebook, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads(target.read_text())["cells"]
    pictures = [o for cell in cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3
    for told in NOTEBOOKS[name]:
        assert told in str([cell.get("outputs") for cell in cells])


def test_the_quantization_benchmark_prints_its_table(released):
    root, _, _ = released
    done = run("python", REPOSITORY / "benchmarks" / "quantization.py", root, "--rounds", "2", "--counts", "8")
    assert done.returncode == 0, done.stderr[-3000:]
    named = {line.split("  ")[0] for line in done.stdout.splitlines()}
    assert {"fp32", "minmax 8", "entropy 8", "percentile 8", "x86", "x86-vnni", "arm", "as exported"} <= named
