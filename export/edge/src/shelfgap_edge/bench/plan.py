"""What a benchmark is asked to do, and what is known of it before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shelfgap_edge.bench.device import device_facts
from shelfgap_edge.bench.energy import EnergyMeter
from shelfgap_edge.bench.fleet import Cameras
from shelfgap_edge.bench.harness import Progress
from shelfgap_edge.bench.variants import Subject, Variant

SCENARIOS = {
    "single": "one frame after another: latency by stage",
    "fleet": "frames of many cameras as they arrive, from arrival to verdict",
    "offline": "all frames at once: throughput",
    "cold": "start of a process to its first verdict",
    "memory": "memory of the process over many frames",
    "sweep": "threads, precisions and runtimes side by side",
}
SIDE_BY_SIDE = ("single", "sweep")
"""Scenarios that measure every model of a bundle if not told which; the others its default one."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        scenario: one of `SCENARIOS`.
        min_seconds: time to measure each variant, at least.
        min_count: frames (or starts) of each variant, at least.
        threads: within one operator; of `offline`: frames at once, each on one thread.
        runtimes: some of `contract.RUNTIMES`.
        precisions: None for those of the scenario.
        processes: of `single`, fresh ones of each variant; None measures in this process.
        cameras: of `fleet`.
        bundle, frames, keys: for processes that read for themselves; `frames` are JPEG files and folders of them, none
            for the golden ones, and `keys` a file, None for no check.
        meter: of energy.
        progress: told how far it is.
    """

    scenario: str
    min_seconds: float
    min_count: int
    threads: Sequence[int] = (1,)
    runtimes: Sequence[str] = ("onnxruntime",)
    precisions: Sequence[str] | None = None
    processes: int | None = None
    cameras: Cameras = field(default_factory=Cameras)
    bundle: Path = Path()
    frames: Sequence[Path] = ()
    keys: Path | None = None
    meter: EnergyMeter = field(default_factory=EnergyMeter)
    progress: Progress | None = None

    def variants(self, subject: Subject) -> list[Variant]:
        """Return what of a bundle is measured.

        Raises:
            BundleError: it has no such model.
        """
        precisions = self.precisions
        if precisions is None and self.scenario not in SIDE_BY_SIDE:
            precisions = (subject.manifest.default_precision,)
        return subject.variants(precisions, self.runtimes, (1,) if self.scenario == "offline" else self.threads)

    def settings(self) -> dict[str, Any]:
        """Return the settings for a report."""
        threads: Any = list(self.threads) if self.scenario == "sweep" else self.threads[0]
        if self.scenario == "cold":
            return {"starts": self.min_count, "threads": threads}
        settings: dict[str, Any] = {"min_seconds": self.min_seconds, "min_count": self.min_count, "threads": threads}
        if self.scenario == "fleet":
            cameras = self.cameras
            settings |= {"cameras": cameras.count, "interval_s": cameras.interval_s, "jitter": cameras.jitter}
        return settings


def head_of(subject: Subject, plan: Plan) -> dict[str, Any]:
    """Return what a report says before anything is measured: the load of the machine is then not its own."""
    return {
        "scenario": plan.scenario,
        "subject": subject.to_dict(plan.variants(subject)),
        "settings": plan.settings(),
        "device": device_facts(),
    }
