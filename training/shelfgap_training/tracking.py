"""MLflow's runs: parameters, curves and files of trainings."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shelfgap_edge.errors import ShelfgapError

logger = logging.getLogger(__name__)

MLFLOW_PARENT_RUN_ID = "mlflow.parentRunId"  # the tag by which MLflow nests runs

_TRAINED_AS = "shelfgap.trained_as"  # id of the run in the store where the training was recorded


class TrackingError(ShelfgapError):
    """The tracking server or store cannot be used."""


@dataclass(frozen=True)
class Tracker:
    """Where runs are recorded.

    Attributes:
        uri: tracking URI; always given, since MLflow's own default differs by version.
        artifact_root: where a new experiment keeps files; None leaves it to the server.
        experiment: name of the experiment.
    """

    uri: str
    artifact_root: str | None
    experiment: str

    def open_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None = None) -> str:
        """Return the id of a run with these tags: an unfinished one is taken up again, else one is made.

        Args:
            name: what a new run is called.
            params: nested values of a new run.
            tags: what the run is known by.
            parent: id of the run below which MLflow shows it.

        Raises:
            TrackingError: the store cannot be reached.
        """
        tags = dict(tags) if parent is None else {**tags, MLFLOW_PARENT_RUN_ID: parent}
        with speaking_to(self.uri):
            client = mlflow_client(self.uri)
            experiment_id = experiment_called(client, self.experiment, self.artifact_root)
            wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
            unfinished = client.search_runs([experiment_id], f"{wanted} and attributes.status != 'FINISHED'")
            if unfinished:
                run_id = str(unfinished[0].info.run_id)
                client.update_run(run_id, status="RUNNING")
                return run_id
            run = client.create_run(experiment_id, run_name=name, tags=tags)
            for key, value in _flatten(params).items():
                client.log_param(run.info.run_id, key, value)
            return str(run.info.run_id)

    def run_for(self, run_id: str, name: str) -> str:
        """Return the id of the run here that stands for a training: its own, or one for a run that another store has.

        Args:
            run_id: of the training.
            name: what a new run is called.

        Raises:
            TrackingError: the store cannot be reached.
        """
        from mlflow.exceptions import MlflowException

        with speaking_to(self.uri):
            client = mlflow_client(self.uri)
            try:
                return str(client.get_run(run_id).info.run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            experiment_id = experiment_called(client, self.experiment, self.artifact_root)
            known = client.search_runs([experiment_id], f"tags.`{_TRAINED_AS}` = '{run_id}'")
            run = known[0] if known else client.create_run(experiment_id, run_name=name, tags={_TRAINED_AS: run_id})
            return str(run.info.run_id)

    def lightning_logger(self, run_id: str) -> Any:
        """Return a Lightning logger that writes curves into the run, while the store can be reached."""
        from shelfgap_training.curves import Curves

        return Curves(experiment_name=self.experiment, tracking_uri=self.uri, run_id=run_id)

    def log(
        self,
        run_id: str,
        metrics: Mapping[str, float],
        files: Mapping[str, Path] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add final metrics, files (folder in the run -> local file) and tags to a run.

        Raises:
            TrackingError: the store cannot be reached.
        """
        with speaking_to(self.uri):
            client = mlflow_client(self.uri)
            for key, value in metrics.items():
                client.log_metric(run_id, key, value)
            for key, text in (tags or {}).items():
                client.set_tag(run_id, key, text)
            for folder, path in (files or {}).items():
                client.log_artifact(run_id, str(path), folder)

    def reopen(self, run_id: str | None) -> bool:
        """Mark a run as running again; False when there is none of that id."""
        from mlflow.exceptions import MlflowException

        try:
            if run_id is None:
                return False
            mlflow_client(self.uri).update_run(run_id, status="RUNNING")
        except MlflowException:
            return False
        return True

    def finish(self, run_id: str, status: Literal["FINISHED", "FAILED"] = "FINISHED") -> None:
        """Mark a run as finished.

        Raises:
            TrackingError: there is no such run any more, or the store cannot be reached.
        """
        with speaking_to(self.uri):
            mlflow_client(self.uri).set_terminated(run_id, status)

    def tag(self, run_id: str, key: str) -> str | None:
        """Return a tag of a run, None when the run or the tag does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            value = mlflow_client(self.uri).get_run(run_id).data.tags.get(key)
        except MlflowException:
            return None
        return None if value is None else str(value)


def mlflow_client(uri: str) -> Any:
    """Return MLflow's client of a tracking URI, for this package: nothing above it speaks to MLflow."""
    from mlflow.tracking import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)  # it announces every migration
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_called(client: Any, name: str, artifact_root: str | None) -> str:
    """Return the id of an experiment, which is made if there is none; of several makers at once one comes first."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_root))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(name)
    return str(experiment.experiment_id)


@contextmanager
def speaking_to(uri: str) -> Iterator[None]:
    """Say in one line what MLflow could not do.

    Raises:
        TrackingError: it could not.
    """
    try:
        yield
    except ShelfgapError:
        raise
    except Exception as error:
        raise TrackingError(f"{uri}: MLflow cannot be used ({error})") from error


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings: {"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
