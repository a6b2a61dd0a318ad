"""A workspace: the directory that holds parameters, stage graph, data, models, reports and stores of one project."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from shelfgap_datasets.coco import write_text_atomic
from shelfgap_edge.errors import ShelfgapError

from shelfgap_flows.lock import hold
from shelfgap_flows.params import Params, default_params, load_params, workspace_params

SYNTHETIC = "data/synthetic"  # the source that a stage makes, where params.yaml names it
_STDERR = 2  # the descriptor: a notebook's sys.stderr has none


class WorkspaceError(ShelfgapError):
    """A workspace cannot be used or made."""


@dataclass(frozen=True)
class Workspace:
    """Paths of a workspace; nothing is made by naming it."""

    root: Path

    @property
    def params_file(self) -> Path:
        """The parameters."""
        return self.root / "params.yaml"

    @property
    def dataset(self) -> Path:
        """The dataset that is trained on."""
        return self.root / "data" / "dataset"

    @property
    def models(self) -> Path:
        """Trained detector and exported models."""
        return self.root / "models"

    @property
    def reports(self) -> Path:
        """What the stages measured, as JSON."""
        return self.root / "reports"

    @property
    def bundle(self) -> Path:
        """The released bundle."""
        return self.root / "release" / "bundle"

    @property
    def champion(self) -> Path:
        """The weights of the released bundle."""
        return self.root / "release" / "detector.pt"

    @property
    def compared(self) -> Path:
        """The bundle that the candidate is compared with."""
        return self.root / "release" / "champion" / "bundle.tar"

    @property
    def scratch(self) -> Path:
        """Checkpoints of trainings that are not exported yet, and what else goes on after a kill."""
        return self.root / ".scratch"

    @property
    def sweeps(self) -> Path:
        """Studies of the sweeps, and the best parameters that the last one found."""
        return self.root / "sweep"

    @property
    def prefect_home(self) -> Path:
        """Prefect's own state."""
        return self.root / ".prefect"

    @property
    def mlflow(self) -> Path:
        """The default MLflow store."""
        return self.root / "mlflow"

    def params(self) -> Params:
        """Load the parameters."""
        return load_params(self.params_file)


def open_workspace(
    root: Path, dataset: Path | None = None, params: Path | None = None, preset: str | None = None
) -> Workspace:
    """Open a workspace for a flow; a new directory becomes one from the packaged template.

    Args:
        root: the directory.
        dataset: sets `dataset.source` in its params.yaml.
        params: replaces its params.yaml.
        preset: sets `preset` in it.

    Raises:
        WorkspaceError: the directory or the dataset cannot be used.
        ParamsError: params.yaml is wrong.
    """
    root = root.resolve()
    _refuse_what_cannot_be(root, dataset, params, preset)
    template = resources.files("shelfgap_flows") / "template"
    root.mkdir(parents=True, exist_ok=True)
    for name in ("params.yaml", "dvc.yaml"):
        if not (root / name).exists():
            write_text_atomic(root / name, (template / name).read_text(encoding="utf-8"))
    workspace = Workspace(root)
    if params is not None and params.resolve() != workspace.params_file:
        write_text_atomic(workspace.params_file, params.read_text(encoding="utf-8"))
    if dataset is not None:
        _set_value(workspace.params_file, ("dataset", "source"), source_name(workspace, dataset))
    if preset is not None:
        _set_value(workspace.params_file, ("preset",), preset)
    if not (root / ".dvc").is_dir():
        run_dvc(workspace, "init", "--no-scm", "--quiet")
    return workspace


@contextmanager
def open_alone(
    root: Path, dataset: Path | None = None, params: Path | None = None, preset: str | None = None
) -> Iterator[Workspace]:
    """Open a workspace like `open_workspace`, once no other release or retraining works in it, and keep others waiting.

    Raises:
        WorkspaceError, ParamsError: see `open_workspace`.
    """
    workspace = Workspace(root.resolve())
    _refuse_what_cannot_be(workspace.root, dataset, params, preset)
    with only_release(workspace):
        yield open_workspace(root, dataset, params, preset)


def only_release(workspace: Workspace) -> AbstractContextManager[None]:
    """Hold a workspace for one release or retraining: both go by its params.yaml, and change it. A second waits."""
    return hold(workspace.scratch / "release.lock", "another release or retraining")


def _refuse_what_cannot_be(root: Path, dataset: Path | None, params: Path | None, preset: str | None) -> None:
    """Check the arguments of `open_workspace` before anything is touched."""
    if root.exists() and not root.is_dir():
        raise WorkspaceError(f"{root}: is a file, expected a directory for the workspace")
    if dataset is not None and not dataset.is_dir():
        raise WorkspaceError(f"{dataset}: no such folder; --dataset takes a folder of photographs with labels")
    if params is not None:
        chosen = load_params(params)
    else:
        chosen = workspace_params(root) if root.exists() else default_params()
    chosen.with_preset(preset or chosen.preset)


def source_name(workspace: Workspace, dataset: Path) -> str:
    """Return how params.yaml names a dataset: by its path in the workspace, so that a clone finds it, or as it is."""
    path = dataset.resolve()
    name = path.relative_to(workspace.root).as_posix() if path.is_relative_to(workspace.root) else str(path)
    return str(path) if name == SYNTHETIC else name  # given, it is not to be made


def run_dvc(workspace: Workspace, *arguments: str) -> None:
    """Run a DVC command in a workspace, after any other that holds it; stages find the `shelfgap` of this environment.

    Raises:
        WorkspaceError: DVC is unhappy; it has said why on the terminal.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    # a flow may promise its standard output to a machine: what the stages say goes to standard error
    with subprocess.Popen(command, cwd=workspace.root, env=stage_environment(), stdout=_STDERR) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it was told as well, and ends in order
            raise
    if code:
        raise WorkspaceError(f"dvc {' '.join(arguments)} ended with exit code {code}")


def has_remote(workspace: Workspace) -> bool:
    """Return whether DVC has a remote storage to push to and pull from.

    Raises:
        WorkspaceError: DVC cannot read its own configuration.
    """
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    from dvc.config import Config, ConfigError

    folder = workspace.root / ".dvc"
    try:
        return folder.is_dir() and bool(Config(str(folder))["core"].get("remote"))
    except ConfigError as error:
        raise WorkspaceError(f"{folder / 'config'}: {error}; see: dvc config --list") from None


def require_remote(workspace: Workspace) -> None:
    """Say so when a workspace has no remote storage to push to.

    Raises:
        WorkspaceError: it has none.
    """
    if not has_remote(workspace):
        raise WorkspaceError(
            f"{workspace.root}: no remote storage to push to; add one there with: dvc remote add -d NAME URL "
            "(a folder, ssh://... or s3://...)"
        )


def stage_environment() -> Mapping[str, str]:
    """Return the environment of stage commands."""
    here = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([here, os.environ.get("PATH", "")]),
        "DVC_NO_ANALYTICS": "1",
        "SHELFGAP_FLOW_PID": str(os.getpid()),  # a training stops when its flow was killed
    }


def _set_value(path: Path, key: Sequence[str], value: str) -> None:
    """Set one value of a params.yaml and keep its comments."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 200
    document: Any = yaml.load(path.read_text(encoding="utf-8"))
    section = document
    for name in key[:-1]:
        section = section[name]
    if section[key[-1]] != value:
        section[key[-1]] = value
        stream = io.StringIO()
        yaml.dump(document, stream)
        write_text_atomic(path, stream.getvalue())
