"""The environment: addresses and secrets, never anything that changes an artefact."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from shelfgap_training.tracking import Tracker

from shelfgap_flows.workspace import Workspace


class Settings(BaseSettings):
    """Environment variables that begin with SHELFGAP_."""

    model_config = SettingsConfigDict(env_prefix="SHELFGAP_", frozen=True, env_ignore_empty=True)

    mlflow_tracking_uri: str | None = None  # None: SQLite inside the workspace
    mlflow_experiment: str = "shelfgap"
    devices: int | None = None  # processes that train together on this machine; None: one a GPU, else one
    nodes: int = 1  # machines that train together
    signing_key: Path | None = None  # a release signs its bundle with it; None: bundles stay unsigned
    signing_passphrase: SecretStr | None = None  # of that key, if it is encrypted
    flow_pid: int | None = None  # set by a flow for its stages

    def passphrase(self) -> str | None:
        """Return the passphrase of the signing key."""
        return None if self.signing_passphrase is None else self.signing_passphrase.get_secret_value()


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
