"""What a release leaves in MLflow is that of the judgement that it ended with."""

from __future__ import annotations

from pathlib import Path

import pytest
from shelfgap_flows.outcome import Release
from shelfgap_flows.release import record
from shelfgap_flows.settings import Settings, tracker_for
from shelfgap_flows.workspace import Workspace
from shelfgap_training.figures import FIGURES
from shelfgap_training.tracking import mlflow_client

FIGURE = {key: {"value": 0.5, "low": 0.4, "high": 0.6} for key in FIGURES}


# MLflow declares its tables in a way that SQLAlchemy 2.1 deprecates
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_a_second_judgement_with_the_same_figures_replaces_reports_and_bundle(tmp_path):
    workspace = Workspace(tmp_path / "workspace")
    workspace.reports.mkdir(parents=True)
    bundle = workspace.root / "release" / "bundle.tar"
    bundle.parent.mkdir()
    tracker = tracker_for(workspace, Settings())
    run = tracker.open_run("train-x", {}, {"shelfgap.training": "x"})
    client = mlflow_client(tracker.uri)
    for champion in ("A", "B"):
        (workspace.reports / "gate.json").write_text(f'{{"champion": "{champion}"}}')
        bundle.write_bytes(f"judged against {champion}".encode())
        release = Release(str(workspace.bundle), "pass", "all hold", run, FIGURE, FIGURE, {}, {}, str(workspace.root))
        record.fn(workspace, release)
        for name, text in (
            ("reports/gate.json", f'{{"champion": "{champion}"}}'),
            ("bundle/bundle.tar", f"judged against {champion}"),
        ):
            assert Path(client.download_artifacts(run, name, str(tmp_path))).read_text() == text
