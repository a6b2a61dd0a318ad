"""The parameters of the training stage: sections of params.yaml."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from shelfgap_datasets.params import AugmentParams, Fraction, Section
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.toml_table import ConfigError

Channels = Annotated[int, Field(ge=1)]
Blocks = Annotated[int, Field(ge=0)]


class ModelParams(Section):
    """Widths, depths and input size of the detector (see `model`)."""

    input_height: Annotated[int, Field(ge=64, multiple_of=32)]
    input_width: Annotated[int, Field(ge=64, multiple_of=32)]
    stage_channels: tuple[Channels, Channels, Channels, Channels]  # at strides 4, 8, 16, 32
    stage_blocks: tuple[Blocks, Blocks, Blocks, Blocks]
    neck_channels: Annotated[int, Field(ge=8)]
    head_channels: Annotated[int, Field(ge=8)]
    max_detections: Annotated[int, Field(ge=1, le=1000)]

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.input_height, self.input_width

    def is_built_like(self, other: ModelParams) -> bool:
        """Say whether weights of one fit the other: all alike but the size of the input and the number of boxes."""
        own = self.model_dump(exclude={"input_height", "input_width", "max_detections"})
        return all(getattr(other, name) == value for name, value in own.items())


class AssignmentParams(Section):
    """Which cells answer for a box (see `assignment`)."""

    cells_per_box: Annotated[int, Field(ge=1)]
    score_power: Annotated[float, Field(ge=0)]
    iou_power: Annotated[float, Field(ge=0)]


class LossParams(Section):
    """How boxes become targets, and how the two losses are weighed (see `losses`)."""

    assignment: AssignmentParams
    box_weight: Annotated[float, Field(ge=0)]


class ImitationParams(Section):
    """Learning from an ImageNet network before the labels (see `imitation`)."""

    epochs: Annotated[int, Field(ge=0)]  # before those of the detector; none when it starts from other weights
    size_px: Annotated[int, Field(ge=64, multiple_of=32)]  # side of what the ImageNet network sees


class ProgressiveParams(Section):
    """Small pictures first (see `progressive`)."""

    share: Annotated[float, Field(ge=0, lt=1)]  # of the epochs with labels, from the first; and the imitation, unless 0
    scale: Annotated[float, Field(gt=0, le=1)]  # of the input size, rounded to a multiple of 32


class DistillationParams(Section):
    """A larger detector to learn from, beside the labels (see `distillation`)."""

    teacher: str | None  # a trained detector.pt, below the workspace or absolute; else labels alone
    weight: Annotated[float, Field(ge=0)]  # of what the teacher says, against 1 for the labels


class TrainParams(Section):
    """The recipe."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]  # what numpy takes
    initial_weights: str | None  # a detector to start from, below the workspace or absolute; else from chance
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_epochs: Annotated[float, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    validate_every_epochs: Annotated[int, Field(ge=1)]
    loss: LossParams
    imitation: ImitationParams
    progressive: ProgressiveParams
    distillation: DistillationParams
    augment: AugmentParams


class Preset(Section):
    """A detector that can be released: its network and how it is trained."""

    model: ModelParams
    train: TrainParams


def _ascending(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if list(bounds) != sorted(set(bounds)):
        raise ValueError("must be ascending, each number once")
    return bounds


Bounds = Annotated[tuple[float, ...], AfterValidator(_ascending)]


class SliceParams(Section):
    """Where the slices of an evaluation begin and end (see `slices`)."""

    min_boxes: Annotated[int, Field(ge=1)]  # a slice of fewer is counted and gets no figure
    area_percent: Bounds  # of a box, of the frame
    mean_luma: Bounds  # of a picture, 0 to 255
    sharpness: Bounds  # of a picture, variance of its Laplacian at 320x320


class CalibrationParams(Section):
    """The reliability table (see `calibration`)."""

    bins: Annotated[int, Field(ge=1, le=100)]
    min_score: Fraction


class EvaluationParams(Section):
    """What an evaluation reports beside the figures (see `evaluate`)."""

    resamples: Annotated[int, Field(ge=1)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)]
    gallery: Annotated[int, Field(ge=1, le=1000)]  # worst pictures of the test split; a JPEG has no room for 1,300
    slices: SliceParams
    calibration: CalibrationParams


class MonitorSection(Section):
    """When frames become an alert: what a bundle tells devices (see `shelfgap_edge.monitor.params`)."""

    open_frames: int
    open_minutes: float
    low_frames: int
    low_minutes: float
    close_frames: int
    close_minutes: float
    contrary_weight: float
    min_gap_score: float
    min_low_score: float
    min_share: float
    max_occluded_share: float
    max_hold_minutes: float
    min_likeness: float
    min_spread: float
    min_sharpness_share: float
    camera_frames: int
    camera_minutes: float
    silent_minutes: float
    reopen_minutes: float
    escalate_minutes: float
    learn_facings: bool

    @model_validator(mode="after")
    def _devices_take_them(self) -> Self:
        try:
            self.on_device()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def on_device(self) -> MonitorParams:
        """Return them as a device reads them."""
        return MonitorParams.from_bundle(self.model_dump())


class TimelineParams(Section):
    """How alerts are judged on shelf-days, and which settings are tried (see `temporal`)."""

    min_gap_minutes: Annotated[float, Field(ge=0)]  # shorter gaps need no alert
    min_alerted_share: Annotated[float, Field(ge=0, lt=1)]  # limits that a chosen point should keep
    max_false_alerts_per_day: Annotated[float, Field(gt=0)]
    missed_gap_cost: Annotated[float, Field(gt=0)]  # in false alerts: decides where no point keeps the limits
    missed_low_cost: Annotated[float, Field(ge=0)]  # the same, of low stock
    width_percent: Annotated[tuple[float, ...], AfterValidator(_ascending)]  # of a facing, of the frame: slices
    min_gap_scores: Annotated[tuple[Fraction, ...], Field(min_length=1), AfterValidator(_ascending)]
    min_low_scores: Annotated[tuple[Fraction, ...], Field(min_length=1), AfterValidator(_ascending)]
    open_frames: Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_ascending)]
    open_minutes: Annotated[tuple[float, ...], Field(min_length=1), AfterValidator(_ascending)]
