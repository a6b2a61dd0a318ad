"""The parameters of the export stages: sections of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from shelfgap_datasets.params import Fraction, Section

Pixels = Annotated[int, Field(ge=1)]


class QuantizeParams(Section):
    """Static INT8 quantization."""

    calibration_images: Annotated[int, Field(ge=1)]
    calibration_method: Literal["minmax", "entropy", "percentile"]
    device_class: Literal["x86-vnni", "x86", "arm"]
    exclude: tuple[str, ...]
    frame_sizes: tuple[tuple[Pixels, Pixels], ...]  # (height, width)


class ParityParams(Section):
    """How far ONNX may be from torch on kept detections."""

    min_score: Fraction
    max_box_px: Annotated[float, Field(gt=0)]
    max_score: Annotated[float, Field(gt=0)]


class BenchParams(Section):
    """How long latency is measured."""

    min_seconds: Annotated[float, Field(gt=0)]
    min_count: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)]


Margin = Annotated[float, Field(gt=0)]


class GateMargins(Section):
    """How much worse than the champion a candidate may be and still be called not worse (see `gate`)."""

    ap50: Margin
    recall_at_p90: Margin
    latency: Margin  # share of the champion's, as the two below
    model_size: Margin
    memory: Margin


def _looks(pairs: tuple[int, ...]) -> tuple[int, ...]:
    if not pairs or list(pairs) != sorted(set(pairs)) or pairs[0] < 2:
        raise ValueError("must be ascending counts, each once, the first one 2 or more")
    return pairs


class GateLatencyParams(Section):
    """How the latency of two models is compared (see `gate.latency`)."""

    pairs: Annotated[tuple[int, ...], AfterValidator(_looks)]  # of processes, after which it may be decided
    min_seconds: Annotated[float, Field(ge=0)]  # measured in each process
    min_count: Annotated[int, Field(ge=11)]  # frames measured in each process
    threads: Annotated[int, Field(ge=1)]
    budgets_ms: dict[str, Annotated[float, Field(gt=0)]]  # device class -> p90 of a whole frame


class GateParams(Section):
    """What a candidate must reach on the test split, and how it is compared with the champion."""

    min_ap50: Fraction
    min_recall: Fraction
    min_precision: Fraction
    max_int8_ap50_loss: Fraction
    min_slice_ap50: Fraction
    min_slice_recall: Fraction
    alpha: Annotated[float, Field(gt=0, lt=0.5)]  # one-sided
    resamples: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    min_groups: Annotated[int, Field(ge=2)]
    margins: GateMargins
    latency: GateLatencyParams


class BundleParams(Section):
    """Name of the bundle and its golden frames."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    golden_frames: Annotated[int, Field(ge=1)]
    golden_seed: Annotated[int, Field(ge=0)]
