"""`shelfgap ci`: what a CI job runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shelfgap_flows.cli_gate import EXIT_CODES
from shelfgap_flows.cli_output import AsJson, WorkspaceOption, print_json

if TYPE_CHECKING:
    from shelfgap_flows.ci_job import CiJob


def ci(
    dataset: Annotated[
        Path | None, typer.Option(help="Dataset to release; else dataset.source of params.yaml.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Which detector of params.yaml to train.")] = None,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Pull the data, release, judge, comment: for CI. Exit code 0 pass, 1 fail or error, 3 inconclusive.

    Reports, and the bundle if it passed, lie in the folder `gate` of the workspace; on GitHub and GitLab the report is
    also one comment on the pull request, rewritten by each run. See docs/ci.md.
    """
    os.environ.setdefault("PREFECT_HOME", str(workspace.resolve() / ".prefect"))
    from shelfgap_flows.ci import run_ci
    from shelfgap_flows.ci_job import this_job

    job = this_job()
    try:
        run = run_ci(workspace, dataset, preset, job)
    except Exception as error:
        _note(job, "error", str(error) or type(error).__name__)
        raise
    _note(job, run.verdict, run.reason)
    if as_json:
        print_json(run.to_dict())
    else:
        print(f"{run.verdict}: {run.reason}\n{run.report}")
    raise typer.Exit(EXIT_CODES[run.verdict])


def _note(job: CiJob, verdict: str, reason: str) -> None:
    """Let GitHub make a note on the page of the job, where there is something to note."""
    if job.output is not None and verdict != "pass":
        kind = "warning" if verdict == "inconclusive" else "error"
        line = " ".join(reason.split()).replace("%", "%25")
        print(f"::{kind} title=shelfgap gate: {verdict}::{line}", file=sys.stderr)
