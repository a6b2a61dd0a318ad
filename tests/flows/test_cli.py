"""The `shelfgap` command: help with examples, one-line errors, exit codes, JSON as the last line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import typer
from PIL import Image
from shelfgap_datasets.coco import load_dataset
from shelfgap_flows.cli import app


@pytest.fixture
def shelfgap(run_command, monkeypatch, tmp_path):
    """The command in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return run_command


def all_commands():
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        if getattr(command, "invoke_without_command", False) or not hasattr(command, "commands"):
            yield [name]
        if hasattr(command, "commands"):
            yield from ([name, inner] for inner in command.commands)


@pytest.mark.parametrize("command", list(all_commands()), ids=" ".join)
def test_every_command_has_help_with_an_example_and_takes_json(shelfgap, command):
    code, out, _ = shelfgap(*command, "--help")
    assert code == 0
    assert f"Example: shelfgap {' '.join(command)}" in " ".join(out.split())
    assert "--json" in out


def test_the_commands_are_those_that_others_rely_on():
    assert sorted(" ".join(c) for c in all_commands()) == [
        "bench",
        "bundle",
        "bundle keygen",
        "bundle rebuild",
        "bundle sign",
        "ci",
        "data card",
        "data check",
        "data correct",
        "data diff",
        "data export",
        "data import",
        "data ingest",
        "data pack",
        "data redact",
        "data review",
        "data split",
        "data synth",
        "data synth-days",
        "evaluate",
        "export",
        "gate",
        "predict",
        "publish",
        "quantize",
        "registry fetch",
        "registry history",
        "registry list",
        "registry promote",
        "registry register",
        "registry rollback",
        "release",
        "retrain",
        "sweep",
        "train",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["data", "import"],
        ["data", "import", "a", "--to", "b", "--format", "pdf"],
        ["data", "synth", "a", "--count", "0"],
        ["evaluate", "--bundle", "b"],
        ["evaluate", "--split", "train"],
        ["evaluate", "--split", "all"],
        ["evaluate", "--precision", "fp32"],
        ["data", "ingest", "a", "--name", "b", "--corrections", "--license", "CC0-1.0"],
        ["sweep", "--study", "../elsewhere"],
        ["predict", "bundle", "a.jpg"],
        ["publish", "--to", "shop", "--withdraw", "1", "--ring", "all", "--key", "k", "--keys", "k"],
        ["publish", "--to", "shop", "--refresh", "--ring", "all", "--key", "k", "--keys", "k"],
        ["bundle", "--workspace", "w", "rebuild", "b"],
        ["bundle", "--json", "keygen", "k"],
        ["release", "--epochs", "3"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(shelfgap, arguments):
    code, out, err = shelfgap(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: shelfgap" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "import", "none", "--to", "to"], "none: no such folder"),
        (["data", "check", "none"], "none"),
        (["data", "split", "none"], "none"),
        (["data", "import", "empty", "--to", "to"], "no pictures in this folder; expected labelled photographs"),
        (["data", "import", ".", "--to", "to", "--class-map", "Empty"], "Empty"),
        (["release", "--dataset", "none", "--workspace", "ws"], "none: no such folder; --dataset takes a folder"),
        (["release", "--params", "none.yaml", "--workspace", "ws"], "none.yaml: no such file"),
        (["train"], "params.yaml: no such file; start in a workspace, or name one with --workspace"),
        (["evaluate", "--bundle", "none", "--dataset", "none"], "none"),
        (["predict", "none", "a.jpg", "--draw", "out"], "none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_line_and_exit_code_1(shelfgap, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    code, out, err = shelfgap(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("shelfgap: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("stage", "needed"),
    [
        ("train", "no dataset yet; run: shelfgap data import SOURCE --to data/dataset"),
        ("export", "run: shelfgap train"),
        ("quantize", "run: shelfgap export"),
        ("evaluate", "run: shelfgap export"),
        ("bench", "run: shelfgap export"),
        ("gate", "run: shelfgap bench --pairs"),
        ("bundle", "run: shelfgap export"),
    ],
)
def test_a_stage_without_its_inputs_names_the_one_before(shelfgap, tmp_path, stage, needed):
    from shelfgap_flows.workspace import open_workspace

    open_workspace(tmp_path / "ws")
    code, out, err = shelfgap(stage, "--workspace", "ws")
    assert (code, out) == (1, "")
    assert needed in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_wrong_variable_of_the_environment_is_one_line(shelfgap, monkeypatch):
    monkeypatch.setenv("SHELFGAP_DEVICES", "two")
    code, out, err = shelfgap("train")
    assert (code, out) == (1, "")
    assert err.startswith("shelfgap: error: SHELFGAP_DEVICES: Input should be a valid integer")
    assert err.endswith("got 'two'; correct or unset it\n")
    monkeypatch.setenv("SHELFGAP_DEVICES", "-1")
    code, _, err = shelfgap("train")
    assert (code, err) == (
        1,
        "shelfgap: error: SHELFGAP_DEVICES: Input should be greater than 0, got '-1'; correct or unset it\n",
    )


RIGHTS = ("--license", "CC-BY-4.0", "--consent", "no-persons")


@pytest.fixture
def coco_folder(tmp_path):
    from labelled_pictures_for_flows import write_coco_folder

    return write_coco_folder(tmp_path / "photographs", groups=12)


def test_import_split_check_as_a_user_does_it(shelfgap, coco_folder):
    code, out, _ = shelfgap("data", "import", coco_folder, *RIGHTS, "--to", "data", "--store", "lyon-3", "--json")
    report = json.loads(out.splitlines()[-1])
    assert (code, report["images"], report["boxes"]) == (0, 12, {"gap": 12})
    assert {image.store for image in load_dataset(coco_folder.parent / "data").images} == {"lyon-3"}
    code, out, err = shelfgap("data", "split", "data")
    assert code == 1  # one store is one group
    assert "one group" in err or "group" in err
    shelfgap("data", "import", coco_folder, *RIGHTS, "--to", "data")
    code, out, _ = shelfgap("data", "split", "data", "--json")
    sides = json.loads(out.splitlines()[-1])
    assert code == 0
    assert sides["train"] + sides["val"] + sides["test"] == 12
    assert min(sides["train"], sides["val"], sides["test"]) > 0
    code, out, _ = shelfgap("data", "check", "data")
    assert (code, out.splitlines()[-1]) == (0, "sound")


def test_without_a_source_the_one_of_params_yaml_is_imported_whatever_its_name(shelfgap, coco_folder):
    from shelfgap_flows.workspace import open_workspace

    folder = coco_folder.rename(coco_folder.parent / "l'été $(touch no) ünd")
    open_workspace(folder.parent / "ws", dataset=folder)
    arguments = ("data", "import", "--to", "data", "--allow-unstated", "--workspace", "ws", "--json")
    code, out, err = shelfgap(*arguments)
    assert (code, json.loads(out.splitlines()[-1])["images"]) == (0, 12), err


def test_check_fails_on_a_cut_picture_and_quarantine_keeps_the_rest(shelfgap, coco_folder):
    shelfgap("data", "import", coco_folder, *RIGHTS, "--to", "data")
    shelfgap("data", "split", "data")
    dataset = coco_folder.parent / "data"
    victim = dataset / "images" / load_dataset(dataset).images[0].file_name
    victim.write_bytes(victim.read_bytes()[:-300])
    code, out, _ = shelfgap("data", "check", "data", "--json")
    assert code == 1
    assert victim.name in out
    code, out, _ = shelfgap("data", "check", "data", "--quarantine")
    assert code == 0
    assert len(load_dataset(dataset).images) == 11
    assert shelfgap("data", "check", "data")[0] == 0


def test_import_without_licence_or_consent_says_what_to_state(shelfgap, coco_folder):
    code, _, err = shelfgap("data", "import", coco_folder, "--to", "data", "--license", "MIT")
    assert code == 1
    assert "no consent basis stated; state it with --consent BASIS, or in SOURCE.yaml beside the pictures" in err
    assert "Traceback" not in err
    (coco_folder / "SOURCE.yaml").write_text("consent: notice\nstore: lyon-3\n")
    assert shelfgap("data", "import", coco_folder, "--to", "data", "--license", "MIT")[0] == 0
    assert {i.store for i in load_dataset(coco_folder.parent / "data").images} == {"lyon-3"}


def test_labels_go_to_a_labelling_tool_and_come_back_corrected(shelfgap, coco_folder):
    shelfgap("data", "import", coco_folder, *RIGHTS, "--to", "data")
    code, out, _ = shelfgap("data", "export", "data", "--format", "cvat", "--to", "review", "--json")
    assert (code, json.loads(out.splitlines()[-1])["images"]) == (0, 12)
    page = coco_folder.parent / "review" / "annotations.xml"
    page.write_text(page.read_text().replace('xtl="10.0000"', 'xtl="4.0000"', 1))
    code, out, _ = shelfgap("data", "correct", "data", "review", "--to", "corrected", "--json")
    report = json.loads(out.splitlines()[-1])
    assert (code, report["seen"], len(report["changed"])) == (0, 12, 1)
    code, _, err = shelfgap("data", "export", "data", "--format", "yolo", "--to", "review")
    assert code == 1
    assert "exists and is not empty" in err


def test_two_versions_are_compared_and_a_changed_split_is_exit_code_1(shelfgap, coco_folder):
    shelfgap("data", "import", coco_folder, *RIGHTS, "--to", "one")
    shelfgap("data", "split", "one")
    here = coco_folder.parent
    shutil.copytree(here / "one", here / "two")
    assert shelfgap("data", "diff", "one", "two", "--json")[0] == 0
    document = json.loads((here / "two" / "annotations.json").read_text())
    document["images"][0]["split"] = "test" if document["images"][0]["split"] == "train" else "train"
    (here / "two" / "annotations.json").write_text(json.dumps(document))
    code, out, _ = shelfgap("data", "diff", "one", "two", "--markdown", "diff.md", "--json")
    assert (code, len(json.loads(out.splitlines()[-1])["moved_split"])) == (1, 1)
    assert "changed split" in (here / "diff.md").read_text()
    code, out, _ = shelfgap("data", "diff", "one", "two")
    assert (code, out.splitlines()[0]) == (1, "# Dataset: one → two")


def test_a_version_keeps_its_splits_through_import_and_split(shelfgap, coco_folder):
    shelfgap("data", "import", coco_folder, *RIGHTS, "--to", "v1")
    shelfgap("data", "split", "v1")
    here = coco_folder.parent
    document = json.loads((here / "v1" / "annotations.json").read_text())
    turn = {"train": "val", "val": "test", "test": "train"}
    for image in document["images"]:  # history decided otherwise than the hash would
        image["split"] = turn[image["split"]]
    (here / "v1" / "annotations.json").write_text(json.dumps(document))
    for kept in (False, True):
        if kept:
            (here / "v1" / "version.json").write_text("{}")
        assert shelfgap("data", "import", "v1", "--to", "again")[0] == 0
        assert shelfgap("data", "split", "again")[0] == 0
        before, after = ({i.sha256: i.split for i in load_dataset(here / name).images} for name in ("v1", "again"))
        assert (before == after) == kept


def test_a_dataset_is_redacted_and_its_card_written(shelfgap, coco_folder):
    shelfgap(
        "data",
        "import",
        coco_folder,
        "--license",
        "MIT",
        "--consent",
        "notice",
        "--to",
        "data",
        "--class-map",
        "Empty=occluder",
    )
    code, out, _ = shelfgap("data", "check", "data", "--require-redacted")
    assert (code, out.count("not redacted"), out.count("run: shelfgap data redact data")) == (1, 12, 1)
    code, out, _ = shelfgap("data", "redact", "data", "--json")
    assert (code, json.loads(out.splitlines()[-1])["boxes"]) == (0, 12)
    shelfgap("data", "split", "data")
    assert shelfgap("data", "check", "data", "--require-redacted")[0] == 0
    code, out, _ = shelfgap("data", "card", "data", "--to", "card", "--json")
    assert (code, json.loads(out.splitlines()[-1])["images"]) == (0, 12)
    assert (coco_folder.parent / "card" / "card.html").read_text().startswith("<!doctype html>")


def test_strict_refuses_a_class_that_nothing_maps(shelfgap, coco_folder):
    code, out, _ = shelfgap("data", "import", coco_folder, *RIGHTS, "--to", "data", "--class-map", "Void=gap")
    assert code == 0
    document = json.loads((coco_folder / "labels.json").read_text())
    document["categories"][0]["name"] = "Shoe"
    document["categories"].append({"id": 9, "name": "Empty"})
    document["annotations"][0]["category_id"] = 9
    (coco_folder / "labels.json").write_text(json.dumps(document))
    code, out, _ = shelfgap("data", "import", coco_folder, *RIGHTS, "--to", "data")
    assert code == 0
    assert "Shoe" in out
    code, _, err = shelfgap("data", "import", coco_folder, *RIGHTS, "--to", "strict", "--strict")
    assert code == 1
    assert "Shoe" in err
    assert not (coco_folder.parent / "strict").exists()


def test_predict_draws_what_it_can_and_reports_the_rest(shelfgap, tmp_path, patches_bundle, trained):
    good = trained.root / "images" / trained.dataset.of_split("test")[0].file_name
    (tmp_path / "text.jpg").write_text("not a picture")
    shutil.copy(good, tmp_path / "shelf.png")
    code, out, err = shelfgap("predict", patches_bundle, "shelf.png", "text.jpg", good, "--draw", "out", "--json")
    report = json.loads(out.splitlines()[-1])
    assert code == 1
    assert [entry["image"] for entry in report["drawn"]] == ["shelf.png", str(good)]
    assert [entry["image"] for entry in report["problems"]] == ["text.jpg"]
    assert "text.jpg" in err
    before = np.asarray(Image.open(tmp_path / "shelf.png").convert("RGB"), np.int16)
    after = np.asarray(Image.open(tmp_path / "out" / "shelf.jpg"), np.int16)
    assert after.shape == before.shape
    assert report["drawn"][0]["detections"]
    assert np.abs(after - before).max() > 100  # boxes were drawn
    code, out, err = shelfgap("predict", patches_bundle, "text.jpg", "--draw", "out")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "shelfgap: error: no usable image"


def test_evaluate_scores_a_bundle_on_any_dataset(shelfgap, patches_bundle, trained):
    base = ["evaluate", "--bundle", patches_bundle, "--dataset", trained.root, "--json"]
    code, out, _ = shelfgap(*base)
    test_only = json.loads(out.splitlines()[-1])
    assert code == 0
    assert {"ap50", "ap50_95", "precision", "recall", "f1", "images", "boxes", "precision_mode"} <= set(test_only)
    assert set(test_only["ap50"]) == {"value", "low", "high"}
    assert (test_only["images"], test_only["precision_mode"]) == (4, "int8")
    assert test_only["ap50"]["low"] <= test_only["ap50"]["value"] <= test_only["ap50"]["high"]
    everything = json.loads(shelfgap(*base, "--split", "all", "--precision", "fp32")[1].splitlines()[-1])
    assert (everything["images"], everything["precision_mode"]) == (20, "fp32")
    line = shelfgap(*base[:-1])[1]
    ap50 = test_only["ap50"]
    assert line.startswith(f"int8: AP50 {ap50['value']:.3f} [{ap50['low']:.3f}, {ap50['high']:.3f}], AP50-95 ")
    assert line.endswith("(4 images in 4 groups, 6 boxes)\n")


def test_a_bundle_with_one_byte_changed_is_refused(shelfgap, patches_bundle, trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(patches_bundle, copy)
    model = copy / "model.int8.onnx"
    content = bytearray(model.read_bytes())
    content[1000] ^= 1
    model.write_bytes(content)
    code, out, err = shelfgap("evaluate", "--bundle", copy, "--dataset", trained.root)
    assert (code, out) == (1, "")
    assert "model.int8.onnx" in err
    assert err.count("\n") == 1
