"""The sweep: trials of a recipe with other numbers, scored on validation images, as a resumable Prefect flow.

Everything that a trial has reached is kept: the study in SQLite, the training in its scratch folder. A sweep that was
killed or interrupted goes on with the trials that were running, from their last epochs, to the same number in all.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task, unmapped
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner
from shelfgap_training.params import Preset
from shelfgap_training.report import markdown_table

from shelfgap_flows.apart import InterruptedTrainingError, Trained, Training, TrainingFailedError, train_apart
from shelfgap_flows.hashes import code_hash, dataset_hash, file_hash
from shelfgap_flows.lock import hold
from shelfgap_flows.one_line import one_line_errors
from shelfgap_flows.params import Params, params_hash
from shelfgap_flows.params_file import save_params
from shelfgap_flows.prefect_server import start_server
from shelfgap_flows.release import data_stages, reproduce
from shelfgap_flows.search import Search, State, SweepError, TrialRow
from shelfgap_flows.search_space import SearchSpaceError, trial_recipe, value_at, with_values
from shelfgap_flows.settings import Settings, tracker_for
from shelfgap_flows.workspace import Workspace


@dataclass(frozen=True)
class Sweep:
    """A study, and what its trials train on."""

    workspace: Workspace
    params: Params
    name: str
    key: str

    @property
    def preset(self) -> Preset:
        """The recipe that is varied."""
        return self.params.presets[self.params.preset]

    @property
    def stop_file(self) -> Path:
        """Its presence ends the trials that run."""
        return self.workspace.sweeps / f"{self.name}.stop"

    def scratch(self, number: int) -> Path:
        """Return the folder of an unfinished trial."""
        return self.workspace.scratch / f"sweep-{self.name}" / f"{number:04d}"

    def search(self) -> Search:
        """Open the study."""
        return Search(self.workspace.sweeps / "studies.db", self.name, self.params.sweep, self.preset, self.key)


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found; figures are of validation images, and the best of many looks better than it is."""

    study: str
    best: TrialRow
    recipe: TrialRow | None  # the trial with the values of params.yaml, where it is one
    best_params: str
    trials: tuple[TrialRow, ...]
    mlflow_run_id: str

    def to_dict(self) -> dict[str, Any]:
        """Return it for machines."""
        return asdict(self)


def open_sweep(workspace: Workspace, params: Params, name: str | None) -> Sweep:
    """Name the study of a workspace's recipe and data, and open its run in MLflow.

    Args:
        workspace: with data/dataset.
        params: its parameters.
        name: of the study; without it a name that preset, recipe, space, data and code decide.

    Raises:
        SweepError: a study of that name was begun with something else.
        TrackingError: MLflow cannot be used.
    """
    key = _key(workspace, params)
    workspace.sweeps.mkdir(parents=True, exist_ok=True)
    sweep = Sweep(workspace, params, name or f"{params.preset}-{key[:8]}", key)
    search, tracker = sweep.search(), tracker_for(workspace, Settings())
    if not tracker.reopen(search.run_id):
        values = {"preset": params.preset, "sweep": params.sweep.model_dump(mode="json")}
        # the name too: trials, and other studies of the same recipe, have the key
        tags = {"shelfgap.sweep": key, "shelfgap.study": sweep.name}
        search.set_run_id(tracker.open_run(f"sweep-{sweep.name}", values, tags))
    return sweep


def _key(workspace: Workspace, params: Params) -> str:
    """Return what stands for everything that the trials of a study have in common, as it is now."""
    preset = params.presets[params.preset]
    # how many trials, and how many at a time, is for each call to say
    identity = params_hash(preset, params.sweep.model_copy(update={"trials": 1, "concurrency": 1}))
    identity += dataset_hash(workspace) + code_hash("datasets", "training")
    for start in (preset.train.initial_weights, preset.train.distillation.teacher):
        identity += "none" if start is None else file_hash(workspace.root / start)
    return hashlib.sha256(identity.encode()).hexdigest()


def _is_as_begun(sweep: Sweep) -> bool:
    try:
        return _key(sweep.workspace, sweep.params) == sweep.key
    except OSError:  # the data are just being replaced
        return False


def perform(sweep: Sweep, number: int | None) -> State:
    """Train one trial, new or broken off, and record it in the study and in MLflow; a failure is recorded too.

    Raises:
        InterruptedTrainingError: the sweep was told to stop; the trial goes on another time.
        SweepError: a release or an edit put other data, code or weights there since the sweep began.
        TrackingError: MLflow cannot be used.
    """
    if sweep.stop_file.exists():
        raise InterruptedTrainingError("not begun; run the same command to go on")
    if not _is_as_begun(sweep):
        raise SweepError(
            f"study {sweep.name}: {sweep.workspace.dataset}, the code or weights to start from changed since the sweep "
            "began, and its trials would not compare; put back what was there to go on, or run it again for a new study"
        )
    log, tracker = get_run_logger(), tracker_for(sweep.workspace, Settings())
    search, settings = sweep.search(), sweep.params.sweep
    trial = search.begin(number)
    run_id = trial.run_id
    if run_id is None or not tracker.reopen(run_id):
        tags = {"shelfgap.sweep": sweep.key, "shelfgap.trial": str(trial.number)}
        run_id = tracker.open_run(f"{sweep.name}-{trial.number:04d}", trial.values, tags, search.run_id)
        trial.set_run_id(run_id)
    listed = ", ".join(f"{key} {value:.4g}" for key, value in trial.values.items())
    log.info("trial %d %s: %s", trial.number, "begins" if number is None else "goes on", listed)

    def go_on(epoch: int, val_ap50: float) -> bool:
        log.info("trial %d: epoch %d of %d, validation AP50 %.4f", trial.number, epoch, settings.epochs, val_ap50)
        return trial.is_promising(epoch, val_ap50)

    reason, metrics = None, {}
    try:
        trained = _train(sweep, trial.number, trial.values, run_id, go_on)
    except (SearchSpaceError, TrainingFailedError) as error:
        reason = str(error)
    else:
        if trained is not None:
            known = {"val/ap50": trial.last_found, "val/ap50_95": trained.val_ap50_95}
            metrics = {key: value for key, value in known.items() if not math.isnan(value)}
            reason = None if metrics else "no labelled box in the validation images"
    state: State = "failed" if reason else "complete" if metrics else "pruned"
    tracker.log(run_id, metrics, tags={"shelfgap.state": state} | ({"shelfgap.reason": reason} if reason else {}))
    tracker.finish(run_id, "FAILED" if reason else "FINISHED")
    if reason:
        log.warning("trial %d failed: %s", trial.number, reason)
        trial.fail(reason)
        return state
    if metrics:
        trial.complete(metrics["val/ap50"])
    else:
        trial.prune()
    shutil.rmtree(sweep.scratch(trial.number), ignore_errors=True)
    return state


def _train(
    sweep: Sweep, number: int, values: dict[str, float], run_id: str, go_on: Callable[[int, float], bool]
) -> Trained | None:
    recipe = trial_recipe(sweep.preset, sweep.params.sweep, values)
    initial, teacher = (
        None if name is None else sweep.workspace.root / name
        for name in (recipe.train.initial_weights, recipe.train.distillation.teacher)
    )
    side_by_side = sweep.params.sweep.concurrency
    training = Training(
        dataset=sweep.workspace.dataset,
        recipe=recipe,
        scratch=sweep.scratch(number),
        initial=initial,
        teacher=teacher,
        tracker=tracker_for(sweep.workspace, Settings()),
        run_id=run_id,
        cores=None if side_by_side == 1 else max(1, (os.cpu_count() or 1) // side_by_side),
    )
    return train_apart(training, go_on=go_on, should_stop=sweep.stop_file.exists)


def conclude(sweep: Sweep) -> SweepResult:
    """Choose the best trial, write sweep/best_params.yaml, and finish the run in MLflow.

    Raises:
        SweepError: no trial succeeded; says why the last one did not.
    """
    search, tracker = sweep.search(), tracker_for(sweep.workspace, Settings())
    rows, run_id = search.rows(), search.run_id
    assert run_id is not None
    complete = [row for row in rows if row.state == "complete"]
    if not complete:
        tracker.finish(run_id, "FAILED")
        why = next((row.reason for row in reversed(rows) if row.reason), "it did not end")
        raise SweepError(f"study {sweep.name}: none of {len(rows)} trials succeeded; the last one: {why}")
    best = max(complete, key=lambda row: row.val_ap50 or 0.0)
    own = {key: value_at(sweep.preset, key) for key in sweep.params.sweep.space}
    found = with_values(sweep.preset, best.values)
    best_params = sweep.workspace.sweeps / "best_params.yaml"
    presets = {**sweep.params.presets, sweep.params.preset: found}
    save_params(best_params, sweep.params.model_copy(update={"presets": presets}), like=sweep.workspace.params_file)
    assert best.val_ap50 is not None
    metrics = {"val/ap50": best.val_ap50, "trials": float(len(rows))}
    tracker.log(run_id, metrics, {"sweep": best_params}, {"shelfgap.best_trial": str(best.number)})
    tracker.finish(run_id)
    recipe = next((row for row in complete if row.values == own), None)
    return SweepResult(sweep.name, best, recipe, str(best_params), tuple(rows), run_id)


def sweep_markdown(result: SweepResult) -> str:
    """Return the trials as a table, the best first."""
    keys = list(result.best.values)
    head = ["trial", "state", "validation AP50", "epochs", *keys, "reason"]
    rows = []
    for row in sorted(result.trials, key=lambda row: (row.state != "complete", -(row.val_ap50 or 0.0))):
        ap50 = "" if row.val_ap50 is None else f"{row.val_ap50:.4f}"
        values = [f"{row.values[key]:.4g}" if key in row.values else "" for key in keys]
        rows.append([row.number, row.state, ap50, row.epochs, *values, row.reason or ""])
    return markdown_table(head, rows) + "\n"


@task(task_run_name="trial", cache_policy=NO_CACHE)  # new trials look alike before they begin
def run_trial(sweep: Sweep, number: int | None) -> State:
    """Train one trial."""
    return perform(sweep, number)


@flow(name="sweep")
def sweep_flow(workspace_root: str, trials: int | None = None, study: str | None = None) -> SweepResult:
    """Bring the dataset up to date, train what is left of the trials side by side, and name the best."""
    workspace = Workspace(Path(workspace_root))
    params = workspace.params()
    with hold(workspace.sweeps / ".lock", "another sweep"):
        for stage in data_stages(params):
            reproduce(workspace, stage)
        sweep = open_sweep(workspace, params, study)
        sweep.stop_file.unlink(missing_ok=True)
        left = sweep.search().left_to_do(trials or params.sweep.trials)
        get_run_logger().info("study %s: %d trials to do", sweep.name, len(left))
        _run_all(sweep, left)
        result = conclude(sweep)
    create_markdown_artifact(sweep_markdown(result), key="sweep-trials")
    return result


def _run_all(sweep: Sweep, left: Sequence[int | None]) -> None:
    trials = run_trial.map(unmapped(sweep), left)
    try:
        for trial in trials:
            trial.result()
    except BaseException:  # Ctrl-C too: the others end after their batch, and go on another time
        sweep.stop_file.touch()
        raise


def run_sweep(workspace: Workspace, trials: int | None, study: str | None) -> SweepResult:
    """Run the sweep flow; a failure of the domain is logged as one line, without a traceback.

    Raises:
        ShelfgapError: no trial succeeded, or the data or MLflow cannot be used.
    """
    with one_line_errors():
        start_server(workspace.prefect_home)
        runner: Any = ThreadPoolTaskRunner(max_workers=workspace.params().sweep.concurrency)
        return sweep_flow.with_options(task_runner=runner)(str(workspace.root), trials, study)
