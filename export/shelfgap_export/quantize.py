"""Static INT8 quantization of the network part, calibrated on training images."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from shelfgap_edge.errors import ShelfgapError

from shelfgap_export.onnx_export import DECODE_SCOPE, PIXELS_NAME
from shelfgap_export.params import QuantizeParams

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
_TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


class QuantizeError(ShelfgapError):
    """The network cannot be quantized, or the result is not what was asked for."""


@dataclass(frozen=True)
class QuantizedCore:
    """A quantized core and what is in it."""

    model: onnx.ModelProto
    int8_convolutions: int
    float_convolutions: int


def quantize_core(core: onnx.ModelProto, frames: Iterable[NDArray[np.uint8]], params: QuantizeParams) -> QuantizedCore:
    """Quantize the convolutions of a float core to QDQ form, weights per channel; head outputs and decode stay float.

    A box side in 256 steps is coarse where boxes are large: with the two 1x1 head outputs in INT8 the large
    occluders lost 11 to 23 points of AP50, in float 6 at most, for 0.06 ms of 2.45 on one core.

    Args:
        core: `pixels` float (1, 3, H, W) in [0, 1] to boxes (see `onnx_export.export_core`).
        frames: calibration images, uint8 (H, W, 3) RGB at the input size; from the training split only.
        params: method and types.

    Raises:
        QuantizeError: no calibration image, or another convolution than the head outputs is not INT8.
    """
    reader = _Frames(frames)
    if reader.first is None:
        raise QuantizeError("no calibration image; quantization needs images in the training split")
    decode_nodes = [node.name for node in core.graph.node if node.name.startswith(DECODE_SCOPE)]
    head = head_outputs(core)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "core.onnx", Path(folder) / "int8.onnx"
        onnx.save(core, source)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # it advises on the root logger
        try:
            quantize_static(
                source,
                target,
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=_TYPES[params.activation_type],
                weight_type=QuantType.QInt8,
                calibrate_method=_METHODS[params.calibration_method],
                nodes_to_exclude=[*decode_nodes, *head],
                extra_options={
                    # the bytes of the frame are the quantized input: 0..255 stands for 0..1
                    "TensorQuantOverrides": {
                        PIXELS_NAME: [
                            {
                                "quant_type": QuantType.QUInt8,
                                "scale": np.array(1 / 255, np.float32),
                                "zero_point": np.array(0, np.uint8),
                            }
                        ]
                    }
                },
            )
        finally:
            root.setLevel(level)
        quantized = onnx.load(target)
    kinds = convolution_kinds(quantized)
    if kinds["float"] != len(head) or not kinds["int8"]:
        raise QuantizeError(
            f"expected INT8 convolutions and {len(head)} float head outputs, "
            f"got {kinds['int8']} INT8 and {kinds['float']} float"
        )
    return QuantizedCore(quantized, kinds["int8"], kinds["float"])


def head_outputs(core: onnx.ModelProto) -> list[str]:
    """Return the names of the convolutions that feed no other convolution: what the decode reads."""
    makers = {name: node for node in core.graph.node for name in node.output}
    convolutions = [node for node in core.graph.node if node.op_type == "Conv"]
    feeding: set[str] = set()
    pending = [name for node in convolutions for name in node.input]
    while pending:
        name = pending.pop()
        if name in makers and name not in feeding:
            feeding.add(name)
            pending.extend(makers[name].input)
    return [node.name for node in convolutions if node.output[0] not in feeding]


def convolution_kinds(model: onnx.ModelProto) -> Counter[str]:
    """Count the convolutions whose input and weights both come out of DequantizeLinear ("int8"), and the rest."""
    dequantized = {o for n in model.graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    return Counter(
        "int8" if {node.input[0], node.input[1]} <= dequantized else "float"
        for node in model.graph.node
        if node.op_type == "Conv"
    )


class _Frames(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, frames: Iterable[NDArray[np.uint8]]) -> None:
        rest = iter(frames)
        self.first = next(rest, None)
        self._frames = rest if self.first is None else chain([self.first], rest)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        frame = next(self._frames, None)
        if frame is None:
            return None
        return {PIXELS_NAME: np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32) / np.float32(255)}
