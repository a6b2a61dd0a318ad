"""`shelfgap bundle rebuild`: the same bits from what a bundle records, or by how much they are off."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from functools import partial

import onnx
import pytest
import typer
from patches_workspace import patches_params
from shelfgap_edge.bundle import compute_sums
from shelfgap_edge.contract import FORMAT_VERSION, MANIFEST_FILE, MODEL_FILES, SUMS_FILE, read_manifest
from shelfgap_flows import measure, stages
from shelfgap_flows import rebuild as rebuilding
from shelfgap_flows.cli_bundle import rebuild as command
from shelfgap_flows.entrants import candidate_of
from shelfgap_flows.hashes import file_hash
from shelfgap_flows.provenance import LIBRARIES, commit_of
from shelfgap_flows.rebuild import RebuildError, rebuild
from shelfgap_flows.settings import Settings
from shelfgap_flows.workspace import Workspace
from shelfgap_training import train as training
from small_network import dark_patches

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*Checkpoint directory.*",
)


@pytest.fixture(scope="module", autouse=True)
def no_workers():
    """Other tests leave threads in this process, which forked workers would not survive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", partial(training.train, workers=0))
        yield


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A workspace whose small detector went through all stages."""
    root = tmp_path_factory.mktemp("released")
    workspace = Workspace(root)
    patches_params(workspace.params_file)
    dark_patches(workspace.dataset)
    stages.train_stage(workspace, Settings())
    for stage in (stages.export_stage, stages.quantize_stage, measure.evaluate_stage, measure.bench_stage):
        stage(workspace)
    gate = {"verdict": "pass", "reason": "", "candidate": {"identity": candidate_of(workspace).identity}}
    (workspace.reports / "gate.json").write_text(json.dumps(gate))
    stages.bundle_stage(workspace)
    return workspace


@pytest.fixture
def copied(released, tmp_path):
    """Return a copy of the bundle with changes to its manifest, checksums made anew."""

    def copied(**changes):
        target = tmp_path / "bundle"
        shutil.copytree(released.bundle, target)
        (target / MANIFEST_FILE).write_text(replace(read_manifest(target), **changes).to_json())
        (target / SUMS_FILE).unlink()
        (target / SUMS_FILE).write_text(compute_sums(target))
        return target

    return copied


@pytest.fixture
def trained_already(released, monkeypatch):
    """The training of the release stands in for the one of a rebuild, which is the same."""

    def train(draft, settings):
        for folder in ("models", "reports"):
            (draft.root / folder).mkdir(exist_ok=True)
        shutil.copyfile(released.models / "detector.pt", draft.models / "detector.pt")
        shutil.copyfile(released.reports / "training.json", draft.reports / "training.json")
        return json.loads((draft.reports / "training.json").read_text())

    monkeypatch.setattr(rebuilding, "train_stage", train)


def test_a_bundle_records_what_a_rebuild_needs(released):
    manifest = read_manifest(released.bundle)
    assert manifest.format_version == FORMAT_VERSION
    assert manifest.provenance["params"] == released.params().model_dump(mode="json")
    made = manifest.provenance["training"]
    assert set(made["libraries"]) == set(LIBRARIES)
    assert made["libraries"]["torch"]
    assert made["threads"] >= 1
    assert {"commit", "dirty", "python", "machine", "instruction_set", "device"} <= made.keys()
    assert len(manifest.hashes["weights"]) == 64


def test_the_commit_is_that_of_the_repository_that_tracks_the_source(tmp_path):
    source = tmp_path / "package.py"

    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", "-C", tmp_path, *who, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    source.write_text("1")
    assert commit_of(source) == (None, None)  # no repository
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "first")
    assert commit_of(source) == (None, None)  # somebody else's
    git("add", source.name)
    git("commit", "--quiet", "-m", "second")
    assert commit_of(source) == (git("rev-parse", "HEAD"), False)
    source.write_text("2")
    assert commit_of(source) == (git("rev-parse", "HEAD"), True)


def test_a_rebuild_gives_the_same_bits(released, capsys):
    command(released.bundle, workspace=released.root, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "bit-equal"
    assert {one["name"]: one["verdict"] for one in report["comparisons"]} == {
        "weights": "bit-equal",
        "int8": "bit-equal",
        "fp32": "bit-equal",
    }
    same = {one["name"] for one in report["circumstances"] if one["same"]}
    assert {"data", "parameters", "code", "python", "libraries", "machine", "device", "threads"} <= same
    assert not list(released.scratch.glob("rebuild-*"))


def test_after_an_interruption_the_training_is_not_repeated(released, monkeypatch, trained_already):
    def interrupted(draft):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rebuilding, "quantize_stage", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rebuild(released.bundle, released, Settings())
    assert list(released.scratch.glob("rebuild-*"))
    monkeypatch.setattr(rebuilding, "train_stage", None)
    assert rebuild(released.bundle, released, Settings()).verdict == "bit-equal"


def test_a_process_that_trains_with_the_main_one_leaves_the_rest_to_it(released, monkeypatch, capsys):
    """Lightning runs the whole command again for each, and kills the main one where another fails."""
    others = []

    def train(draft, settings):
        if not others:  # of the main process, which starts the other one
            before = sorted((path, path.lstat().st_mtime_ns) for path in draft.root.rglob("*"))
            with monkeypatch.context() as patch:
                patch.setenv("LOCAL_RANK", "1")
                others.append(command)
                command(released.bundle, workspace=released.root)
            assert sorted((path, path.lstat().st_mtime_ns) for path in draft.root.rglob("*")) == before
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(rebuilding, "train_stage", train)
    with pytest.raises(KeyboardInterrupt):
        rebuild(released.bundle, released, Settings())
    assert others
    assert capsys.readouterr().out == ""


def change_model(kind):
    """Quantize, then change the INT8 model: bytes that say nothing, or halved boxes."""

    def quantize(draft):
        stages.quantize_stage(draft)
        path = draft.models / MODEL_FILES["int8"]
        model = onnx.load(path)
        if kind == "a note":
            model.doc_string = "of another day"
        else:
            boxes = model.graph.output[0].name
            last = next(node for node in model.graph.node if boxes in node.output)
            last.output[list(last.output).index(boxes)] = "whole"
            model.graph.initializer.append(onnx.helper.make_tensor("half", onnx.TensorProto.FLOAT, [1], [0.5]))
            model.graph.node.append(onnx.helper.make_node("Mul", ["whole", "half"], [boxes]))
        onnx.save(model, path)

    return quantize


@pytest.mark.parametrize(("kind", "verdict"), [("a note", "within tolerance"), ("other boxes", "differs")])
def test_other_bytes_are_judged_on_the_golden_frames(released, monkeypatch, capsys, trained_already, kind, verdict):
    golden = json.loads((released.bundle / "golden" / "expected.json").read_text())
    assert any(frame["detections"] for frame in golden["frames"] if frame["precision"] == "int8")
    monkeypatch.setattr(rebuilding, "quantize_stage", change_model(kind))
    if verdict == "differs":
        with pytest.raises(typer.Exit) as ended:
            command(released.bundle, workspace=released.root)
        assert ended.value.exit_code == 1
    else:
        command(released.bundle, workspace=released.root)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{released.bundle}: {verdict}"
    assert f"int8             {verdict}: on 1 golden frames: box off by up to" in "\n".join(lines)
    assert "fp32             bit-equal" in "\n".join(lines)


def test_other_data_are_refused(released, tmp_path):
    other = tmp_path / "data"
    shutil.copytree(released.dataset, other)
    picture = next((other / "images").iterdir())
    picture.write_bytes(picture.read_bytes() + b" ")
    with pytest.raises(RebuildError, match=f"{picture.name} was changed: its SHA-256 is not the recorded one"):
        rebuild(released.bundle, released, Settings(), dataset=other)
    annotations = other / "annotations.json"
    annotations.write_text(annotations.read_text() + "\n")
    with pytest.raises(RebuildError, match=r"other data than the bundle was trained on.*give --dataset"):
        rebuild(released.bundle, released, Settings(), dataset=other)
    with pytest.raises(RebuildError, match="no such dataset"):
        rebuild(released.bundle, released, Settings(), dataset=tmp_path / "none")


def test_weights_of_earlier_code_are_told_from_a_bundle_of_this_code(released, copied):
    """A change of `monitor` alone makes a bundle anew, not its weights."""
    recorded = read_manifest(released.bundle).provenance
    training = {**recorded["training"], "code": "0" * 64}
    with pytest.raises(RebuildError, match=r"not the same training code here; check out commit .*--other-code"):
        rebuild(copied(provenance={**recorded, "training": training}), released, Settings())


def test_other_code_is_refused_unless_told_otherwise(released, copied, trained_already):
    hashes = {**read_manifest(released.bundle).hashes, "code": "0" * 64}
    bundle = copied(hashes=hashes)
    with pytest.raises(RebuildError, match=r"not the same code here; check out commit .*--other-code"):
        rebuild(bundle, released, Settings())
    report = rebuild(bundle, released, Settings(), other_code=True)
    assert report.verdict == "bit-equal"
    assert [one.name for one in report.circumstances if not one.same and one.name != "commit"] == ["code"]


def test_other_versions_are_named(released, copied, trained_already, caplog):
    provenance = json.loads(json.dumps(read_manifest(released.bundle).provenance))
    provenance["training"]["libraries"]["torch"] = "1.0"
    report = rebuild(copied(provenance=provenance), released, Settings())
    assert "libraries: recorded torch 1.0, here torch" in caplog.text
    assert next(one for one in report.circumstances if one.name == "libraries").recorded == "torch 1.0"


def test_a_bundle_that_records_too_little_is_refused(released, copied):
    with pytest.raises(RebuildError, match=r"does not record the parameters.*since 1\.2"):
        rebuild(copied(provenance=None), released, Settings())


def test_unknown_parameters_are_named(released, copied):
    provenance = json.loads(json.dumps(read_manifest(released.bundle).provenance))
    provenance["params"]["bench"]["laps"] = 3
    with pytest.raises(RebuildError, match=r"not those of this version of shelfgap \(bench\.laps: .*check out commit"):
        rebuild(copied(provenance=provenance), released, Settings())


@pytest.mark.parametrize("name", ["models/first.pt", "../first.pt"])
def test_initial_weights_must_be_those_of_the_training(released, copied, tmp_path, name):
    manifest = read_manifest(released.bundle)
    provenance = json.loads(json.dumps(manifest.provenance))
    provenance["params"]["presets"]["fast"]["train"]["initial_weights"] = name
    provenance["training"]["initial_weights_sha256"] = file_hash(released.models / "detector.pt")
    bundle = copied(provenance=provenance)
    with pytest.raises(RebuildError, match=r"expected the initial weights of the training.*got no such file"):
        rebuild(bundle, released, Settings(), other_code=True)
    if name.startswith(".."):
        shutil.copyfile(released.models / "detector.pt", released.root / name)
        with pytest.raises(RebuildError, match="leads out of the workspace"):
            rebuild(bundle, released, Settings(), other_code=True)
        (released.root / name).unlink()
