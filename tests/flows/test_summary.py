"""The table at the end of a release."""

from __future__ import annotations

import shlex
from pathlib import Path

from shelfgap_flows.outcome import Release
from shelfgap_flows.summary import summary_rows

FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6}
FIGURES = {"ap50": FIGURE, "precision": FIGURE, "recall": FIGURE, "full_shelves": 0}
LATENCY = {"p50": 2.0, "p90": None}


def test_the_command_of_the_mlflow_page_can_be_pasted_whatever_the_workspace_is_called(tmp_path):
    workspace = tmp_path / "l'été 2026"
    release = Release(
        bundle=None,
        verdict="fail",
        reason="",
        mlflow_run_id="1",
        evaluation=FIGURES,
        fp32_evaluation=FIGURES,
        latency_ms={"fp32": LATENCY, "int8": LATENCY},
        dataset={"source": "x", "train_images": 1, "val_images": 1, "test_images": 1},
        workspace=str(workspace),
    )
    words = shlex.split(dict(summary_rows(release))["MLflow page"])
    assert words[words.index("--backend-store-uri") + 1] == f"sqlite:///{workspace}/mlflow/mlflow.db"
    assert Path(words[0]).is_file()
