"""What a release brought, gathered from the reports of its stages."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shelfgap_flows.workspace import Workspace


@dataclass(frozen=True)
class Release:
    """What a release flow brought; `bundle` is None when the gate did not pass."""

    bundle: str | None
    verdict: Literal["pass", "fail", "inconclusive"]
    reason: str
    mlflow_run_id: str
    evaluation: dict[str, Any]  # INT8 on the test split
    fp32_evaluation: dict[str, Any]
    latency_ms: dict[str, dict[str, float | None]]  # precision -> p50, p90 of a whole frame
    dataset: dict[str, Any]
    workspace: str
    registry_version: int | None = None  # once it is registered

    def to_dict(self) -> dict[str, Any]:
        """Return the release with the evaluation's own keys beside it, for machines."""
        return {**asdict(self), **self.evaluation}


def collect(workspace: Workspace) -> Release:
    """Gather the reports of a workspace into one result."""
    gate = read_report(workspace, "gate.json")
    evaluation = read_report(workspace, "evaluation.json")
    training = read_report(workspace, "training.json")
    latency = read_report(workspace, "latency.json")
    passed = gate["verdict"] == "pass"
    return Release(
        bundle=str(workspace.bundle) if passed else None,
        verdict=gate["verdict"],
        reason=gate["reason"],
        mlflow_run_id=training["mlflow_run_id"],
        evaluation=evaluation["test"]["int8"],
        fp32_evaluation=evaluation["test"]["fp32"],
        latency_ms={
            run["name"]: {key: run["latency_ms"]["total"][key] for key in ("p50", "p90")} for run in latency["runs"]
        },
        dataset={
            "source": workspace.params().dataset.source,
            "train_images": training["train_images"],
            "val_images": training["val_images"],
            "test_images": evaluation["test"]["int8"]["images"],
        },
        workspace=str(workspace.root),
    )


def read_report(workspace: Workspace, name: str) -> dict[str, Any]:
    """Return what a stage reported."""
    report: dict[str, Any] = json.loads((workspace.reports / name).read_text())
    return report
