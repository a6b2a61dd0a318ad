"""The environment: addresses and secrets, never anything that changes an artefact."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Any

from pydantic import PositiveInt, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from shelfgap_edge.errors import ShelfgapError
from shelfgap_training.registry import ModelRegistry, RegistryError
from shelfgap_training.tracking import Tracker

from shelfgap_flows.params import workspace_params
from shelfgap_flows.workspace import Workspace


class SettingsError(ShelfgapError):
    """A variable of the environment has a value that it cannot have."""


class Settings(BaseSettings):
    """Environment variables that begin with SHELFGAP_.

    Raises:
        SettingsError: one has a value that it cannot have.
    """

    model_config = SettingsConfigDict(env_prefix="SHELFGAP_", frozen=True, env_ignore_empty=True)

    mlflow_tracking_uri: str | None = None  # None: SQLite inside the workspace
    mlflow_experiment: str = "shelfgap"
    devices: PositiveInt | None = None  # processes that train together on this machine; None: one a GPU, else one
    nodes: PositiveInt = 1  # machines that train together
    device_class: str | None = None  # whose latency budget this machine stands for; None: a release judges none
    signing_key: Path | None = None  # a release signs its bundle with it; None: bundles stay unsigned
    signing_passphrase: SecretStr | None = None  # of that key, if it is encrypted
    user: str | None = None  # who promotes; None: the login name and the machine
    approval_seconds: PositiveInt = 24 * 3600  # how long a promotion waits for somebody to approve it
    notify_url: SecretStr | None = None  # where verdicts and promotions are told, for Apprise; None: nowhere
    flow_pid: int | None = None  # set by a flow for its stages

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = f"SHELFGAP_{first['loc'][0]}".upper()
            raise SettingsError(f"{name}: {first['msg']}, got {first['input']!r}; correct or unset it") from None

    def passphrase(self) -> str | None:
        """Return the passphrase of the signing key."""
        return None if self.signing_passphrase is None else self.signing_passphrase.get_secret_value()

    def who(self) -> str:
        """Return who runs this command.

        Raises:
            RegistryError: nobody knows.
        """
        if self.user is not None:
            return self.user
        try:
            return f"{getpass.getuser()}@{socket.gethostname()}"
        except (KeyError, OSError):
            raise RegistryError("this user has no name here; say who promotes in SHELFGAP_USER") from None


def tracker_for(workspace: Workspace, settings: Settings) -> Tracker:
    """Return the tracker: the server of the environment, else a SQLite store inside the workspace."""
    if settings.mlflow_tracking_uri:
        return Tracker(settings.mlflow_tracking_uri, None, settings.mlflow_experiment)
    workspace.mlflow.mkdir(parents=True, exist_ok=True)
    return Tracker(
        f"sqlite:///{workspace.mlflow / 'mlflow.db'}",
        (workspace.mlflow / "artifacts").as_uri(),
        settings.mlflow_experiment,
    )


def registry_for(workspace: Workspace, settings: Settings) -> ModelRegistry:
    """Return the registry of the model that params.yaml names, in the MLflow of the tracker.

    Raises:
        RegistryError: there is no MLflow, and nothing here that looks like a workspace.
        ParamsError: params.yaml is wrong.
    """
    if not settings.mlflow_tracking_uri and not workspace.params_file.is_file():
        raise RegistryError(
            f"{workspace.root}: no workspace; name one with --workspace, or an MLflow server in "
            "SHELFGAP_MLFLOW_TRACKING_URI"
        )
    model = workspace_params(workspace.root).bundle.name
    tracker = tracker_for(workspace, settings)
    return ModelRegistry(tracker.uri, tracker.artifact_root, f"{tracker.experiment}-registry", model)
