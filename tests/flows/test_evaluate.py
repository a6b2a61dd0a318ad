"""The evaluation stage on a real bundle: what it reports, and that it writes what the stage graph promises."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import pytest
import yaml
from PIL import Image
from shelfgap_edge.contract import MODEL_FILES
from shelfgap_flows.measure import evaluate_bundle, evaluate_stage
from shelfgap_flows.params import workspace_params
from shelfgap_flows.workspace import Workspace
from shelfgap_training.figures import FIGURES
from small_network import MODEL


@pytest.fixture(scope="module")
def evaluated(trained, patches_bundle, tmp_path_factory):
    """A workspace as it is before its evaluation, and what that reported."""
    root = tmp_path_factory.mktemp("evaluated")
    workspace = Workspace(root)
    template = workspace_params(root).model_dump(mode="json")
    template["evaluation"]["resamples"] = 100
    template["evaluation"]["slices"]["min_boxes"] = 1
    workspace.params_file.write_text(yaml.safe_dump(template))
    shutil.copytree(trained.root, workspace.dataset)
    for folder in (workspace.models, workspace.reports):
        folder.mkdir()
    for name in MODEL_FILES.values():
        shutil.copyfile(patches_bundle / name, workspace.models / name)
    exported = {"classes": ["gap"], "input_size": MODEL.input_size}
    (workspace.reports / "export.json").write_text(json.dumps(exported))
    return workspace, evaluate_stage(workspace)


def test_it_writes_what_the_graph_promises(evaluated):
    from importlib import resources

    workspace, report = evaluated
    graph = yaml.safe_load((resources.files("shelfgap_flows") / "template" / "dvc.yaml").read_text())
    stage = graph["stages"]["evaluate"]
    promised = {*stage["outs"], *stage["metrics"]}
    written = {path.relative_to(workspace.root).as_posix() for path in workspace.reports.iterdir()}
    assert written == promised | {"reports/export.json"}
    assert json.loads((workspace.reports / "evaluation.json").read_text()) == report
    for name in ("worst_test.jpg", "curves.png"):
        with Image.open(workspace.reports / name) as picture:
            picture.load()


def test_every_figure_has_its_interval(evaluated):
    _, report = evaluated
    for evaluation in (*report["test"].values(), report["val"]["int8"]):
        assert (evaluation["images"], evaluation["groups"]) == (4, 4)
        for name in FIGURES:
            figure = evaluation[name]
            if figure["value"] is None:
                assert name == "false_alarms_per_full_shelf"  # each picture has a gap
                assert evaluation["full_shelves"] == 0
            else:
                assert figure["low"] <= figure["value"] <= figure["high"], name
            assert evaluation["by_class"]["gap"][name] == figure
    assert set(report["int8_minus_fp32"]) == set(FIGURES)


def test_parts_add_up(evaluated):
    _, report = evaluated
    evaluation = report["test"]["int8"]
    boxes, errors = evaluation["boxes"], evaluation["errors"]["gap"]
    assert sum(errors["boxes"].values()) == boxes
    assert errors["boxes"]["found"] / boxes == pytest.approx(evaluation["recall"]["value"], abs=1e-6)
    for by in ("brightness", "sharpness", "store", "area", "across", "down"):
        assert sum(row["boxes"] for row in evaluation["slices"] if row["by"] == by) == boxes
    assert sum(row["count"] for row in evaluation["calibration"]["gap"]["bins"]) > 0


def test_the_page_tells_all_of_it(evaluated):
    workspace, report = evaluated
    page = (workspace.reports / "evaluation.md").read_text()
    for title in ("# Evaluation", "## By class", "## Slices", "## Errors at the operating point", "## Calibration"):
        assert f"{title}\n" in page
    figure = report["test"]["int8"]["recall"]
    assert f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]" in page
    for row in report["test"]["int8"]["slices"]:
        assert f"| {row['by']} | {row['slice']} | {row['class'] or 'all'} |" in page
    lines = page.splitlines()
    for above, line in pairwise(lines):
        if line.startswith("|") and above.startswith("|"):
            assert above.count("|") == line.count("|")


def test_a_bundle_scores_the_same_on_the_same_pictures(evaluated, patches_bundle):
    workspace, report = evaluated
    scored = evaluate_bundle(patches_bundle, workspace.dataset, "test", "fp32", workspace.params().evaluation)
    assert set(scored) == set(report["test"]["fp32"])
    for name in ("ap50", "ap50_95", "recall_at_p90"):  # those that no threshold changes
        assert scored[name] == report["test"]["fp32"][name]
    everything = evaluate_bundle(patches_bundle, workspace.dataset, "all", "fp32", workspace.params().evaluation)
    assert everything["images"] == 20
