"""A place where bundles are published, with the key that signs them, and a device that pulls from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from plain_bundles import gate_report
from shelfgap_edge.bundle import check_sums, read_bundle
from shelfgap_edge.contract import read_manifest
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.identity import model_identity
from shelfgap_edge.pull.index import Index
from shelfgap_edge.pull.pull import Device, Outcome, pull
from shelfgap_edge.pull.source import DirectorySource, Source
from shelfgap_edge.signature import check_signed, load_keys
from shelfgap_edge.verify import verify_bundle
from shelfgap_export import index_edits
from shelfgap_export.destination import DirectoryDestination
from shelfgap_export.publish import Publisher, change_index, publish_bundle
from signing_keys import Signer, sign_folder

PADDING_BYTES = 200_000


class PowerCut(BaseException):
    pass


class Shop:
    """A folder that devices pull from. Release n has version "n"."""

    def __init__(self, folder: Path, write_bundle: Callable[..., Path], reseal: Callable[[Path], None]) -> None:
        self.folder = folder
        self.root = folder / "published"
        self.signer = Signer(folder / "keys")
        self._write_bundle, self._reseal = write_bundle, reseal
        self.publisher = Publisher(
            DirectoryDestination(self.root), self.signer.private, self.signer.public, create=True
        )

    @property
    def source(self) -> Source:
        return DirectorySource(self.root)

    def bundle(self, version: str, edit: Callable[[Path], None] = lambda root: None, **changes: object) -> Path:
        """Write a signed bundle whose gate passed, with some bytes of its own and some that all versions share."""
        root = self._write_bundle(self.folder / f"bundle-{version}", precisions=("int8",), version=version, **changes)
        pass_gate(root)
        (root / "shared.bin").write_bytes(np.random.default_rng(0).bytes(PADDING_BYTES))
        (root / "own.bin").write_bytes(np.random.default_rng(int(version)).bytes(PADDING_BYTES))
        edit(root)
        self._reseal(root)
        return sign_folder(root, self.signer)

    def publish(self, version: str, edit: Callable[[Path], None] = lambda root: None) -> Index:
        """Publish a new bundle in ring canary."""
        return publish_bundle(self.publisher, self.bundle(version, edit))

    def promote(self, number: int) -> Index:
        """Offer a release to all."""
        return change_index(self.publisher, lambda index, at: index_edits.offer(index, number, "all", at))

    def release(self, version: str) -> Index:
        """Publish a bundle and offer it to all."""
        return self.promote(self.publish(version).rings["canary"])

    def device(self, name: str, ring: str = "all") -> Device:
        """Return a device with nothing on it."""
        return Device(self.folder / name, self.signer.public, ring=ring)

    def pull(self, device: Device, source: Source | None = None, *, days: float = 0, **options: object) -> Outcome:
        """Pull once, some days from now, without waiting and with the self-test in this process."""

        def clock() -> datetime:
            return datetime.now(UTC) + timedelta(days=days)

        options = {"self_test": in_process, "sleep": lambda seconds: None, **options}
        return pull(device, source or self.source, clock=clock, **options)

    def valid_for(self, **time: float) -> None:
        """Let indexes be valid so long from now on."""
        self.publisher = replace(self.publisher, valid_for=timedelta(**time))


def pass_gate(root: Path) -> None:
    """Give a bundle the gate.json of a pass of exactly its model."""
    manifest = read_manifest(root)
    report = gate_report(manifest.version, model_identity(manifest, read_bundle(root)))
    (root / "gate.json").write_text(json.dumps(report))


def in_process(bundle: Path) -> str | None:
    """Replay the golden frames here: quicker than in a process."""
    try:
        return verify_bundle(bundle).failure
    except ShelfgapError as error:
        return str(error)


def running_version(device: Device) -> str | None:
    """Return the version of what `current` leads to, after all of it was checked anew."""
    current = device.state / "current"
    if not current.exists():
        return None
    files = read_bundle(current)
    check_sums(files, "current")
    check_signed(files, load_keys(device.keys), now=datetime.now(UTC), where="current")
    version: str = json.loads(files["manifest.json"])["version"]
    return version


def skew_golden(root: Path) -> None:
    """Let the bundle expect what its model does not give."""
    path = root / "golden/expected.json"
    content = json.loads(path.read_text())
    content["frames"][0]["detections"][0]["box_xyxy"][0] += 9
    path.write_text(json.dumps(content))
