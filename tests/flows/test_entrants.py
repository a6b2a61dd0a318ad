"""What a candidate is compared with: the registry's champion on a real store, and DVC's stages that depend on it."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest
from patches_workspace import patches_params
from plain_bundles import plain_bundle
from shelfgap_export.gate.entrant import load_entrant
from shelfgap_export.gate_record import PromotionError
from shelfgap_export.promotion import carry_out, plan_promotion, plan_rollback, register_bundle
from shelfgap_flows import entrants
from shelfgap_flows.entrants import champion_of, keep_champion
from shelfgap_flows.settings import Settings, registry_for
from shelfgap_flows.workspace import Workspace, run_dvc
from shelfgap_training.registry import RegistryError
from shelfgap_training.tracking import TrackingError, mlflow_client

# MLflow declares its tables in a way that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

numbers = count()
STAGES = """
stages:
  pairs:
    cmd: {python} -c "print('judged', file=open('judged.log', 'a'))"
    deps: [release/champion]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The SQLite store of all workspaces here, each of which has a model of its own."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def name():
    return f"shelf-{next(numbers)}"


@pytest.fixture
def workspace(tmp_path, store, name, monkeypatch):
    """A workspace with a candidate of version C."""
    root = tmp_path / "ws"
    root.mkdir()
    (root / "mlflow").symlink_to(store)
    patches_params(root / "params.yaml", bundle={"name": name})
    candidate = load_entrant(plain_bundle(tmp_path / "c", name, "C")[0])
    monkeypatch.setattr(entrants, "candidate_of", lambda workspace: candidate)
    return Workspace(root)


@pytest.fixture
def registry(workspace):
    return registry_for(workspace, Settings(mlflow_tracking_uri=None))


def promoted(registry, tar):
    """Register a bundle and make it champion."""
    version = register_bundle(registry, tar).version
    return step(registry, plan_promotion(registry, version))


def step(registry, plan):
    return carry_out(registry, plan, requested_by="ci", approved_by="anna", reason="why", now=datetime.now(UTC))


def judged(workspace):
    """Run the stage, if DVC thinks that it must be run; return how often it has been."""
    run_dvc(workspace, "repro", "--single-item", "--quiet", "pairs")
    return (workspace.root / "judged.log").read_text().count("judged")


def put_aside(workspace):
    """Return what lies in the folder that DVC's stages depend on."""
    return {path.name: path.read_bytes() for path in workspace.compared.parent.iterdir()}


def release(workspace, tar):
    workspace.bundle.mkdir(parents=True, exist_ok=True)
    workspace.bundle.with_suffix(".tar").write_bytes(tar.read_bytes())


def test_the_champion_of_the_registry_comes_before_the_last_bundle(workspace, registry, name, tmp_path):
    """One story: nothing, a bundle of the workspace, a champion, the next champion, and back."""
    (workspace.root / "dvc.yaml").write_text(STAGES.format(python=sys.executable))
    run_dvc(workspace, "init", "--no-scm", "--quiet")
    keep_champion(workspace, registry)
    assert champion_of(workspace) is None
    assert judged(workspace) == 1

    last, _ = plain_bundle(tmp_path / "l", name, "L")
    release(workspace, last)
    register_bundle(registry, last)  # a challenger is no champion yet
    keep_champion(workspace, registry)
    assert champion_of(workspace).origin == "released here before; the registry has no champion"
    assert (champion_of(workspace).manifest.version, judged(workspace)) == ("L", 2)

    first, identity = plain_bundle(tmp_path / "a", name, "A")
    entry = promoted(registry, first)
    keep_champion(workspace, registry)
    assert workspace.compared.read_bytes() == first.read_bytes()
    assert champion_of(workspace).to_dict() == {
        "name": name,
        "version": "A",
        "identity": identity,
        "precision": "int8",
        "origin": f"champion of the registry, version {entry.version}",
    }
    assert judged(workspace) == 3
    written = workspace.compared.stat().st_mtime_ns
    keep_champion(workspace, registry)
    assert (workspace.compared.stat().st_mtime_ns, judged(workspace)) == (written, 3)

    promoted(registry, plain_bundle(tmp_path / "b", name, "B", identity)[0])
    keep_champion(workspace, registry)
    assert (champion_of(workspace).manifest.version, judged(workspace)) == ("B", 4)
    step(registry, plan_rollback(registry))
    keep_champion(workspace, registry)
    assert (champion_of(workspace).manifest.version, judged(workspace)) == ("A", 5)


def test_a_candidate_that_became_champion_is_not_judged_again(workspace, registry, name, tmp_path):
    first, identity = plain_bundle(tmp_path / "a", name, "A")
    promoted(registry, first)
    keep_champion(workspace, registry)
    before = put_aside(workspace)
    promoted(registry, plain_bundle(tmp_path / "again", name, "C", identity)[0])
    keep_champion(workspace, registry)
    assert put_aside(workspace) == before
    assert champion_of(workspace).manifest.version == "A"


def test_a_promotion_of_what_lies_there_already_judges_nothing_again(workspace, registry, name, tmp_path):
    last, _ = plain_bundle(tmp_path / "l", name, "L")
    release(workspace, last)
    keep_champion(workspace, registry)
    before = put_aside(workspace)
    entry = promoted(registry, last)
    keep_champion(workspace, registry)
    assert put_aside(workspace) == before
    assert champion_of(workspace).origin == f"champion of the registry, version {entry.version}"


def test_a_registry_that_cannot_be_reached_is_an_error_and_not_a_reason_for_another_champion(
    workspace, registry, name, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    release(workspace, plain_bundle(tmp_path / "l", name, "L")[0])
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9: MLflow cannot be used"):
        keep_champion(workspace, replace(registry, uri="http://127.0.0.1:9"))
    assert champion_of(workspace) is None


def test_other_bytes_than_were_promoted_are_refused(workspace, registry, name, tmp_path):
    version = promoted(registry, plain_bundle(tmp_path / "a", name, "A")[0])
    client = mlflow_client(registry.uri)
    client.set_model_version_tag(name, str(version.version), "shelfgap.bundle_sha256", "0" * 64)
    with pytest.raises(PromotionError, match="somebody changed the tags, restore them"):
        keep_champion(workspace, registry)
    client.set_model_version_tag(name, str(version.version), "shelfgap.bundle_sha256", version.bundle_sha256)
    (stored,) = (workspace.mlflow / "artifacts").rglob(f"{version.bundle_sha256}/bundle.tar")
    stored.write_bytes(stored.read_bytes() + b"\0")
    with pytest.raises(RegistryError, match="holds other bytes"):
        keep_champion(workspace, registry)
    assert champion_of(workspace) is None
