"""The runs of a sweep in MLflow, and trials that would not compare."""

from __future__ import annotations

import pytest
from patches_workspace import patches_params
from shelfgap_flows.search import SweepError
from shelfgap_flows.settings import Settings, tracker_for
from shelfgap_flows.sweep import open_sweep, perform
from shelfgap_flows.workspace import Workspace
from small_network import dark_patches

# MLflow's and Optuna's tables use what SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path)
    patches_params(workspace.params_file)
    dark_patches(workspace.dataset, 4, 2, 2)
    return workspace


def test_another_study_of_the_same_recipe_has_a_run_of_its_own(workspace):
    """The first one is not at its end, and a trial of it failed."""
    tracker, params = tracker_for(workspace, Settings()), workspace.params()
    first = open_sweep(workspace, params, "first")
    tags = {"shelfgap.sweep": first.key, "shelfgap.trial": "0"}
    trial = tracker.open_run("first-0000", {}, tags, first.search().run_id)
    tracker.finish(trial, "FAILED")
    second = open_sweep(workspace, params, "second")
    assert second.key == first.key
    assert second.search().run_id not in (None, trial, first.search().run_id)
    assert open_sweep(workspace, params, "first").search().run_id == first.search().run_id


def test_no_trial_begins_on_other_data_than_the_trials_before(workspace):
    """A release in the same workspace can bring them while a sweep runs."""
    sweep = open_sweep(workspace, workspace.params(), None)
    annotations = workspace.dataset / "annotations.json"
    for change in (lambda: annotations.write_text(annotations.read_text() + "\n"), annotations.unlink):
        change()
        with pytest.raises(SweepError, match=r"changed since the sweep began, and its trials would not compare"):
            perform(sweep, None)
    assert sweep.search().rows() == []
