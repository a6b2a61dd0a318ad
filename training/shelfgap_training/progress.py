"""Training progress for people: a bar with the time left on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import logging
import time

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)


class TrainingProgress(pl.Callback):
    """Shows epoch, loss, validation AP50, speed and the time left."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._started = 0.0
        self._first_epoch = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the epoch where the training stands."""
        self._started = time.monotonic()
        self._first_epoch = trainer.current_epoch
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                TextColumn("epoch {task.completed:.0f}/{task.total:.0f} {task.description}"),
                TimeRemainingColumn(),
                console=console,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=trainer.max_epochs, completed=self._first_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what the epoch brought."""
        done, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        metrics = trainer.callback_metrics
        loss = "train/loss" if "train/loss" in metrics else "train/imitation_loss"
        text = f"{loss.removeprefix('train/').replace('_', ' ')} {float(metrics[loss]):.3f}"
        if "val/ap50" in metrics and loss == "train/loss":
            text += f" val AP50 {float(metrics['val/ap50']):.3f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text)
            return
        per_epoch = (time.monotonic() - self._started) / (done - self._first_epoch)
        left = round(per_epoch * (total - done))
        logger.info("epoch %d/%d %s, %.1f s each, %d:%02d left", done, total, text, per_epoch, *divmod(left, 60))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
