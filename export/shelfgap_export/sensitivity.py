"""What each layer costs in INT8: quantized alone, and left out alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from shelfgap_export.onnx_export import head_outputs
from shelfgap_export.params import QuantizeParams
from shelfgap_export.quantize import calibrate, pixels_of, quantize_layers


@dataclass(frozen=True)
class LayerCost:
    """One layer.

    Attributes:
        layer: name of its node, `stage8/0/Conv`; its scope is what `quantize.exclude` takes.
        alone_sqnr_db: signal to quantization noise of the network's outputs with only this layer in INT8.
        without_sqnr_db: the same with every layer in INT8 but this one.
        alone_ap50_change: AP50 with only this layer in INT8, minus that of float.
        without_ap50_gain: AP50 with every layer in INT8 but this one, minus that of all in INT8.
    """

    layer: str
    alone_sqnr_db: float
    without_sqnr_db: float
    alone_ap50_change: float
    without_ap50_gain: float


@dataclass(frozen=True)
class Sensitivity:
    """The whole network in float and INT8, and its layers, the noisiest first."""

    fp32_ap50: float
    int8_ap50: float
    int8_sqnr_db: float
    layers: tuple[LayerCost, ...]


def measure_sensitivity(
    core: onnx.ModelProto,
    frames: Sequence[NDArray[np.uint8]],
    params: QuantizeParams,
    ap50: Callable[[onnx.ModelProto], float],
) -> Sensitivity:
    """Quantize one layer at a time, and all but one.

    Args:
        core: float, see `onnx_export.export_core`.
        frames: calibration images, on which the noise is measured too; uint8 (H, W, 3) at the input size.
        params: as for the whole network; what it excludes stays float in all variants.
        ap50: scores a core, quantized or not, on labelled images.

    Raises:
        QuantizeError: see `quantize.calibrate`.
    """
    calibrated = calibrate(core, frames, params)
    names = [node.output[0] for node in head_outputs(core)]
    reference = _outputs(calibrated.model, names, frames)

    def noise(model: onnx.ModelProto) -> float:
        return min(
            sqnr_db(ours, theirs) for ours, theirs in zip(reference, _outputs(model, names, frames), strict=True)
        )

    whole = quantize_layers(calibrated).model
    fp32_ap50, int8_ap50 = ap50(core), ap50(whole)
    layers = []
    for layer in calibrated.layers:
        alone = quantize_layers(calibrated, only=layer).model
        without = quantize_layers(calibrated, without=layer).model
        layers.append(
            LayerCost(layer, noise(alone), noise(without), ap50(alone) - fp32_ap50, ap50(without) - int8_ap50)
        )
    layers.sort(key=lambda cost: cost.alone_sqnr_db)
    return Sensitivity(fp32_ap50, int8_ap50, noise(whole), tuple(layers))


def sqnr_db(signal: NDArray[np.float32], noisy: NDArray[np.float32]) -> float:
    """Return the power of a signal over that of its error, in decibels; infinite without an error.

    >>> round(sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])), 2)
    20.0
    """
    error = float(np.square(signal - noisy, dtype=np.float64).sum())
    power = float(np.square(signal, dtype=np.float64).sum())
    return 10 * math.log10(power / error) if error and power else math.inf


def _outputs(
    model: onnx.ModelProto, names: Sequence[str], frames: Sequence[NDArray[np.uint8]]
) -> list[NDArray[np.float32]]:
    """Return tensors inside a core, each stacked over the frames."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = [session.run(names, pixels_of(frame)) for frame in frames]
    return [np.concatenate(column) for column in zip(*values, strict=True)]
