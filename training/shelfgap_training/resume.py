"""The checkpoint that a training goes on from: written whole or not at all, and named when it cannot be read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from shelfgap_edge.durable import write_durably

from shelfgap_training.checkpoint import CheckpointError


class DurableCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint that is replaced.

    Lightning writes to the temporary folder first; moved from there to another disk, a file can be cut short by a kill
    or a full disk, and the one before it is gone.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(target, content.getvalue())


def finished_epochs(checkpoint: Path) -> int:
    """Return how many epochs a training had finished; 0 where there is no checkpoint.

    Raises:
        CheckpointError: it cannot be read.
    """
    if not checkpoint.is_file():
        return 0
    try:
        return int(torch.load(checkpoint, map_location="cpu", weights_only=False)["epoch"]) + 1
    except Exception as error:
        raise CheckpointError(
            f"{checkpoint}: not a checkpoint to go on from ({type(error).__name__}: {error}); remove it, and the "
            "training begins anew"
        ) from None
