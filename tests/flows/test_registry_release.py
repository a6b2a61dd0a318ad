"""A real release becomes challenger and then champion, on its own gate; commands of minutes, so `slow`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from patches_workspace import patches_params, shelfgap
from shelfgap_edge.identity import model_identity
from shelfgap_export.gate.entrant import load_entrant
from small_network import dark_patches
from webhook import webhook

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]


def test_a_release_is_registered_once_told_once_and_promoted_on_its_gate(tmp_path, monkeypatch):
    dark_patches(tmp_path / "data")
    params = patches_params(tmp_path / "params.yaml", tmp_path / "data", bundle={"name": "shelf"})
    monkeypatch.setenv("SHELFGAP_USER", "anna")
    here = ("--workspace", tmp_path / "ws")
    with webhook() as (address, came):
        monkeypatch.setenv("SHELFGAP_NOTIFY_URL", address)
        code, result, err = shelfgap("release", *here, "--params", params)
        assert (code, result["registry_version"]) == (0, 1), err[-4000:]
        code, again, err = shelfgap("release", *here)
        assert (code, again) == (0, result), err[-4000:]
    assert [message["title"] for message in came] == ["Release of shelf: pass"]
    assert "Registered as version 1." in came[0]["message"]
    monkeypatch.delenv("SHELFGAP_NOTIFY_URL")

    entrant = load_entrant(Path(result["bundle"]))
    (version,) = shelfgap("registry", "list", *here)[1]["versions"]
    assert (version["role"], version["training_run"]) == ("challenger", result["mlflow_run_id"])
    assert version["identity"] == model_identity(entrant.manifest, entrant.files)
    code, entry, err = shelfgap("registry", "promote", "--approve", *here)
    assert code == 0, err[-4000:]
    gate = json.loads((Path(result["bundle"]) / "gate.json").read_text())
    assert (entry["version"], entry["approved_by"], entry["gate"]["created_at"]) == (1, "anna", gate["created_at"])
    assert shelfgap("release", *here)[1]["registry_version"] == 1
    assert [v["role"] for v in shelfgap("registry", "list", *here)[1]["versions"]] == ["champion"]

    # another candidate is judged against the champion, and so may follow it
    other = patches_params(tmp_path / "other.yaml", tmp_path / "data", epochs=4, bundle={"name": "shelf"})
    code, next_one, err = shelfgap("release", *here, "--params", other)
    assert (code, next_one["registry_version"]) == (0, 2), err[-4000:]
    compared = json.loads((Path(next_one["bundle"]) / "gate.json").read_text())["champion"]
    assert (compared["identity"], compared["origin"]) == (version["identity"], "champion of the registry, version 1")
    assert "champion of the registry, version 1" in (tmp_path / "ws" / "reports" / "gate.md").read_text()
    assert shelfgap("registry", "promote", "--approve", *here)[1]["version"] == 2

    # nothing changed but what the machine is said to stand for: its budget is judged now
    monkeypatch.setenv("SHELFGAP_DEVICE_CLASS", "camera")
    code, _, err = shelfgap("release", *here)
    assert code in (0, 3), err[-4000:]
    judged = json.loads((tmp_path / "ws" / "reports" / "gate.json").read_text())
    (budget,) = (check for check in judged["checks"] if check["kind"] == "budget")
    assert (judged["device_class"], budget["verdict"] != "not judged") == ("camera", True)
