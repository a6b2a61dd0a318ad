"""Promotions that wait in a real Prefect server until somebody answers through its client; real commands, so `slow`."""

from __future__ import annotations

import os
import signal

import pytest
from patches_workspace import patches_params, start, wait_for
from plain_bundles import plain_bundle
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.objects import StateType
from shelfgap_export.promotion import register_bundle
from shelfgap_export.promotion_log import read_log
from shelfgap_flows.settings import Settings, registry_for
from shelfgap_flows.workspace import Workspace
from webhook import webhook

# MLflow declares its tables in a way that SQLAlchemy 2.1 deprecates
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")]


@pytest.fixture
def workspace(tmp_path, monkeypatch, prefect_db):
    """A workspace with versions 1 and 2, and a Prefect server that its commands are told of."""
    made = Workspace(tmp_path / "ws")
    made.root.mkdir()
    patches_params(made.params_file, bundle={"name": "shelf"})
    registry = registry_for(made, Settings())
    first, identity = plain_bundle(tmp_path / "a", "shelf", "A")
    for bundle in (first, plain_bundle(tmp_path / "b", "shelf", "B", identity)[0]):
        register_bundle(registry, bundle)
    monkeypatch.setenv("SHELFGAP_USER", "anna")
    return made


def paused_runs():
    paused = FlowRunFilter(state=FlowRunFilterState(type={"any_": [StateType.PAUSED]}))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=paused)


def answer(process, **given):
    """Answer the flow run that waits."""
    wait_for(paused_runs, process)
    (run,) = paused_runs()
    with get_client(sync_client=True) as client:
        result = client.resume_flow_run(run.id, run_input=given)
    assert result.status.value == "ACCEPT", result
    return process.wait(timeout=300)


def test_a_paused_promotion_is_approved_refused_killed_or_left_alone(workspace, tmp_path, monkeypatch):
    registry = registry_for(workspace, Settings())
    log = tmp_path / "log"

    def promote(version):
        return start("registry", "promote", version, "--workspace", workspace.root, log=log)

    with webhook() as (address, came):
        monkeypatch.setenv("SHELFGAP_NOTIFY_URL", address)
        assert answer(promote(1), approve=True, approved_by="ben", note="seen") == 0, log.read_text()
    assert [message["title"].partition(":")[0] for message in came] == ["Please approve", "Done"]
    assert "/flow-run/" in came[0]["message"]
    monkeypatch.delenv("SHELFGAP_NOTIFY_URL")
    (entry,) = read_log(registry).entries
    assert (entry.version, entry.requested_by, entry.approved_by, entry.reason) == (1, "anna", "ben", "seen")
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["promote-gate"]))
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    assert "promote version 1 (A) in place of nothing" in artifact.data
    assert "| pass | AP50 | AP50 is 0.9 |" in artifact.data

    killed = promote(2)
    wait_for(paused_runs, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    (left,) = paused_runs()
    with get_client(sync_client=True) as client:
        client.delete_flow_run(left.id)
    assert registry.aliases() == {"champion": 1, "challenger": 2}

    assert answer(promote(2), approve=False, approved_by="ben", note="too dark") == 1
    assert "ben did not approve; nothing was changed. too dark" in log.read_text()
    monkeypatch.setenv("SHELFGAP_APPROVAL_SECONDS", "1")
    assert promote(2).wait(timeout=300) == 1
    assert "nobody approved within 1 s (SHELFGAP_APPROVAL_SECONDS); nothing was changed" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert read_log(registry).entries == (entry,)
    assert registry.aliases() == {"champion": 1, "challenger": 2}
