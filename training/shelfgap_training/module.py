"""The Lightning module: a thin shell that moves batches through network, losses, EMA and metrics."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from shelfgap_datasets.datamodule import Batch
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.postprocess import Detections
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from shelfgap_training.checkpoint import TrainedDetector, start_from
from shelfgap_training.decode import decode
from shelfgap_training.distillation import ask, distillation_losses
from shelfgap_training.imitation import Imitation
from shelfgap_training.looked_for import without_ignored
from shelfgap_training.losses import detection_losses
from shelfgap_training.metrics import Truth, average_precision
from shelfgap_training.model import GapDetector
from shelfgap_training.params import ModelParams, TrainParams
from shelfgap_training.progressive import shrink


class TrainingError(ShelfgapError):
    """A training cannot be carried out as it was asked for."""


class DetectorModule(pl.LightningModule):
    """Trains a `GapDetector`; validation and the result use the moving average of its weights.

    Args:
        model_params: the network.
        train_params: the recipe.
        num_classes: channels of the scores.
        total_steps: optimiser steps of the whole training, for the schedule.
        imitation_steps: the first of them, in which the backbone imitates an ImageNet network.
        teacher: a detector of the same classes to learn from as well.
    """

    def __init__(
        self,
        model_params: ModelParams,
        train_params: TrainParams,
        num_classes: int,
        total_steps: int,
        teacher: GapDetector | None = None,
        imitation_steps: int = 0,
    ) -> None:
        super().__init__()
        self.params = train_params
        self.num_classes = num_classes
        self.total_steps = total_steps
        self.model = GapDetector(model_params, num_classes)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        decay = get_ema_multi_avg_fn(train_params.ema_decay)  # type: ignore[no-untyped-call]
        self.ema = AveragedModel(self.model, multi_avg_fn=decay, use_buffers=True)
        self.ema.requires_grad_(False)  # no gradient, so nothing for processes to exchange
        self._teacher = [] if teacher is None else [teacher.fold()]  # in a list: no part of what is trained and saved
        self.imitation_steps = imitation_steps
        share = train_params.progressive.share
        self.small_steps = imitation_steps + round(share * (total_steps - imitation_steps)) if share else 0
        self.imitation = None
        if imitation_steps:
            self.imitation = Imitation(model_params.stage_channels[1:], train_params.imitation.size_px)
        self._truths: list[Truth] = []
        self._found: list[Detections] = []

    def start_from(self, classes: tuple[str, ...], trained: TrainedDetector) -> None:
        """Take over the weights of a trained detector, for the moving average too."""
        start_from(self.model, classes, trained)
        self.ema.module.load_state_dict(self.model.state_dict())

    def averaged_model(self) -> GapDetector:
        """Return a copy of the moving average, in evaluation mode, on the CPU."""
        model = copy.deepcopy(self.ema.module)
        assert isinstance(model, GapDetector)
        return model.cpu().eval()

    def on_fit_start(self) -> None:
        """Move those that are learnt from to where the batches are."""
        if self.imitation is not None:
            self.imitation.move_example(self.device)
        for teacher in self._teacher:
            teacher.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of a batch.

        Raises:
            TrainingError: it is no number any more.
        """
        pixels, boxes_xyxy, ignored_xyxy = to_pixels(batch.frames), batch.boxes_xyxy, batch.ignored_xyxy
        if self.global_step < self.small_steps:
            pixels, scaled = shrink(pixels, [*boxes_xyxy, *ignored_xyxy], self.params.progressive.scale)
            boxes_xyxy, ignored_xyxy = scaled[: len(pixels)], scaled[len(pixels) :]
        if self.imitation is not None and self.global_step < self.imitation_steps:
            loss: Tensor = self.imitation(self.model.backbone(pixels), pixels)
            self._require_finite(loss, "loss")
            self.log("train/imitation_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.frames))
            return loss
        raw = self.model(pixels)
        losses = detection_losses(raw, boxes_xyxy, batch.class_ids, ignored_xyxy, batch.labelled, self.params.loss)
        values = {
            "train/loss": losses.total,
            "train/score_loss": losses.score,
            "train/box_loss": losses.box,
        }
        total = losses.total
        for teacher in self._teacher:
            said = ask(teacher, pixels, self.model.params.input_size)
            learnt = distillation_losses(raw, said, self.params.loss).total
            values["train/distillation_loss"] = learnt
            total = total + self.params.distillation.weight * learnt
        self._require_finite(total, "loss")
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(batch.frames))
        return total

    def _require_finite(self, values: Tensor, name: str) -> None:
        if not torch.isfinite(values).all():
            raise TrainingError(
                f"epoch {self.current_epoch + 1}: the {name} is no number any more, the weights are lost; lower "
                f"learning_rate in params.yaml, now {self.params.learning_rate:g}"
            )

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the average."""
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.model)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Detect with the averaged weights and keep boxes for the metrics.

        Raises:
            TrainingError: a score is no number any more.
        """
        model = self.ema.module
        assert isinstance(model, GapDetector)
        height, width = model.params.input_size
        decoded = decode(model(to_pixels(batch.frames)), model.params.max_detections)
        self._require_finite(decoded.scores, "score of a detection")
        scale = torch.tensor([width, height, width, height], dtype=torch.float32)
        for i, (boxes, ids) in enumerate(zip(batch.boxes_xyxy, batch.class_ids, strict=True)):
            truth = Truth(boxes.cpu().numpy(), ids.cpu().numpy())
            known = batch.labelled[i][decoded.class_ids[i]].cpu()
            found = Detections(
                (decoded.boxes_xyxy_norm[i].float().cpu() * scale)[known].numpy(),
                decoded.scores[i].float().cpu()[known].numpy(),
                decoded.class_ids[i].cpu()[known].numpy(),
            )
            self._truths.append(truth)
            self._found.append(without_ignored(found, truth, batch.ignored_xyxy[i].cpu().numpy()))

    def on_validation_epoch_end(self) -> None:
        """Log AP of the validation images."""
        if not self.trainer.sanity_checking:
            ap = average_precision(self._truths, self._found, self.num_classes)
            self.log_dict({"val/ap50": ap.ap50, "val/ap50_95": ap.ap50_95})
        self._truths.clear()
        self._found.clear()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW, linear warm-up, cosine decay, for imitation and detector each; no weight decay on biases and norms."""
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.params.weight_decay},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=self.params.learning_rate,
        )
        detector_steps = self.total_steps - self.imitation_steps
        warmup = max(1, round(self.params.warmup_epochs * detector_steps / self.params.epochs))

        def factor(step: int) -> float:
            if step < self.imitation_steps:
                return learning_rate_factor(step, warmup, self.imitation_steps)
            return learning_rate_factor(step - self.imitation_steps, warmup, detector_steps)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def to_pixels(frames: Tensor) -> Tensor:
    """Turn uint8 frames (B, H, W, 3) into float (B, 3, H, W) in [0, 1], channels last in memory."""
    return frames.permute(0, 3, 1, 2).float() / 255.0


def learning_rate_factor(step: int, warmup_steps: int, total_steps: int) -> float:
    """Linear rise to 1 over the warm-up, then a cosine fall to 0.01.

    >>> learning_rate_factor(0, 10, 100), learning_rate_factor(9, 10, 100), learning_rate_factor(100, 10, 100)
    (0.1, 1.0, 0.01)
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
