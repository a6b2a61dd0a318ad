"""The stage `train`: what it reports where a kill left nothing to train."""

from __future__ import annotations

import json
from functools import partial

import pytest
from patches_workspace import patches_params
from shelfgap_flows import stages
from shelfgap_flows.settings import Settings
from shelfgap_flows.workspace import Workspace
from shelfgap_training import checkpoint
from shelfgap_training import train as training
from small_network import dark_patches

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*Checkpoint directory.*",
)


def test_a_kill_after_the_last_epoch_leaves_a_report_that_is_json(run_command, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    patches_params(workspace.params_file, epochs=1)
    dark_patches(workspace.dataset, 4, 2, 2)
    monkeypatch.setattr(training, "train", partial(training.train, workers=0))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_detector", killed)
        with pytest.raises(KeyboardInterrupt):
            stages.train_stage(workspace, Settings())
    code, out, err = run_command("train", "--workspace", workspace.root, "--json")
    assert code == 0, err
    report = json.loads(out.splitlines()[-1])
    assert (report["resumed_from_epoch"], report["val_images"]) == (1, 2)
    assert (
        0 <= report["val_ap50_95"] <= report["val_ap50"] <= 1
    )  # of the weights, though the epoch was validated before
    assert json.loads((workspace.reports / "training.json").read_text(), parse_constant=pytest.fail) == report
