"""The search of a sweep: an Optuna study in SQLite, its trials, and what they brought."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState
from shelfgap_edge.errors import ShelfgapError
from shelfgap_training.params import Preset
from sqlalchemy.exc import DatabaseError

from shelfgap_flows.search_space import SweepParams, value_at

State = Literal["complete", "pruned", "failed", "unfinished"]

_STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
_KEY, _REASON, _RUN = "key", "reason", "mlflow_run_id"
_ask = threading.Lock()  # SQLite has no lock of a row: two threads that ask at once are both given the waiting trial


class SweepError(ShelfgapError):
    """A sweep cannot begin, or found nothing."""


@dataclass(frozen=True)
class TrialRow:
    """What one trial brought."""

    number: int
    state: State
    values: dict[str, float]
    val_ap50: float | None  # of its last validation
    epochs: int  # after which that was
    reason: str | None  # of a failure
    mlflow_run_id: str | None


class Search:
    """A study, as one thread sees it.

    The numbers of a trial are drawn from a stream that seed and trial number alone decide, so a search that was broken
    off goes on as if it had not been (with one trial at a time; several learn of each other when they end).

    Args:
        database: SQLite file, made if it is not there.
        name: of the study.
        sweep: how to search.
        preset: the recipe that is varied; its own values, if inside the bounds, are those of the first trial.
        key: stands for everything that trials must have in common.

    Raises:
        SweepError: a study of that name was begun with another key, or the file is no store of studies.
    """

    def __init__(self, database: Path, name: str, sweep: SweepParams, preset: Preset, key: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sweep = sweep
        self.preset = preset
        waiting = {"connect_args": {"timeout": 60}}  # of several processes that write
        try:
            self._study = optuna.create_study(
                storage=optuna.storages.RDBStorage(f"sqlite:///{database}", engine_kwargs=waiting),
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=sweep.random_trials),
            )
        except (DatabaseError, optuna.exceptions.StorageInternalError) as error:
            why = getattr(error, "orig", None) or error
            raise SweepError(f"{database}: no store of studies ({why}); move it away to begin anew") from None
        known = self._study.user_attrs.get(_KEY)
        if known not in (None, key):
            raise SweepError(f"study {name} was begun with other parameters, data or code; name another with --study")
        self._study.set_user_attr(_KEY, key)
        if not self._study.get_trials(deepcopy=False):
            values = {name: value_at(preset, name) for name in sweep.space}
            if all(bounds.low <= values[name] <= bounds.high for name, bounds in sweep.space.items()):
                self._study.enqueue_trial(values)

    @property
    def run_id(self) -> str | None:
        """MLflow run of the study."""
        run_id: str | None = self._study.user_attrs.get(_RUN)
        return run_id

    def set_run_id(self, run_id: str) -> None:
        """Note the MLflow run of the study."""
        self._study.set_user_attr(_RUN, run_id)

    def left_to_do(self, trials: int) -> list[int | None]:
        """Return the numbers of trials that were broken off, then None for each new one, up to `trials` in all."""
        begun = [t for t in self._study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
        broken_off = [t.number for t in begun if t.state == TrialState.RUNNING]
        return [*broken_off, *[None] * max(0, trials - len(begun))]

    def begin(self, number: int | None) -> Trial:
        """Begin a new trial, or take up one that was broken off."""
        study = self._study
        if number is None:
            with _ask:
                trial = study.ask()
        else:
            trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
        seed = self.sweep.seed + trial.number
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=self.sweep.random_trials, seed=seed)
        values: dict[str, float] = {}
        for name, bounds in sorted(self.sweep.space.items()):
            if isinstance(value_at(self.preset, name), int):
                values[name] = trial.suggest_int(name, int(bounds.low), int(bounds.high), log=bounds.log)
            else:
                values[name] = trial.suggest_float(name, bounds.low, bounds.high, log=bounds.log)
        return Trial(study, trial, values, self.sweep.epochs)

    def rows(self) -> list[TrialRow]:
        """Return the trials that were begun, in their order."""
        trials = self._study.get_trials(deepcopy=False)
        return [_row(trial) for trial in trials if trial.state != TrialState.WAITING]


class Trial:
    """A trial that runs.

    Attributes:
        number: of the trial in its study.
        values: by dotted key below the preset.
    """

    def __init__(self, study: optuna.Study, trial: optuna.trial.Trial, values: dict[str, float], epochs: int) -> None:
        self._study = study
        self._trial = trial
        self._epochs = epochs
        self.number = trial.number
        self.values = values

    @property
    def run_id(self) -> str | None:
        """MLflow run of the trial."""
        run_id: str | None = self._trial.user_attrs.get(_RUN)
        return run_id

    def set_run_id(self, run_id: str) -> None:
        """Note the MLflow run of the trial."""
        self._trial.set_user_attr(_RUN, run_id)

    def is_promising(self, epoch: int, val_ap50: float) -> bool:
        """Note what a validation found; False when the median of the others had found more by then."""
        if epoch not in self._study.get_trials(deepcopy=False)[self.number].intermediate_values:
            self._trial.report(val_ap50, epoch)
        return epoch == self._epochs or not self._trial.should_prune()

    @property
    def last_found(self) -> float:
        """What the validation after the last epoch found, NaN if it found no labelled box, or was not yet."""
        seen = self._study.get_trials(deepcopy=False)[self.number].intermediate_values
        return seen.get(self._epochs, math.nan)

    def complete(self, val_ap50: float) -> None:
        """End it with its figure."""
        self._study.tell(self._trial, val_ap50)

    def prune(self) -> None:
        """End it before its time."""
        self._study.tell(self._trial, state=TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """End it without a figure."""
        self._trial.set_user_attr(_REASON, reason)
        self._study.tell(self._trial, state=TrialState.FAIL)


def _row(trial: FrozenTrial) -> TrialRow:
    epochs = trial.last_step or 0
    found = trial.intermediate_values.get(epochs, math.nan) if trial.value is None else trial.value
    return TrialRow(
        number=trial.number,
        state=_STATES.get(trial.state, "unfinished"),
        values=dict(trial.params),
        val_ap50=None if math.isnan(found) else found,
        epochs=epochs,
        reason=trial.user_attrs.get(_REASON),
        mlflow_run_id=trial.user_attrs.get(_RUN),
    )
