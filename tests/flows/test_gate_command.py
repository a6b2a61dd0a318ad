"""`shelfgap gate` on real bundles: verdicts, exit codes, reports that machines read, and what cannot be judged."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import onnx
import psutil
import pytest
import yaml
from patches_workspace import OPEN_GATE, start, wait_for
from shelfgap_datasets.coco import load_dataset, save_dataset
from shelfgap_edge.bundle import compute_sums
from shelfgap_edge.contract import read_manifest
from shelfgap_export.gate.entrant import load_entrant
from shelfgap_export.gate.reports import gate_schema
from shelfgap_flows.cli import main
from shelfgap_flows.params import default_params


@pytest.fixture
def gate(monkeypatch, capsys, tmp_path):
    """Run `shelfgap gate ... --json` in a folder with a params.yaml: (exit code, result, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **changes):
        values = default_params().model_dump(mode="json")
        values["gate"].update(OPEN_GATE | changes)
        values["evaluation"].update(resamples=50)
        values["evaluation"]["slices"]["min_boxes"] = 2
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
        monkeypatch.setattr(sys, "argv", ["shelfgap", "gate", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, json.loads(said.out.splitlines()[-1]) if said.out else {}, said.err

    return run


def changed(bundle: Path, target: Path, model: str | None = None, **facts) -> Path:
    """Write a bundle like another, with other facts in its manifest and one model put in place of all."""
    shutil.copytree(bundle, target)
    (target / "manifest.json").write_text(replace(read_manifest(bundle), **facts).to_json())
    if model is not None:
        for path in target.glob("*.onnx"):
            path.write_bytes((bundle / model).read_bytes())
    (target / "SHA256SUMS").write_text(compute_sums(target))
    return target


@pytest.fixture
def against_itself(gate, patches_bundle, trained):
    return gate("--candidate", patches_bundle, "--champion", f"{patches_bundle}.tar", "--dataset", trained.root)


def test_a_model_against_itself_passes(against_itself, patches_bundle, tmp_path):
    code, result, err = against_itself
    assert (code, result["verdict"]) == (0, "pass"), err
    identity = load_entrant(patches_bundle).identity
    assert result["candidate"] == result["champion"]
    assert result["candidate"]["identity"] == identity == result["latency"]["champion"]
    said = {check["name"]: check for check in result["checks"]}
    for name in ("AP50 against the champion", "recall at 0.9 precision against the champion"):
        assert "both find the same in every picture" in said[name]["reason"]
    assert said["latency budget"]["verdict"] == "not judged"
    assert {check["kind"] for check in result["checks"]} >= {"floor", "slice floor", "non-inferiority", "limit"}
    assert (result["dataset"]["images"], result["dataset"]["groups"]) == (4, 4)
    assert len(result["latency"]["processes"]["candidate"]["judged_ms"]) == result["latency"]["pairs"] == 2
    assert sum(result["latency"]["histogram"]["candidate"]) == pytest.approx(1, abs=1e-3)


def test_the_reports_agree_and_keep_to_their_forms(against_itself, tmp_path):
    _, result, _ = against_itself
    folder = tmp_path / "gate"
    assert json.loads((folder / "gate.json").read_text()) == result
    jsonschema.Draft202012Validator.check_schema(gate_schema())
    jsonschema.validate(result, gate_schema(), cls=jsonschema.Draft202012Validator)
    suites = ElementTree.parse(folder / "gate.xml").getroot()
    cases = suites.findall("testsuite/testcase")
    assert [case.get("name") for case in cases] == [check["name"] for check in result["checks"]]
    skipped = sum(check["verdict"] == "not judged" for check in result["checks"])
    assert (suites.get("failures"), suites.get("errors"), suites.get("skipped")) == ("0", "0", str(skipped))
    assert len(suites.findall("testsuite/testcase/skipped")) == skipped
    text = (folder / "gate.md").read_text()
    assert text.startswith("## ✅ Gate: pass\n")
    for check in result["checks"]:
        assert (f"| {check['name']} |" in text) == (check["kind"] != "slice floor")
    page = (folder / "gate.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_store_whose_name_xml_cannot_hold_leaves_the_report_whole(gate, patches_bundle, trained, tmp_path):
    data = shutil.copytree(trained.root, tmp_path / "data")
    dataset = load_dataset(data)
    save_dataset(data, replace(dataset, images=tuple(replace(image, store="bell\x07") for image in dataset.images)))
    code, _, err = gate("--candidate", patches_bundle, "--dataset", data)
    assert code == 0, err
    suites = ElementTree.parse(tmp_path / "gate" / "gate.xml").getroot()
    assert any("store bell\ufffd" in case.get("name") for case in suites.iter("testcase"))


def test_another_threshold_is_another_candidate_and_may_fail(gate, patches_bundle, trained, tmp_path):
    deaf = changed(patches_bundle, tmp_path / "deaf", score_thresholds={"gap": 0.9999})
    arguments = ("--candidate", deaf, "--champion", patches_bundle, "--dataset", trained.root)
    code, result, _ = gate(*arguments, min_recall=0.9)
    assert (code, result["verdict"]) == (1, "fail")
    assert "recall is" in result["reason"]
    assert result["candidate"]["identity"] != result["champion"]["identity"]
    suites = ElementTree.parse(tmp_path / "gate" / "gate.xml").getroot()
    assert int(suites.get("failures")) >= 1
    assert "must be at least 0.9" in suites.find("testsuite/testcase/failure").get("message")


def test_too_little_data_is_inconclusive_and_says_how_much_would_do(gate, patches_bundle, trained, tmp_path):
    fp32 = changed(patches_bundle, tmp_path / "fp32", default_precision="fp32")
    code, result, _ = gate("--candidate", fp32, "--champion", patches_bundle, "--dataset", trained.root, min_groups=30)
    assert (code, result["verdict"]) == (3, "inconclusive")
    assert result["candidate"]["precision"] == "fp32"
    open_checks = [check for check in result["checks"] if check["verdict"] == "inconclusive"]
    assert open_checks[0]["needs"] == {
        "what": "groups",
        "count": 30,
        "images": 30,
        "provided": "it equals the champion",
        "remedy": None,
    }
    assert "about 30 groups (30 pictures) would decide" in result["reason"]
    assert "❔" in (tmp_path / "gate" / "gate.md").read_text()


def test_without_a_champion_the_floors_decide_and_the_report_says_so(gate, patches_bundle, trained, tmp_path):
    code, result, _ = gate("--candidate", patches_bundle, "--dataset", trained.root, "--device-class", "camera")
    assert (code, result["champion"], result["latency"]) == (0, None, None)
    assert "there was no champion to compare with" in result["reason"]
    jsonschema.validate(result, gate_schema(), cls=jsonschema.Draft202012Validator)
    (budget,) = (check for check in result["checks"] if check["kind"] == "budget")
    assert (budget["verdict"], budget["bound"]) in (("pass", 5000), ("inconclusive", 5000))
    assert "against nothing: there was no champion" in (tmp_path / "gate" / "gate.html").read_text()


def test_what_int8_loses_is_measured_on_validation_pictures_too(gate, patches_bundle, trained, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(trained.root, data)
    dataset = load_dataset(data)
    corner = (0.0, 0.0, 4.0, 4.0)  # where nothing is found
    images = [
        replace(i, boxes=tuple(replace(b, xyxy=corner) for b in i.boxes)) if i.split == "val" else i
        for i in dataset.images
    ]
    save_dataset(data, replace(dataset, images=tuple(images)))
    _, result, _ = gate("--candidate", patches_bundle, "--dataset", data)
    said = {check["name"]: check for check in result["checks"]}
    assert 0 < said["ap50 lost to int8"]["candidate"] < said["int8 ap50"]["value"]
    both = len(dataset.of_split("val")) + len(dataset.of_split("test"))
    assert f"on {both} pictures" in said["ap50 lost to int8"]["reason"]


def test_a_class_that_was_lost_fails_and_a_larger_model_too(gate, patches_bundle, trained, tmp_path):
    both = tmp_path / "data"
    shutil.copytree(trained.root, both)
    dataset = load_dataset(both)
    images = [replace(i, boxes=(*i.boxes, replace(i.boxes[0], class_name="low"))) for i in dataset.images]
    save_dataset(both, replace(dataset, images=tuple(images), annotated_classes=("gap", "low")))
    wider = changed(
        patches_bundle, tmp_path / "wider", classes=("gap", "low"), score_thresholds={"gap": 0.3, "low": 0.3}
    )
    code, result, _ = gate("--candidate", patches_bundle, "--champion", wider, "--dataset", both)
    assert code == 1
    assert "the candidate does not know low, which the champion does" in result["reason"]
    large = changed(patches_bundle, tmp_path / "large")
    model = onnx.load(large / "model.int8.onnx")
    model.doc_string = "x" * 2_000_000
    onnx.save(model, large / "model.int8.onnx")
    (large / "SHA256SUMS").write_text(compute_sums(large))
    margins = {**OPEN_GATE["margins"], "model_size": 0.2}
    code, result, _ = gate(
        "--candidate", large, "--champion", patches_bundle, "--dataset", trained.root, margins=margins
    )
    assert code == 1
    assert "model size is" in result["reason"]


def without_groups(root):
    dataset = load_dataset(root)
    save_dataset(root, replace(dataset, images=tuple(replace(image, group=None) for image in dataset.images)))


def without_test(root):
    dataset = load_dataset(root)
    save_dataset(root, replace(dataset, images=tuple(replace(image, split="train") for image in dataset.images)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_groups, "4 of 4 pictures have no group (16.png)"),
        (without_test, "no picture is in the test split; run: shelfgap data split"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_a_dataset_that_cannot_judge_is_refused_before_anything_is_measured(
    gate, patches_bundle, trained, tmp_path, spoil, message
):
    data = tmp_path / "data"
    shutil.copytree(trained.root, data)
    spoil(data)
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "gate.json").write_text('{"verdict": "pass"}')
    code, result, err = gate("--candidate", patches_bundle, "--champion", patches_bundle, "--dataset", data)
    assert (code, result) == (1, {})
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "gate" / "gate.json").exists()  # the old verdict is no verdict on this


def test_what_is_no_bundle_is_refused(gate, patches_bundle, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    altered = tmp_path / "altered"
    shutil.copytree(patches_bundle, altered)
    (altered / "model.int8.onnx").write_bytes(b"other")
    newer = tmp_path / "newer.tar"
    with tarfile.open(newer, "w") as tar:
        text = b'{"format_version": "9.0"}'
        info = tarfile.TarInfo("manifest.json")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    for candidate, champion, message in (
        (tmp_path / "none", patches_bundle, "no such bundle"),
        (tmp_path / "empty", patches_bundle, "holds no files, expected a bundle"),
        (altered, patches_bundle, "model.int8.onnx was altered"),
        (patches_bundle, newer, "format_version '9.0' is not known here (expected 1.x); upgrade shelfgap-edge"),
    ):
        code, _, err = gate("--candidate", candidate, "--champion", champion, "--dataset", trained.root)
        assert code == 1
        assert message in err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--champion", "bundle"),
        ("--split", "all"),
        ("--device-class", "camera"),
        ("--runtime", "onnxruntime"),
        ("--report", "elsewhere"),
    ],
)
def test_options_that_would_judge_nothing_are_wrong_usage(gate, arguments):
    code, _, err = gate(*arguments)
    assert code == 2
    assert "go together" in err


def test_what_is_refused_before_it_is_judged_leaves_no_old_verdict(gate, patches_bundle, trained, tmp_path):
    given = ("--candidate", patches_bundle, "--dataset", trained.root)
    for arguments, changes, message in (
        (
            ("--device-class", "toaster"),
            {},
            "no latency budget for device class 'toaster' in params.yaml (it has camera)",
        ),
        ((), {"alpha": 2}, "gate.alpha"),
    ):
        (tmp_path / "gate").mkdir(exist_ok=True)
        (tmp_path / "gate" / "gate.json").write_text('{"verdict": "pass"}')
        code, _, err = gate(*given, *arguments, **changes)
        assert code == 1
        assert message in err
        assert not (tmp_path / "gate" / "gate.json").exists()


def test_a_bundle_is_not_judged_on_the_pictures_that_it_learned(gate, patches_bundle, trained, tmp_path):
    from shelfgap_datasets.coco import annotations_hash

    learned = changed(patches_bundle, tmp_path / "learned", hashes={"data": annotations_hash(trained.root)})
    code, _, err = gate("--candidate", learned, "--dataset", trained.root, "--split", "all")
    assert code == 1
    assert "the candidate was trained on it; judge on its test split alone" in err
    given = ("--candidate", patches_bundle, "--champion", learned, "--dataset", trained.root)
    code, _, err = gate(*given, "--split", "all")
    assert code == 1
    assert "the champion was trained on it; judge on its test split alone" in err


def test_pictures_without_a_box_end_in_a_verdict(gate, patches_bundle, trained, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(trained.root, data)
    dataset = load_dataset(data)
    images = [image if image.split == "train" else replace(image, boxes=()) for image in dataset.images]
    save_dataset(data, replace(dataset, images=tuple(images)))
    code, result, _ = gate("--candidate", patches_bundle, "--dataset", data)
    assert (code, result["verdict"]) == (1, "fail")
    reasons = {check["name"]: check["reason"] for check in result["checks"]}
    assert "is unknown, must be at most" in reasons["ap50 lost to int8"]


@pytest.mark.slow
def test_ctrl_c_ends_it_with_130_and_leaves_no_verdict(patches_bundle, trained, tmp_path):
    values = default_params().model_dump(mode="json")
    values["gate"].update(OPEN_GATE | {"latency": {**OPEN_GATE["latency"], "min_seconds": 60}})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    folder = tmp_path / "gate"
    given = ("--candidate", patches_bundle, "--champion", patches_bundle, "--dataset", trained.root)
    process = start("gate", *given, "--report", folder, "--workspace", tmp_path)
    wait_for(lambda: psutil.Process(process.pid).children(), process)
    children = psutil.Process(process.pid).children()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("shelfgap: interrupted; run the same command to go on from there\n")
    assert "Traceback" not in err
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert list(folder.iterdir()) == []
