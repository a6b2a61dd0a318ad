"""What a training takes: time and, where the machine meters it, energy, over all sessions of a resumed training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Adds up the energy counters of the processor packages (RAPL); they measure the machine, not one process.

    Source: https://docs.kernel.org/power/powercap/powercap.html
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._counters: dict[Path, tuple[int, int]] = {}  # zone -> where it wraps, last value; in microjoules
        for zone in sorted(root.glob("intel-rapl:*")):  # AMD's are called so too
            try:
                if (zone / "name").read_text().startswith("package"):  # others are parts of packages, or hold them
                    self._counters[zone] = (int((zone / "max_energy_range_uj").read_text()), _energy_uj(zone))
            except (OSError, ValueError):  # most systems let only root read them: a part would mislead
                self._counters = {}
                return

    def joules(self) -> float | None:
        """Return what was used since the last call or the start; None where nothing is metered.

        A counter wraps in minutes to hours: ask more often than that.
        """
        used_uj = 0
        try:
            for zone, (wraps_at, before) in self._counters.items():
                now = _energy_uj(zone)
                used_uj += now - before if now >= before else wraps_at - before + now
                self._counters[zone] = (wraps_at, now)
        except (OSError, ValueError):
            self._counters = {}
        return used_uj / 1e6 if self._counters else None


class TrainingCost(pl.Callback):
    """Counts seconds and joules, and keeps the count in the checkpoint.

    Epochs that were cut off and run again are not counted twice.

    Attributes:
        seconds: of all sessions.
        joules: of all sessions; None if a session was not metered.
        sessions: one, and one more for each time that it was resumed.
    """

    def __init__(self, meter: EnergyMeter) -> None:
        self.seconds, self.sessions = 0.0, 0
        self.joules: float | None = 0.0
        self._meter = meter
        self._since = time.monotonic()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a session."""
        self.sessions += 1
        self._since = time.monotonic()
        self._meter.joules()

    def on_train_batch_end(self, *args: object, **kwargs: object) -> None:
        """Read the counters before they wrap."""
        self._count()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the last validation too."""
        self._count()

    def state_dict(self) -> dict[str, Any]:
        """Return the count so far."""
        self._count()
        return {"seconds": self.seconds, "joules": self.joules, "sessions": self.sessions}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from the count of earlier sessions."""
        self.seconds, self.joules = state_dict["seconds"], state_dict["joules"]
        self.sessions = state_dict["sessions"]

    def _count(self) -> None:
        now, used = time.monotonic(), self._meter.joules()
        self.seconds += now - self._since
        self._since = now
        self.joules = None if used is None or self.joules is None else self.joules + used


def _energy_uj(zone: Path) -> int:
    return int((zone / "energy_uj").read_text())
