"""Static INT8 quantization of the network part, calibrated on training images."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from itertools import islice
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
from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data
from shelfgap_edge.errors import ShelfgapError

from shelfgap_export.integer_forms import patchify_stem, with_integer_forms
from shelfgap_export.known_frames import fold_resize, with_known_frames
from shelfgap_export.onnx_export import (
    DECODE_SCOPE,
    FRONT_SCOPE,
    PIXELS_NAME,
    head_outputs,
    network_input,
    with_front_end,
    with_integer_front_end,
)
from shelfgap_export.params import QuantizeParams

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
_AT_ONCE = 16  # frames whose tensors are held in memory
_LAYERS = ("Conv", "MatMul")  # what has weights


class QuantizeError(ShelfgapError):
    """The network cannot be quantized, or the result is not what was asked for."""


@dataclass(frozen=True)
class QuantizedCore:
    """A quantized core and what is in it; the matrix product that the head outputs become counts as a convolution."""

    model: onnx.ModelProto
    int8_convolutions: int
    float_convolutions: int


@dataclass(frozen=True)
class Calibrated:
    """A float core in integer forms and the measured ranges of its tensors.

    Attributes:
        model: `pixels` to boxes, float.
        params: what to make of it.
        ranges: JSON, as onnxruntime keeps them.
        layers: names of the convolutions and products that become INT8, first to last.
    """

    model: onnx.ModelProto
    params: QuantizeParams
    ranges: str
    layers: tuple[str, ...]


def quantize_core(core: onnx.ModelProto, frames: Iterable[NDArray[np.uint8]], params: QuantizeParams) -> QuantizedCore:
    """Quantize the convolutions of a float core to QDQ form, weights per channel.

    The head outputs multiply integers and give floats: a box side in 256 steps is coarse where boxes are large
    (docs/adr/0003-float-head-outputs.md). The decode stays float.

    Args:
        core: `pixels` float (1, 3, H, W) in [0, 1] to boxes (see `onnx_export.export_core`).
        frames: calibration images, uint8 (H, W, 3) RGB at the input size; from the training split only.
        params: calibration, device class, scopes that stay float.

    Raises:
        QuantizeError: no calibration image, a scope that is not in the network, or another layer than those of
            the scopes is not INT8.
    """
    return quantize_layers(calibrate(core, frames, params))


def quantize_model(
    core: onnx.ModelProto, frames: Iterable[NDArray[np.uint8]], params: QuantizeParams, input_size: tuple[int, int]
) -> tuple[QuantizedCore, list[tuple[int, int]]]:
    """Quantize a core and put the front end before it: the model of a bundle.

    Returns:
        The model, and those of `params.frame_sizes` whose resize is folded into the stem; the others are resized
        like any frame.

    Raises:
        QuantizeError: see `quantize_core`.
    """
    calibrated = calibrate(core, frames, params)
    quantized = quantize_layers(calibrated)
    model = with_front_end(quantized.model, input_size)
    excluded = _nodes_below(core, params.exclude)
    stem = patchify_stem(core)
    known = {}
    for size in params.frame_sizes:
        folded = None if stem is None or stem.name in excluded else fold_resize(core, size)
        if folded is not None:
            forms = with_integer_forms(folded, keep=excluded)
            known[size] = with_integer_front_end(quantize_layers(replace(calibrated, model=forms)).model, None)
    if stem is not None and known:
        model = with_known_frames(model, stem.name, known)
    return replace(quantized, model=model), list(known)


def calibrate(core: onnx.ModelProto, frames: Iterable[NDArray[np.uint8]], params: QuantizeParams) -> Calibrated:
    """Put a float core into integer forms and measure the range of every tensor.

    Raises:
        QuantizeError: no calibration image, or a scope to exclude that is not in the network.
    """
    excluded = _nodes_below(core, params.exclude)
    model = with_integer_forms(core, keep=excluded)
    floats = {*excluded, *(node.name for node in head_outputs(core))}  # those that stay convolutions
    layers = tuple(name for name in layer_kinds(model) if name not in floats)
    return Calibrated(model, params, _measure_ranges(model, frames, params), layers)


def quantize_layers(calibrated: Calibrated, *, only: str | None = None, without: str | None = None) -> QuantizedCore:
    """Quantize a calibrated core: all of it, `only` one layer, or all `without` one layer.

    Raises:
        QuantizeError: no such layer; another layer became INT8 than was asked for, or one did not.
    """
    for name in {only, without} - {None, *calibrated.layers}:
        raise QuantizeError(f"no layer {name!r} to quantize; the network has {', '.join(calibrated.layers)}")
    model = _quantize_static(calibrated, only, without)
    wanted = {only} if only else set(calibrated.layers) - {without}
    kinds = layer_kinds(model)
    wrong = sorted(name for name, kind in kinds.items() if (kind == "int8") != (name in wanted))
    counts = Counter(kinds.values())
    if wrong:
        raise QuantizeError(
            f"expected {len(wanted)} of {len(kinds)} convolutions in INT8, got {counts['int8']}; "
            f"not as asked: {', '.join(wrong[:3])}"
        )
    return QuantizedCore(model, counts["int8"], counts["float"])


def layer_kinds(model: onnx.ModelProto) -> dict[str, str]:
    """Return for each convolution and product by name "int8", if inputs and weights are dequantized, or "float"."""
    dequantized = {o for n in model.graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    return {
        node.name: "int8" if {node.input[0], node.input[1]} <= dequantized else "float"
        for node in model.graph.node
        if node.op_type in _LAYERS and not node.name.startswith(DECODE_SCOPE)
    }


def pixels_of(frame: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Return what a core takes for a frame uint8 (H, W, 3) of its input size."""
    return {PIXELS_NAME: np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32) / np.float32(255)}


def _measure_ranges(model: onnx.ModelProto, frames: Iterable[NDArray[np.uint8]], params: QuantizeParams) -> str:
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, ranges = Path(folder) / "core.onnx", Path(folder) / "ranges.json"
        onnx.save(model, source)
        calibrator = create_calibrator(
            source,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=_METHODS[params.calibration_method],
            # what follows a ReLU has no negative side to spend values on; 128 bins would leave entropy no choice
            extra_options={"symmetric": False, "num_bins": 2048},
        )
        rest, seen = iter(frames), False
        while chunk := list(islice(rest, _AT_ONCE)):
            calibrator.collect_data(_Frames(chunk))
            seen = True
        if not seen:
            raise QuantizeError("no calibration image; quantization needs images in the training split")
        save_tensors_data(calibrator.compute_data(), ranges)
        return ranges.read_text()


def _quantize_static(calibrated: Calibrated, only: str | None, without: str | None) -> onnx.ModelProto:
    model, params = calibrated.model, calibrated.params
    nodes = model.graph.node
    others = [name for name in layer_kinds(model) if name not in calibrated.layers or name == without]
    unscoped = [n.name for n in nodes if n.name.startswith((DECODE_SCOPE, FRONT_SCOPE))]
    outputs = {output for n in nodes if n.name == only for output in n.output}
    alone = [n.name for n in nodes if n.name == only or (n.op_type == "Relu" and n.input[0] in outputs)]
    activations = QuantType.QInt8 if params.device_class == "arm" else QuantType.QUInt8
    # the bytes of the frame are the quantized input: the 256 values of the type stand for 0 to 1
    lowest = np.array(-128, np.int8) if params.device_class == "arm" else np.array(0, np.uint8)
    as_bytes = {"quant_type": activations, "scale": np.array(1 / 255, np.float32), "zero_point": lowest}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target, ranges = (Path(folder) / name for name in ("core.onnx", "int8.onnx", "ranges.json"))
        onnx.save(model, source)
        ranges.write_text(calibrated.ranges)
        quantize_static(
            source,
            target,
            None,
            calibration_cache_path=ranges,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=params.device_class == "x86",
            activation_type=activations,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[params.calibration_method],
            nodes_to_quantize=alone,
            nodes_to_exclude=[*unscoped, *others],
            extra_options={
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
                "TensorQuantOverrides": {network_input(model): [as_bytes]},
            },
        )
        return onnx.load(target)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep off the terminal what onnxruntime says while it quantizes: advice on the root logger, printed progress."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        root.setLevel(level)


def _nodes_below(core: onnx.ModelProto, scopes: Sequence[str]) -> list[str]:
    """Return the names of the network's nodes in these scopes ("stage8/0" holds "stage8/0/Conv").

    Raises:
        QuantizeError: a scope without a convolution.
    """
    names = [n.name for n in core.graph.node if not n.name.startswith(DECODE_SCOPE)]
    convolutions = [n.name for n in core.graph.node if n.op_type == "Conv"]
    for scope in scopes:
        if not any(name.startswith(f"{scope}/") for name in convolutions):
            known = ", ".join(dict.fromkeys(name.rpartition("/")[0] for name in convolutions))
            raise QuantizeError(f"quantize.exclude: no convolution in {scope!r}; the network has {known}")
    return [name for name in names if name.startswith(tuple(f"{scope}/" for scope in scopes))]


class _Frames(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, frames: Sequence[NDArray[np.uint8]]) -> None:
        self._frames = iter(frames)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        frame = next(self._frames, None)
        return None if frame is None else pixels_of(frame)
