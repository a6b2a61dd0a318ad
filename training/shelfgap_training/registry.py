"""MLflow's model registry: versions that are the bytes of bundles, aliases, and a log that only grows.

Everything of one model lies in one run of MLflow, its registry run: bundles as artifacts, the log as parameters. A tag
that the registered model is created with names the run; a registered model of one name is created once, so all machines
find the same run. See `docs/adr/0016-registry.md`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shelfgap_edge.errors import ShelfgapError

from shelfgap_training.registry_log import append_entry, read_entries
from shelfgap_training.tracking import experiment_called, mlflow_client, speaking_to

BUNDLE_FILE = "bundle.tar"
_RUN = "shelfgap.registry_run"
_SHA256 = "shelfgap.bundle_sha256"
_IDENTITY = "shelfgap.identity"
_BUNDLE_VERSION = "shelfgap.bundle_version"
_TRAINING_RUN = "shelfgap.training_run"


class RegistryError(ShelfgapError):
    """A model cannot be registered or found."""


@dataclass(frozen=True)
class RegisteredBundle:
    """A version of a registered model.

    Attributes:
        version: number that the registry gave, from 1.
        bundle_version: version in the manifest of the bundle.
        identity: digest of what a gate judges (see `shelfgap_edge.identity`).
        bundle_sha256: of the bundle's `.tar`, byte for byte.
        registered_at: ISO 8601 time in UTC.
        training_run: MLflow run of its training; None for a bundle from elsewhere.
    """

    version: int
    bundle_version: str
    identity: str
    bundle_sha256: str
    registered_at: str
    training_run: str | None


@dataclass(frozen=True)
class ModelRegistry:
    """The versions of one model. Each method raises TrackingError when MLflow cannot be reached.

    Attributes:
        uri: of MLflow, as for a `Tracker`.
        artifact_root: where a new experiment keeps files; None leaves it to the server.
        experiment: in which the registry run lies.
        model: name of the registered model.
    """

    uri: str
    artifact_root: str | None
    experiment: str
    model: str

    def versions(self) -> list[RegisteredBundle]:
        """Return all versions, the newest first; none before the first registration."""
        with self._speaking() as (client, run_id):
            return [] if run_id is None else self._search(client, {})

    def version(self, number: int) -> RegisteredBundle:
        """Return one version.

        Raises:
            RegistryError: there is none of that number.
        """
        known = self.versions()
        for entry in known:
            if entry.version == number:
                return entry
        numbers = ", ".join(str(entry.version) for entry in known) or "none yet"
        raise RegistryError(f"{self.model}: no version {number} in the registry; it has {numbers}")

    def register(
        self, content: bytes, identity: str, bundle_version: str, training_run: str | None = None
    ) -> RegisteredBundle:
        """Keep a bundle as a version; the same bytes are the same version, however often they come.

        Args:
            content: of the bundle's `.tar`.
            identity: of its model.
            bundle_version: of its manifest.
            training_run: MLflow run that made it.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        with self._speaking() as (client, run_id):
            run_id = run_id or self._create(client)
            if not self._search(client, {_SHA256: sha256}):
                folder = f"bundles/{sha256}"
                _upload(client, run_id, content, folder, BUNDLE_FILE)
                tags = {_SHA256: sha256, _IDENTITY: identity, _BUNDLE_VERSION: bundle_version}
                if training_run is not None:
                    tags[_TRAINING_RUN] = training_run
                source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
                client.create_model_version(self.model, source, run_id, tags, await_creation_for=None)
            *later, first = self._search(client, {_SHA256: sha256})
            for double in later:  # the same bytes came from two machines at once
                with _unless("RESOURCE_DOES_NOT_EXIST"):
                    client.delete_model_version(self.model, str(double.version))
        return first

    def fetch(self, version: RegisteredBundle, target: Path) -> None:
        """Download the `.tar` of a version; the target only ever shows a whole one.

        Raises:
            RegistryError: what lies in the store is not what was registered.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
            with self._speaking() as (client, run_id):
                name = f"bundles/{version.bundle_sha256}/{BUNDLE_FILE}"
                path = Path(client.download_artifacts(run_id, name, scratch))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest != version.bundle_sha256:
                raise RegistryError(
                    f"{self.model} version {version.version}: the artifact store holds other bytes (SHA-256 "
                    f"{digest[:12]}...) than were registered ({version.bundle_sha256[:12]}...); restore the file, "
                    "or build and register anew"
                )
            path.replace(target)

    def keep(self, content: bytes, folder: str, name: str) -> None:
        """Keep a file beside the bundles."""
        with self._speaking() as (client, run_id):
            _upload(client, run_id or self._create(client), content, folder, name)

    def point(self, alias: str, version: int | None) -> None:
        """Make an alias point at a version, or (None) at nothing; a version that is gone meanwhile gets none."""
        with self._speaking() as (client, _), _unless("RESOURCE_DOES_NOT_EXIST"):
            if version is None:
                client.delete_registered_model_alias(self.model, alias)
                return
            with _unless("BAD_REQUEST"):  # another machine made the alias between MLflow's look and its insert
                client.set_registered_model_alias(self.model, alias, str(version))
                return
            client.set_registered_model_alias(self.model, alias, str(version))

    def aliases(self) -> dict[str, int]:
        """Return the version that each alias points at."""
        with self._speaking() as (client, run_id):
            if run_id is None:
                return {}
            aliases = client.get_registered_model(self.model).aliases
            return {alias: int(version) for alias, version in aliases.items()}

    def log(self) -> list[str]:
        """Return the entries of the log, the oldest first.

        Raises:
            LogError: an entry is missing.
        """
        with self._speaking() as (client, run_id):
            return [] if run_id is None else read_entries(client, run_id)

    def append(self, number: int, text: str) -> bool:
        """Append to the log of a model that has versions; see `registry_log.append_entry`."""
        with self._speaking() as (client, run_id):
            assert run_id is not None
            return append_entry(client, run_id, number, text)

    @contextmanager
    def _speaking(self) -> Iterator[tuple[Any, str | None]]:
        """Yield the client and the registry run of the model, None before there is one.

        Raises:
            RegistryError: the registered model is of another making.
        """
        with speaking_to(self.uri):
            client, model = mlflow_client(self.uri), None
            with _unless("RESOURCE_DOES_NOT_EXIST"):
                model = client.get_registered_model(self.model)
            if model is not None and _RUN not in model.tags:
                raise RegistryError(
                    f"{self.uri} has a registered model {self.model!r} that shelfgap did not make; "
                    "set another bundle.name in params.yaml"
                )
            yield client, None if model is None else model.tags[_RUN]

    def _create(self, client: Any) -> str:
        """Create the registry run and the registered model that names it; of several at once one comes first."""
        experiment_id = experiment_called(client, self.experiment, self.artifact_root)
        run_id = client.create_run(experiment_id, run_name=f"registry of {self.model}").info.run_id
        client.set_terminated(run_id)
        with _unless("RESOURCE_ALREADY_EXISTS"):
            client.create_registered_model(self.model, {_RUN: run_id})
        named = str(client.get_registered_model(self.model).tags[_RUN])
        if named != run_id:
            client.delete_run(run_id)
        return named

    def _search(self, client: Any, tags: Mapping[str, str]) -> list[RegisteredBundle]:
        """Return the versions with these tags, the newest first."""
        wanted = [f"name = '{self.model}'", *(f"tags.`{key}` = '{value}'" for key, value in tags.items())]
        found, page = [], None
        while page is None or page:
            answer = client.search_model_versions(" and ".join(wanted), page_token=page)
            found += [_registered(entry) for entry in answer if _SHA256 in entry.tags]
            page = answer.token or ""
        return sorted(found, key=lambda version: -version.version)


def _upload(client: Any, run_id: str, content: bytes, folder: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        path.write_bytes(content)
        client.log_artifact(run_id, str(path), folder)


def _registered(entry: Any) -> RegisteredBundle:
    return RegisteredBundle(
        version=int(entry.version),
        bundle_version=entry.tags[_BUNDLE_VERSION],
        identity=entry.tags[_IDENTITY],
        bundle_sha256=entry.tags[_SHA256],
        registered_at=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        training_run=entry.tags.get(_TRAINING_RUN),
    )


@contextmanager
def _unless(code: str) -> Iterator[None]:
    """Pass over one answer of MLflow: that something is there already, or not there."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != code:
            raise
