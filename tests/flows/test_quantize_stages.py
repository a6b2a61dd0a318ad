"""The stages around INT8 on a real detector: quantize, its sensitivity, and which model a bundle starts with."""

from __future__ import annotations

import json
import shutil

import onnx
import pytest
import yaml
from patches_workspace import OPEN_GATE
from shelfgap_edge.contract import MODEL_FILES, read_manifest
from shelfgap_edge.verify import verify_bundle
from shelfgap_export.gate.entrant import load_entrant
from shelfgap_export.gate.latency import LatencyError
from shelfgap_export.onnx_export import export_core, with_float_front_end
from shelfgap_flows import cli_stages, measure, stages
from shelfgap_flows.entrants import candidate_of, champion_of, keep_champion
from shelfgap_flows.gate import gate_stage, measured_device_class, pairs_stage
from shelfgap_flows.params import workspace_params
from shelfgap_flows.settings import Settings, registry_for
from shelfgap_flows.stage_files import CORE_FILE, StageError
from shelfgap_flows.workspace import Workspace
from small_network import MODEL

# MLflow declares its tables in a way that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """A workspace as it is after its export."""
    root = tmp_path_factory.mktemp("exported")
    workspace = Workspace(root)
    params = workspace_params(root).model_dump(mode="json")
    params["quantize"] |= {"calibration_images": 12, "exclude": ["stage8/0"], "frame_sizes": [[144, 192], [96, 129]]}
    params["evaluation"]["resamples"] = 20
    workspace.params_file.write_text(yaml.safe_dump(params))
    shutil.copytree(trained.root, workspace.dataset)
    for folder in (workspace.models, workspace.reports):
        folder.mkdir()
    (workspace.models / "detector.pt").write_bytes(b"only its hash is asked for")
    core = export_core(trained.model)
    onnx.save(core, workspace.models / CORE_FILE)
    onnx.save(with_float_front_end(core, MODEL.input_size), workspace.models / MODEL_FILES["fp32"])
    report = {"classes": ["gap"], "input_size": MODEL.input_size, "dataset_sha256": "0" * 64}
    report |= {"parameters": 1_000, "macs": 1_000_000}
    (workspace.reports / "training.json").write_text(json.dumps({"epochs": 3, "seconds": 4.0, "device": "cpu"}))
    (workspace.reports / "export.json").write_text(json.dumps(report))
    return workspace


@pytest.fixture(scope="module")
def quantized(exported):
    return stages.quantize_stage(exported)


def test_the_report_says_what_is_int8_and_which_frames_are_known(exported, quantized):
    assert quantized["float_convolutions"] == 1
    assert quantized["int8_convolutions"] > 5
    assert quantized["calibration_images"] == 12
    assert quantized["known_frame_sizes"] == [[144, 192]]  # 129 columns do not divide evenly
    assert quantized["parity_fp32_int8"]["detections"] > 0
    assert json.loads((exported.reports / "quantize.json").read_text()) == quantized
    assert (exported.models / MODEL_FILES["int8"]).is_file()


def test_sensitivity_ranks_the_layers_and_changes_no_model(exported, quantized, capsys):
    before = (exported.models / MODEL_FILES["int8"]).read_bytes()
    cli_stages.quantize(sensitivity=True, workspace=exported.root, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((exported.reports / "sensitivity.json").read_text())
    noise = [row["alone_sqnr_db"] for row in report["layers"]]
    assert noise == sorted(noise)
    assert len(noise) == quantized["int8_convolutions"]
    assert "stage8/0/Conv" not in {row["layer"] for row in report["layers"]}
    assert (exported.models / MODEL_FILES["int8"]).read_bytes() == before
    table = cli_stages._sensitivity_rows(report)
    assert [line.split()[0] for line in table[3:]] == [row["layer"] for row in report["layers"]]


def released(exported, ratio):
    """Release the workspace with a latency ratio of INT8 to fp32; returns the manifest."""
    if not (exported.reports / "evaluation.json").is_file():
        measure.evaluate_stage(exported)
    latency = {"ratios": [{"name": "int8", "reference": "fp32", "p50": {"inference": ratio}}]}
    (exported.reports / "latency.json").write_text(json.dumps(latency))
    gate = {"verdict": "pass", "reason": "", "candidate": {"identity": candidate_of(exported).identity}}
    (exported.reports / "gate.json").write_text(json.dumps(gate))
    stages.bundle_stage(exported)
    return read_manifest(exported.bundle)


@pytest.mark.parametrize(("ratio", "precision"), [(0.5, "int8"), (1.2, "fp32")])
def test_a_bundle_starts_with_what_was_measured_to_be_faster(exported, quantized, ratio, precision):
    manifest = released(exported, ratio)
    assert (manifest.default_precision, manifest.device_class) == (precision, "x86")
    assert verify_bundle(exported.bundle).passed


@pytest.fixture(scope="module")
def superseded(exported, quantized):
    """The workspace with a released bundle and, as its candidate, the same models at another operating point."""
    released(exported, 0.5)
    identity = candidate_of(exported).identity
    registry = registry_for(exported, Settings(mlflow_tracking_uri=None))
    keep_champion(exported, registry)
    assert champion_of(exported) is None  # the candidate is what was released
    evaluation = exported.reports / "evaluation.json"
    report = json.loads(evaluation.read_text())
    report["score_thresholds"]["gap"] += 0.01
    evaluation.write_text(json.dumps(report))
    keep_champion(exported, registry)
    return exported, identity


def test_the_released_bundle_becomes_the_champion_of_another_candidate(superseded):
    workspace, released_identity = superseded
    assert champion_of(workspace).identity == released_identity != candidate_of(workspace).identity
    with pytest.raises(StageError, match=r"gate\.json: judged .*, models and thresholds are .* now"):
        stages.bundle_stage(workspace)  # the verdict is on another operating point


def test_the_stages_judge_it_against_the_champion(superseded):
    workspace, _ = superseded
    params = yaml.safe_load(workspace.params_file.read_text())
    params["gate"].update(OPEN_GATE)
    workspace.params_file.write_text(yaml.safe_dump(params))
    with pytest.raises(StageError, match=r"pairs\.json: not there yet; run: shelfgap bench --pairs"):
        gate_stage(workspace)
    pairs_stage(workspace)
    report = gate_stage(workspace)
    assert (report["verdict"], report["champion"]["identity"]) == ("pass", champion_of(workspace).identity)
    assert report["candidate"]["identity"] == candidate_of(workspace).identity
    assert json.loads((workspace.reports / "gate.json").read_text()) == report
    bundle = stages.bundle_stage(workspace)
    assert load_entrant(workspace.bundle).identity == report["candidate"]["identity"]
    assert bundle["version"] == report["candidate"]["version"]
    pairs = json.loads((workspace.reports / "pairs.json").read_text())
    pairs["latency"]["candidate"] = "0" * 64
    (workspace.reports / "pairs.json").write_text(json.dumps(pairs))
    with pytest.raises(LatencyError, match="not that of this candidate and champion; measure again"):
        gate_stage(workspace)


def test_the_stages_judge_a_budget_where_the_environment_says_what_the_machine_is(superseded, monkeypatch, capsys):
    workspace, _ = superseded
    params = yaml.safe_load(workspace.params_file.read_text())
    params["gate"].update(OPEN_GATE)
    params["gate"]["latency"] = {**OPEN_GATE["latency"], "budgets_ms": {"camera": 1e-3}}
    workspace.params_file.write_text(yaml.safe_dump(params))
    monkeypatch.setenv("SHELFGAP_DEVICE_CLASS", "camera")
    cli_stages.bench(pairs=True, workspace=workspace.root, as_json=True)
    assert measured_device_class(workspace) == "camera"
    report = gate_stage(workspace)
    assert (report["verdict"], report["device_class"]) == ("fail", "camera")
    assert "on camera, budget 0.001 ms" in report["reason"]
    monkeypatch.setenv("SHELFGAP_DEVICE_CLASS", "toaster")
    with pytest.raises(StageError, match="no latency budget for device class 'toaster'"):
        cli_stages.bench(pairs=True, workspace=workspace.root)
    capsys.readouterr()

    pairs = json.loads((workspace.reports / "pairs.json").read_text())
    (workspace.reports / "pairs.json").write_text(json.dumps({**pairs, "candidate": "0" * 64}))
    with pytest.raises(StageError, match=r"pairs\.json: measured another candidate than that of now"):
        gate_stage(workspace)
    monkeypatch.delenv("SHELFGAP_DEVICE_CLASS")
    cli_stages.bench(pairs=True, workspace=workspace.root, as_json=True)
    (budget,) = (check for check in gate_stage(workspace)["checks"] if check["kind"] == "budget")
    assert budget["verdict"] == "not judged"
