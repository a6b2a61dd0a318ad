"""INT8 variants of the exported YOLO11n; which of them is the peer is decided on validation scenes.

All are static, QDQ, unsigned activations and signed weights per channel, the form that x86 runs fastest. They differ
in what stays float: how far INT8 may reach into the head decides accuracy, because the last tensor holds box pixels
and scores between 0 and 1 in one scale.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

_WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})


def nothing(model: onnx.ModelProto) -> list[str]:
    """Exclude no node: INT8 wherever ONNX Runtime knows how."""
    return []


def decode_nodes(model: onnx.ModelProto) -> list[str]:
    """Exclude what turns the head's outputs into boxes: every node that no convolution depends on.

    The convolution of the decode itself, which reads a Softmax, counts as decode.
    """
    makers = {name: node for node in model.graph.node for name in node.output}

    def maker_of(name: str) -> onnx.NodeProto | None:
        node = makers.get(name)
        while node is not None and node.op_type in {"Identity", "Reshape", "Transpose"}:
            node = makers.get(node.input[0])
        return node

    def reads_softmax(node: onnx.NodeProto) -> bool:
        source = maker_of(node.input[0])
        return source is not None and source.op_type == "Softmax"

    network: set[int] = set()
    pending = [node for node in model.graph.node if node.op_type == "Conv" and not reads_softmax(node)]
    while pending:
        node = pending.pop()
        if id(node) not in network:
            network.add(id(node))
            pending.extend(makers[name] for name in node.input if name in makers)
    return [node.name for node in model.graph.node if id(node) not in network]


def all_but_weighted(model: onnx.ModelProto) -> list[str]:
    """Exclude all but convolutions and matrix products: what Ultralytics' own INT8 export of ONNX does."""
    return [node.name for node in model.graph.node if node.op_type not in _WEIGHTED]


VARIANTS: dict[str, Callable[[onnx.ModelProto], list[str]]] = {
    "whole graph": nothing,
    "decode in float": decode_nodes,
    "weighted operators only": all_but_weighted,
}


def quantize_yolo(model: Path, target: Path, variant: str, blobs: Iterable[NDArray[np.float32]]) -> None:
    """Write an INT8 variant of an exported YOLO.

    Args:
        model: the float ONNX file.
        target: file to write.
        variant: a key of `VARIANTS`.
        blobs: calibration inputs float32 (1, 3, S, S), made of training images by the peer's own preprocessing.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # ONNX Runtime advises on the root logger
    try:
        with tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(model, prepared, skip_symbolic_shape=True)
            loaded = onnx.load(prepared)
            quantize_static(
                prepared,
                target,
                _Blobs(loaded.graph.input[0].name, iter(blobs)),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=VARIANTS[variant](loaded),
            )
    finally:
        root.setLevel(level)


class _Blobs(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, blobs: Iterator[NDArray[np.float32]]) -> None:
        self._name, self._blobs = name, blobs

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        blob = next(self._blobs, None)
        return None if blob is None else {self._name: blob}
