"""What a training takes: time and, where the machine meters it, energy, over all sessions of a resumed training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from shelfgap_edge.bench.energy import EnergyMeter


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
