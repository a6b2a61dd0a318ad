"""The choice of a retraining: real detectors on the same images, intervals, and what the recipe starts from."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from plain_bundles import plain_bundle
from shelfgap_datasets.schema import DatasetError
from shelfgap_export.promotion import carry_out, plan_promotion, register_bundle
from shelfgap_flows import retrain as retraining
from shelfgap_flows.candidates import Champion, Comparison, choose, compare_candidates, find_champion
from shelfgap_flows.params import load_params
from shelfgap_flows.retrain import (
    RetrainError,
    Retraining,
    _save,
    attempt_key,
    champion_start,
    point_at_data,
    recipe_start,
    with_start,
)
from shelfgap_flows.settings import Settings, registry_for
from shelfgap_flows.workspace import Workspace
from shelfgap_training.bootstrap import Interval
from shelfgap_training.checkpoint import TrainedDetector, save_detector
from shelfgap_training.model import GapDetector
from small_network import MODEL, dark_patches

REPOSITORY = Path(__file__).parents[2]
EVALUATION = load_params(REPOSITORY / "params.yaml").evaluation.model_copy(update={"resamples": 200})


@pytest.fixture(scope="module")
def learned(trained):
    return TrainedDetector(trained.model, ("gap",), "ab" * 32, None)


@pytest.fixture(scope="module")
def ignorant():
    torch.manual_seed(0)
    return TrainedDetector(GapDetector(MODEL, 1).eval(), ("gap",), "", None)


def test_who_learned_is_told_from_who_did_not_and_nobody_from_himself(trained, learned, ignorant):
    detectors = {"champion": learned, "from-scratch": ignorant, "from-champion": learned}
    comparison = compare_candidates(trained.root, detectors, EVALUATION)
    assert (comparison.images, comparison.groups) == (4, 4)
    for figure in comparison.ap50.values():
        assert figure.low <= figure.value <= figure.high
    assert comparison.over_champion["from-champion"] == Interval(0, 0, 0)
    assert comparison.over_champion["from-scratch"].high < 0
    difference = comparison.ap50["from-champion"].value - comparison.ap50["from-scratch"].value
    assert comparison.gain.value == pytest.approx(difference)
    assert comparison.gain.low > 0
    assert choose(comparison)[0] == "from-champion"
    assert json.loads(json.dumps(comparison.to_dict()))["minus_champion"]["from-champion"]["value"] == 0


def test_a_detector_of_more_classes_is_compared_in_those_that_all_know(trained, learned):
    torch.manual_seed(0)
    wider = GapDetector(MODEL, 2).eval()
    weights = dict(learned.model.state_dict())
    for name in ("score.weight", "score.bias"):
        weights[name] = torch.cat([torch.zeros_like(weights[name]) - 9, weights[name]])
    wider.load_state_dict(weights)
    detectors = {"champion": learned, "from-scratch": TrainedDetector(wider, ("low", "gap"), "", None)}
    comparison = compare_candidates(trained.root, detectors, EVALUATION)
    assert comparison.over_champion["from-scratch"].value == pytest.approx(0, abs=0.02)
    assert comparison.gain is None


def test_a_dataset_without_validation_images_is_refused(trained, learned, tmp_path):
    shutil.copytree(trained.root, tmp_path / "data")
    document = json.loads((tmp_path / "data" / "annotations.json").read_text())
    document["images"] = [image for image in document["images"] if image["split"] != "val"]
    (tmp_path / "data" / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="no image to score in this split"):
        compare_candidates(tmp_path / "data", {"from-scratch": learned}, EVALUATION)


@pytest.mark.parametrize(
    ("gain", "chosen", "reason"),
    [
        (None, "from-scratch", "the only candidate"),
        (
            Interval(0.02, 0.01, 0.03),
            "from-champion",
            r"better than from scratch, by 0\.0200 AP50 \[0\.0100, 0\.0300\]",
        ),
        (Interval(-0.02, -0.03, -0.01), "from-scratch", r"weights, by 0\.0200 AP50 \[0\.0100, 0\.0300\]"),
        (Interval(0.02, -0.01, 0.05), "from-champion", "not to be told apart"),
        (Interval(-0.02, -0.05, 0.01), "from-champion", "not to be told apart"),
        (
            Interval(-0.02, math.nan, math.nan),
            "from-champion",
            r"not to be told apart from the one from scratch \(-0\.0200 AP50, of one group\)$",
        ),
        (
            Interval(math.nan, math.nan, math.nan),
            "from-champion",
            r"scratch \(nothing is labelled in the validation images\)$",
        ),
    ],
)
def test_from_scratch_is_taken_only_where_it_is_better_beyond_doubt(gain, chosen, reason):
    figures = {"from-champion": Interval(0.5, 0.4, 0.6), "from-scratch": Interval(0.5, 0.4, 0.6)}
    name, why = choose(Comparison(10, 10, figures, gain, {}))
    assert name == chosen
    assert re.search(reason, why)


def test_the_champion_is_the_detector_of_the_bundle_and_no_other(tmp_path, patches_bundle, learned):
    workspace = Workspace(tmp_path)
    assert find_champion(workspace) is None
    shutil.copytree(patches_bundle, workspace.bundle)
    save_detector(workspace.champion, learned)
    assert find_champion(workspace).problem_as_start(MODEL).endswith("not hold the weights of the released bundle")
    manifest = json.loads((workspace.bundle / "manifest.json").read_text())
    manifest["hashes"] = {"data": "ab" * 32, "detector": hashlib.sha256(workspace.champion.read_bytes()).hexdigest()}
    (workspace.bundle / "manifest.json").write_text(json.dumps(manifest))
    champion = find_champion(workspace)
    assert (champion.version, champion.dataset_sha256) == (manifest["version"], "ab" * 32)
    assert champion.problem_as_start(MODEL) is None
    assert champion.problem_as_start(MODEL.model_copy(update={"input_width": 224})) is None
    other = MODEL.model_copy(update={"neck_channels": 24})
    assert champion.problem_as_start(other) == "the champion is of another network than the preset"
    workspace.champion.write_bytes(b"")
    assert isinstance(find_champion(workspace), Champion)
    assert find_champion(workspace).detector is None


def a_workspace(root: Path) -> Workspace:
    shutil.copyfile(REPOSITORY / "params.yaml", root / "params.yaml")
    return Workspace(root)


def test_the_newest_version_is_what_is_trained_on(tmp_path):
    workspace = a_workspace(tmp_path)
    assert point_at_data(workspace, None).dataset.source == "data/synthetic"  # nothing was ingested
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "current.json").write_text('{"version": "v0002"}')
    with pytest.raises(RetrainError, match=r"v0002: not here; get it there with: dvc pull data/versions/v0002\.dvc"):
        point_at_data(workspace, None)
    (tmp_path / "data" / "versions" / "v0002").mkdir(parents=True)
    assert point_at_data(workspace, None).dataset.source == "data/versions/v0002"  # so a clone finds it too
    assert workspace.params().dataset.source == "data/versions/v0002"
    assert point_at_data(workspace, tmp_path.parent).dataset.source == str(tmp_path.parent)


def test_from_scratch_is_what_the_recipe_itself_starts_from(tmp_path):
    workspace = a_workspace(tmp_path)
    params = workspace.params()
    assert recipe_start(workspace, params) is None
    assert recipe_start(workspace, with_start(params, "pretrained.pt")) == "pretrained.pt"
    notes = tmp_path / "models" / "champions" / "recipe_starts.json"
    notes.parent.mkdir(parents=True)
    from_champion = with_start(params, "models/champions/ab.pt")
    for noted, start in (({"accurate": "a.pt", "fast": "pretrained.pt"}, "pretrained.pt"), ({"fast": None}, None)):
        notes.write_text(json.dumps(noted))
        assert recipe_start(workspace, from_champion) == start
    for noted in ('{"accurate": "a.pt"}', '"pretrained.pt"', "{"):
        notes.write_text(noted)
        with pytest.raises(RetrainError, match=r"presets\.fast\..*does not say what the recipe itself starts from"):
            recipe_start(workspace, from_champion)
    changed = with_start(params, "x.pt")
    assert changed.train.initial_weights == "x.pt"
    assert with_start(changed, None) == params


def test_each_preset_keeps_the_note_of_what_it_starts_from(tmp_path, monkeypatch):
    workspace = a_workspace(tmp_path)
    monkeypatch.setattr("shelfgap_flows.retrain.run_dvc", lambda *_: None)
    workspace.champion.parent.mkdir()
    workspace.champion.write_bytes(b"weights")
    champion = Champion("1", "", None, "ab" * 32, None)
    for preset, start in (("fast", "pretrained.pt"), ("accurate", None)):
        name = champion_start(workspace, champion, preset, start)
        assert (tmp_path / name).read_bytes() == b"weights"
    for preset, start in (("fast", "pretrained.pt"), ("accurate", None)):
        params = workspace.params().model_copy(update={"preset": preset})
        assert recipe_start(workspace, with_start(params, name)) == start


def test_an_edit_of_params_yaml_during_a_retraining_is_not_overwritten(tmp_path):
    workspace = a_workspace(tmp_path)
    params = workspace.params()
    _save(workspace, with_start(params, "models/champions/ab.pt"))
    assert workspace.params() == with_start(params, "models/champions/ab.pt")
    edited = workspace.params_file.read_text().replace("min_ap50: 0.4", "min_ap50: 0.45")
    workspace.params_file.write_text(edited)
    for start in (None, "models/champions/ab.pt"):
        with pytest.raises(RetrainError, match=r"params\.yaml: changed while the retraining ran; run it again"):
            _save(workspace, with_start(params, start))
    assert workspace.params_file.read_text() == edited


# MLflow declares its tables in a way that SQLAlchemy 2.1 deprecates
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_an_attempt_is_another_one_against_another_champion_of_the_registry(tmp_path):
    """What a gate refused may pass once somebody went back to an earlier champion."""
    workspace = a_workspace(tmp_path)
    dark_patches(workspace.dataset, 2, 1, 1)
    registry = registry_for(workspace, Settings())
    keys = [attempt_key(workspace, workspace.params(), "v1")]
    against = None
    for version in "AB":
        tar, against = plain_bundle(tmp_path / version, registry.model, version, against)
        register_bundle(registry, tar)
        keys.append(attempt_key(workspace, workspace.params(), "v1"))
        plan = plan_promotion(registry)
        carry_out(registry, plan, requested_by="a", approved_by="b", reason=None, now=datetime.now(UTC))
        keys.append(attempt_key(workspace, workspace.params(), "v1"))
    assert keys[0] == keys[1] != keys[2] == keys[3] != keys[4] != keys[0]


def test_an_attempt_is_another_one_for_another_device_and_other_code_of_the_runtime(tmp_path, monkeypatch):
    workspace = a_workspace(tmp_path)
    dark_patches(workspace.dataset, 2, 1, 1)
    keys = [attempt_key(workspace, workspace.params(), "v1")]
    monkeypatch.setenv("SHELFGAP_DEVICE_CLASS", "camera")
    keys.append(attempt_key(workspace, workspace.params(), "v1"))
    monkeypatch.setattr(retraining, "code_hash", lambda *packages: "changed" if "edge" in packages else "same")
    keys.append(attempt_key(workspace, workspace.params(), "v1"))
    monkeypatch.setattr(retraining, "code_hash", lambda *packages: "same")
    keys.append(attempt_key(workspace, workspace.params(), "v1"))
    assert len(set(keys)) == 4


def test_weights_beside_the_champions_are_those_of_the_recipe(tmp_path):
    workspace = a_workspace(tmp_path)
    params = with_start(workspace.params(), "models/champions-2025.pt")
    assert recipe_start(workspace, params) == "models/champions-2025.pt"


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive"])
def test_an_attempt_that_passed_is_repeated_where_its_bundle_is_gone(tmp_path, monkeypatch, verdict):
    workspace = a_workspace(tmp_path)
    dark_patches(workspace.dataset, 2, 1, 1)
    params = workspace.params()
    key = attempt_key(workspace, params, None)
    earlier = Retraining(verdict, "as it was", key, "data", None, "from-scratch", None, None)
    workspace.reports.mkdir()
    (workspace.reports / "retrain.json").write_text(json.dumps(earlier.to_dict()))
    begun = []

    def train_candidate(workspace, params, start, place):
        begun.append(start)
        raise RetrainError("enough")

    monkeypatch.setattr(retraining, "train_candidate", train_candidate)
    monkeypatch.setattr(retraining, "get_run_logger", logging.getLogger)
    if verdict == "pass":
        with pytest.raises(RetrainError, match="enough"):
            retraining._retrain(workspace, params, find_champion(workspace))
    else:
        assert retraining._retrain(workspace, params, find_champion(workspace)) == earlier
    assert begun == (["from-scratch"] if verdict == "pass" else [])
