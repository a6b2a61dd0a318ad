"""One run in CI: pull the data, release, judge; the report where people look, the verdict as the exit code."""

from __future__ import annotations

import logging
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from shelfgap_datasets.coco import write_text_atomic
from shelfgap_export.gate.markdown import SIGNS
from shelfgap_export.gate.reports import REPORTS, clear_reports
from shelfgap_training.report import markdown_table

from shelfgap_flows.ci_job import CiJob
from shelfgap_flows.comment import CommentError, write_comment
from shelfgap_flows.outcome import Release
from shelfgap_flows.release import run_release
from shelfgap_flows.summary import summary_rows
from shelfgap_flows.workspace import SYNTHETIC, Workspace, WorkspaceError, has_remote, open_workspace, run_dvc

logger = logging.getLogger(__name__)

ARTEFACT = "gate"  # folder of the workspace
_COMMENT, _VARIABLES, _BUNDLE = "ci.md", "ci.env", "bundle.tar"
_OF_THIS_MACHINE = ("bundle", "MLflow page")  # rows of the summary
_USER_INFO = re.compile(r"//[^/@\s]+@")  # a password may stand in an address, and an error names addresses
_LONGEST = 60_000  # characters; GitHub takes 65,536


@dataclass(frozen=True)
class CiRun:
    """What came of a run.

    Attributes:
        verdict: of the gate; "error" where it came to none.
        reason: one line.
        bundle: the released `.tar`, in the folder of the artefact; None if it did not pass.
        report: Markdown file, beside the reports of the gate.
        comment: whether one was written on the pull request.
    """

    verdict: Literal["pass", "fail", "inconclusive", "error"]
    reason: str
    bundle: str | None
    report: str
    comment: Literal["created", "updated", "none"]

    def to_dict(self) -> dict[str, Any]:
        """Return it for machines."""
        return asdict(self)


def run_ci(root: Path, dataset: Path | None, preset: str | None, job: CiJob) -> CiRun:
    """Pull what DVC tracks, run the release, and tell the verdict; also where it ends with an error.

    The folder `gate` of the workspace is then what a CI system should keep: reports, and the bundle if it passed.

    What passes for a pull request is not registered: a challenger can be promoted, and nobody has merged this one.

    A pull request from a fork has no secrets. Where its data cannot be pulled for want of them, the verdict is
    inconclusive: somebody who has them must look.

    Args:
        root: workspace, the root of a repository of git and DVC or a folder with a DVC repository of its own.
        dataset: what to release; None: `dataset.source` of params.yaml.
        preset: None: that of params.yaml.
        job: where this runs.

    Raises:
        ShelfgapError: it came to no verdict, or there is no workspace; that has been told by then, as has been
            whatever else ends it.
    """
    workspace = Workspace(root.resolve())
    artefact = workspace.root / ARTEFACT
    clear_reports(artefact)
    for name in (_COMMENT, _VARIABLES, _BUNDLE):
        (artefact / name).unlink(missing_ok=True)
    try:
        _require_workspace(workspace)
        try:
            _pull(workspace)
            opened = open_workspace(root, dataset, preset=preset)
            _require_source(opened)
        except WorkspaceError as error:
            if not job.is_fork:
                raise
            reason = f"the data cannot be had without secrets, which a pull request from a fork does not get: {error}"
            return _tell(root, job, "inconclusive", reason, _headline("inconclusive", reason), None)
        release = run_release(opened, registers=not job.is_request, base=job.base)
    except Exception as error:  # whatever it is, an old pass must not stay
        reason = " ".join(str(error).split()) or type(error).__name__
        _tell(root, job, "error", reason, _headline("error", reason), None)
        raise
    for name in REPORTS:
        shutil.copyfile(opened.reports / name, artefact / name)
    bundle = None
    if release.bundle is not None:
        bundle = shutil.copyfile(f"{release.bundle}.tar", artefact / _BUNDLE)
    return _tell(root, job, release.verdict, release.reason, _report(opened, release), bundle)


def _require_workspace(workspace: Workspace) -> None:
    """Refuse what a release would make into a new workspace, whose shelves are drawn and whose pass says nothing."""
    missing = [name for name in ("params.yaml", ".dvc") if not (workspace.root / name).exists()]
    if missing:
        raise WorkspaceError(
            f"{workspace.root}: no {' and no '.join(missing)} there; --workspace takes the folder of the repository "
            "where both are committed"
        )


def _pull(workspace: Workspace) -> None:
    """Pull what DVC tracks; what nobody pushed is made by its stage, or missed by the one that needs it.

    Raises:
        WorkspaceError: the remote cannot be used.
    """
    if not has_remote(workspace):
        logger.info("%s: DVC has no remote, nothing to pull", workspace.root)
        return
    run_dvc(workspace, "pull", "--allow-missing", "--force")


def _require_source(workspace: Workspace) -> None:
    source = workspace.params().dataset.source
    if source != SYNTHETIC and not (workspace.root / source).is_dir():
        raise WorkspaceError(
            f"{workspace.root / source}: dataset.source of params.yaml is not here, and dvc pull did not bring it; "
            "track it (dvc add), push it (dvc push), commit its .dvc file, and name it by its path from params.yaml"
        )


def _headline(verdict: str, reason: str) -> str:
    word = "no verdict" if verdict == "error" else verdict
    return f"## {SIGNS.get(verdict, '⚠️')} Gate: {word}\n\n{reason}\n"


def _report(workspace: Workspace, release: Release) -> str:
    gate = (workspace.reports / "gate.md").read_text(encoding="utf-8")
    rows = [row for row in summary_rows(release) if row[0] not in _OF_THIS_MACHINE]
    table = markdown_table(["", ""], rows)
    return f"{gate}\n<details><summary>The candidate</summary>\n\n{table}\n\n</details>\n"


def _tell(
    root: Path,
    job: CiJob,
    verdict: Literal["pass", "fail", "inconclusive", "error"],
    reason: str,
    text: str,
    bundle: Path | None,
) -> CiRun:
    """Write report and variables, then tell GitHub or GitLab; what cannot be told is logged and changes no verdict."""
    text = _USER_INFO.sub("//***@", f"{_shortened(text)}\n{_origin(job)}")
    artefact = root.resolve() / ARTEFACT
    write_text_atomic(artefact / _COMMENT, text)
    variables = f"SHELFGAP_VERDICT={verdict}\nSHELFGAP_BUNDLE={bundle or ''}\n"
    write_text_atomic(artefact / _VARIABLES, variables)
    for path, content in ((job.summary, text), (job.output, variables)):
        if path is not None:
            with path.open("a", encoding="utf-8") as file:
                file.write(content)
    written: Literal["created", "updated", "none"] = "none"
    if job.thread is not None:
        try:
            written = write_comment(job.thread, f"<!-- shelfgap ci {os.path.relpath(root)} -->", text)
        except CommentError as error:
            logger.warning("%s", error)
    return CiRun(verdict, reason, None if bundle is None else str(bundle), str(artefact / _COMMENT), written)


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return text[:_LONGEST].rsplit("\n", 1)[0] + "\n\nCut here; the whole report is `gate.md` of the artefact.\n"


def _origin(job: CiJob) -> str:
    parts = [f"Commit {job.commit[:12]}"] if job.commit else []
    parts += [f"[job]({job.url}), with bundle and reports as its artefact"] if job.url else []
    return ", ".join(parts) + "\n" if parts else ""
