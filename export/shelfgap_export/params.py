"""The parameters of the export stages: sections of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
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


class GateParams(Section):
    """Floors that a candidate must reach on the test split, and what INT8 may lose."""

    min_ap50: Fraction
    min_recall: Fraction
    min_precision: Fraction
    max_int8_ap50_loss: Fraction


class BundleParams(Section):
    """Name of the bundle and its golden frames."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    golden_frames: Annotated[int, Field(ge=1)]
    golden_seed: Annotated[int, Field(ge=0)]
