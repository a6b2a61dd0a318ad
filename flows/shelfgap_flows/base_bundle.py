"""The bundle that was released at another commit of a workspace's repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from shelfgap_flows.workspace import Workspace, WorkspaceError, run_dvc


def fetch_released(workspace: Workspace, commit: str) -> Path | None:
    """Fetch the bundle that `dvc.lock` of a commit names, from DVC's cache or remote.

    Returns:
        The `.tar`, in the scratch folder of the workspace; None where nothing was released at that commit.

    Raises:
        WorkspaceError: the commit is not in this clone, or its bundle cannot be had.
    """
    if _git(workspace, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise WorkspaceError(
            f"{workspace.root}: commit {commit[:12]}, on which this one is built, is not in this clone; check out the "
            "whole history (fetch-depth: 0 on GitHub, GIT_DEPTH: 0 on GitLab)"
        )
    released = workspace.bundle.with_suffix(".tar").relative_to(workspace.root)
    lock = yaml.safe_load(_git(workspace, "show", f"{commit}:./dvc.lock") or "") or {}
    paths = {out["path"] for stage in lock.get("stages", {}).values() for out in stage.get("outs", ())}
    if released.as_posix() not in paths:
        return None
    repository = Path((_git(workspace, "rev-parse", "--show-toplevel") or "").strip())
    path = workspace.root.resolve().relative_to(repository.resolve()) / released
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    to = workspace.scratch / "base.tar"
    run_dvc(workspace, "get", "--force", "--rev", commit, "--out", str(to), str(repository), path.as_posix())
    return to


def _git(workspace: Workspace, *arguments: str) -> str | None:
    """Return what git says; None where it fails."""
    done = subprocess.run(["git", *arguments], cwd=workspace.root, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
