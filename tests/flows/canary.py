"""The story of a bad release in ring canary, told with a real bundle through the commands of both sides."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from shelfgap_edge.bundle import compute_sums
from shelfgap_edge.contract import read_manifest
from shelfgap_edge.runtime import Detector
from shelfgap_export.signing import KeyPair, sign_bundle

BIN = Path(sys.executable).parent


def expect_what_no_model_finds(bundle: Path) -> None:
    """Let the golden frames want a gap that this device does not find, as of a machine that computes otherwise."""
    path = bundle / "golden" / "expected.json"
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        frame["detections"].append({"class": "gap", "box_xyxy": [3.0, 3.0, 60.0, 50.0], "score": 0.99})
    path.write_text(json.dumps(content))


def next_release(bundle: Path, target: Path, pair: KeyPair, spoil: Callable[[Path], None] | None = None) -> Path:
    """Write the release after a bundle: the same with the name of `target` as its version, whole and signed."""
    shutil.copytree(bundle, target)
    (target / "signature").unlink()
    (target / "manifest.json").write_text(replace(read_manifest(target), version=target.name).to_json())
    if spoil is not None:
        spoil(target)
    (target / "SHA256SUMS").unlink()
    (target / "SHA256SUMS").write_text(compute_sums(target))
    sign_bundle(target, pair.private_key)
    return target


def check_a_bad_canary(bundle: Path, pair: KeyPair, folder: Path) -> None:
    """Offer a signed bundle to both rings, then a bad one to canary, then a good one.

    The canary device takes the bad one, fails its self-test and is back within that one pull; the other never sees it.
    """
    place, good = folder / "published", read_manifest(bundle).version

    def publish(*arguments: object) -> None:
        keys = ("--to", place, "--key", pair.private_key, "--keys", pair.public_key)
        subprocess.run([BIN / "shelfgap", "publish", *arguments, *keys], check=True, capture_output=True)

    def pull(ring: str, expected_code: int = 0) -> dict[str, Any]:
        command = [BIN / "shelfgap-edge", "pull", place, "--state", folder / ring, "--keys", pair.public_key]
        done = subprocess.run([*command, "--ring", ring, "--once", "--json"], capture_output=True, text=True)
        assert done.returncode == expected_code, done.stdout + done.stderr
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    def runs(ring: str) -> str:
        return Detector.load((folder / ring / "current").resolve()).manifest.version

    publish(bundle, "--create")
    publish("--promote", good, "--ring", "all")
    assert (pull("canary")["status"], pull("all")["status"]) == ("updated", "updated")
    before = (folder / "canary" / "current").resolve()

    publish(next_release(bundle, folder / "bad", pair, expect_what_no_model_finds))
    outcome = pull("canary", expected_code=3)
    assert (outcome["status"], outcome["version"]) == ("rejected", good)
    assert "missing" in outcome["reason"]
    assert (runs("canary"), (folder / "canary" / "current").resolve()) == (good, before)
    assert pull("canary", expected_code=3)["fetched_bytes"] == 0  # it is not tried again
    assert (pull("all")["status"], runs("all")) == ("current", good)

    publish(next_release(bundle, folder / "better", pair))
    assert (pull("canary")["status"], runs("canary")) == ("updated", "better")
    publish("--promote", "better", "--ring", "all")
    assert (pull("all")["status"], runs("all")) == ("updated", "better")
