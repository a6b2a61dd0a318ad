"""Bundles without a network: whole and verified, in milliseconds, each with a gate.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shelfgap_edge.bundle import compute_sums
from shelfgap_edge.contract import FORMAT_VERSION, MODEL_FILES, Manifest
from shelfgap_edge.identity import model_identity
from shelfgap_export.bundle import write_tar


def plain_bundle(
    folder: Path, name: str, version: str, against: str | None = None, *, gate: dict[str, Any] | None = None
) -> tuple[Path, str]:
    """Write the `.tar` of a bundle; returns it and the identity of its model.

    Args:
        folder: new folder.
        name: of the bundle.
        version: also decides the bytes of its model.
        against: identity that its gate compared with.
        gate: changes gate.json; a value of None takes the key out.
    """
    manifest = Manifest(FORMAT_VERSION, name, version, "now", ("gap",), (96, 128), {"gap": 0.5}, "int8", {}, {})
    files = {"manifest.json": manifest.to_json().encode(), MODEL_FILES["int8"]: f"model {version}".encode()}
    identity = model_identity(manifest, files)
    report = gate_report(version, identity, against) | (gate or {})
    report = {key: value for key, value in report.items() if key not in (gate or {}) or gate[key] is not None}
    files["gate.json"] = json.dumps(report).encode()
    files["SHA256SUMS"] = compute_sums(files).encode()
    source = folder / "bundle"
    source.mkdir(parents=True)
    for file, content in files.items():
        (source / file).write_bytes(content)
    write_tar(source, folder / "bundle.tar")
    return folder / "bundle.tar", identity


def gate_report(version: str, identity: str, against: str | None = None, verdict: str = "pass") -> dict[str, Any]:
    """Return what the gate.json of a bundle holds, as far as a promotion reads it."""
    return {
        "schema": "shelfgap-gate/2",
        "verdict": verdict,
        "reason": "all 2 checks hold",
        "created_at": "2026-10-01T08:00:00+00:00",
        "candidate": {"name": "shelf", "version": version, "identity": identity, "precision": "int8"},
        "champion": None if against is None else {"identity": against},
        "dataset": {"sha256": "d" * 64},
        "checks": [{"name": "AP50", "verdict": "pass", "reason": "AP50 is 0.9"}],
    }
