"""The release flow: from a dataset to a measured bundle, one DVC stage after the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from shelfgap_training.figures import FIGURES

from shelfgap_flows.entrants import keep_champion
from shelfgap_flows.gate import measured_device_class
from shelfgap_flows.hashes import file_hash
from shelfgap_flows.notify import notify_verdict
from shelfgap_flows.one_line import one_line_errors
from shelfgap_flows.outcome import Release, collect, read_report
from shelfgap_flows.params import Params
from shelfgap_flows.prefect_server import start_server
from shelfgap_flows.register import register_release
from shelfgap_flows.settings import Settings, registry_for, tracker_for
from shelfgap_flows.sign import sign_release
from shelfgap_flows.summary import summary_markdown
from shelfgap_flows.workspace import SYNTHETIC, Workspace, WorkspaceError, run_dvc

REPORT_FORMS = (".json", ".md", ".xml", ".html", ".png", ".jpg")  # of what MLflow keeps from reports/


def data_stages(params: Params) -> list[str]:
    """Name the stages that make data/dataset."""
    return ["synth", "dataset"] if params.dataset.source == SYNTHETIC else ["dataset"]


@task(task_run_name="{stage}")
def reproduce(workspace: Workspace, stage: str, force: bool = False) -> None:
    """Reproduce one DVC stage, if anything that it depends on changed, or in any case."""
    run_dvc(workspace, "repro", "--single-item", *(["--force"] if force else []), stage)


@task
def put_aside(workspace: Workspace, base: str | None) -> None:
    """Put the champion aside, for the candidate to be compared with."""
    keep_champion(workspace, registry_for(workspace, Settings()), base)


@task
def sign(workspace: Workspace) -> None:
    """Sign the bundle, if a key is set."""
    sign_release(workspace, Settings())


@task
def find_run(workspace: Workspace, release: Release) -> Release:
    """Return the release with its run of MLflow; another one than the training's where that was recorded elsewhere."""
    run_id = tracker_for(workspace, Settings()).run_for(release.mlflow_run_id, "released elsewhere")
    return replace(release, mlflow_run_id=run_id)


@task
def record(workspace: Workspace, release: Release) -> None:
    """Complete the MLflow run of the training with figures, verdict and bundle; once."""
    tracker = tracker_for(workspace, Settings())
    files = {} if release.bundle is None else {"bundle": Path(f"{release.bundle}.tar")}
    judged = [workspace.reports / "gate.json", *files.values()]
    stamp = json.dumps([release.verdict, *(file_hash(path) for path in judged)])
    if tracker.tag(release.mlflow_run_id, "shelfgap.recorded") == stamp:
        return
    metrics = {}
    for precision, evaluation in (("int8", release.evaluation), ("fp32", release.fp32_evaluation)):
        for key in FIGURES:
            for bound, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                if evaluation[key][bound] is not None:
                    metrics[f"test/{precision}/{key}{suffix}"] = evaluation[key][bound]
        for name, value in release.latency_ms.get(precision, {}).items():
            if value is not None:
                metrics[f"latency_ms/{precision}/{name}"] = value
    tracker.log(release.mlflow_run_id, metrics, files, {"shelfgap.verdict": release.verdict})
    for path in sorted(p for p in workspace.reports.iterdir() if p.suffix in REPORT_FORMS):
        tracker.log(release.mlflow_run_id, {}, {"reports": path})
    tracker.log(release.mlflow_run_id, {}, tags={"shelfgap.recorded": stamp})
    tracker.finish(release.mlflow_run_id)


@task
def register(workspace: Workspace, release: Release) -> int:
    """Register the bundle as challenger."""
    return register_release(workspace, Settings(), release.mlflow_run_id)


@task
def tell(workspace: Workspace, release: Release) -> None:
    """Tell people the verdict, if an address is set."""
    notify_verdict(workspace, Settings(), release)


@flow(name="release", log_prints=False)
def release_flow(workspace_root: str, registers: bool = True, base: str | None = None) -> Release:
    """Data in, detector trained and tracked, ONNX exported and quantized, measured, judged, bundled, registered."""
    workspace = Workspace(Path(workspace_root))
    log = get_run_logger()
    stages = [*data_stages(workspace.params()), "train", "export", "quantize", "evaluate", "bench"]
    for stage in stages:
        reproduce(workspace, stage)
    put_aside(workspace, base)
    # DVC does not know what this machine stands for
    reproduce(workspace, "pairs", force=measured_device_class(workspace) != Settings().device_class)
    try:
        reproduce(workspace, "gate")
        reproduce(workspace, "bundle")
        sign(workspace)
    except WorkspaceError:
        # a gate that did not pass is a result, not a fault of the flow
        judged = workspace.reports / "gate.json"
        if not judged.is_file() or read_report(workspace, judged.name)["verdict"] == "pass":
            raise
    release = find_run(workspace, collect(workspace))
    record(workspace, release)
    if registers and release.bundle is not None:
        release = replace(release, registry_version=register(workspace, release))
    create_markdown_artifact((workspace.reports / "gate.md").read_text(encoding="utf-8"), key="gate-report")
    create_markdown_artifact(summary_markdown(release), key="release-summary")
    tell(workspace, release)
    log.info("verdict %s: %s", release.verdict, release.reason)
    return release


def run_release(workspace: Workspace, *, registers: bool = True, base: str | None = None) -> Release:
    """Run the release flow; a failure of the domain is logged as one line, without a traceback.

    Args:
        workspace: what to release.
        registers: whether a bundle that passes becomes challenger in the registry.
        base: see `keep_champion`.

    Raises:
        ShelfgapError: a stage failed.
    """
    with one_line_errors():
        start_server(workspace.prefect_home)
        return release_flow(str(workspace.root), registers, base)
