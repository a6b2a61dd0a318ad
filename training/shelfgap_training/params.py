"""The parameters of the training stage: sections of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from shelfgap_datasets.params import AugmentParams, Section


class ModelParams(Section):
    """Widths, depths and input size of the detector (see `model`)."""

    input_height: Annotated[int, Field(ge=64, multiple_of=32)]
    input_width: Annotated[int, Field(ge=64, multiple_of=32)]
    stage_channels: Annotated[tuple[int, int, int, int], Field()]  # at strides 4, 8, 16, 32
    stage_blocks: tuple[int, int, int, int]
    neck_channels: Annotated[int, Field(ge=8)]
    max_detections: Annotated[int, Field(ge=1, le=1000)]

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.input_height, self.input_width


class LossParams(Section):
    """How boxes become targets, and how the two losses are weighed (see `losses`)."""

    gaussian_alpha: Annotated[float, Field(gt=0, le=1)]
    box_weight: Annotated[float, Field(ge=0)]


class TrainParams(Section):
    """The recipe."""

    seed: Annotated[int, Field(ge=0)]
    initial_weights: str | None  # a detector to start from, below the workspace or absolute; else from chance
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_epochs: Annotated[float, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    validate_every_epochs: Annotated[int, Field(ge=1)]
    loss: LossParams
    augment: AugmentParams
