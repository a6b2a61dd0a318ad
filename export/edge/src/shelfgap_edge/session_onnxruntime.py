"""Models in ONNX Runtime."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Its Linux builds collect events in ~/.cache and send them to Microsoft; this is read when the library is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from shelfgap_edge.contract import INPUT_NAME, WHOLE_FRAMES_KEY
from shelfgap_edge.errors import BundleError
from shelfgap_edge.session import OUTPUTS, Tensor, first_line, parse_sizes

_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(int64)": "int64"}


class OnnxRuntimeSession:
    """See `session.Session`.

    Raises:
        BundleError: onnxruntime cannot load the model.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.enable_mem_pattern = False  # frames differ in size: a pattern kept for each would only grow
        options.log_severity_level = 3  # errors; they come as exceptions anyway
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own types, all derived from Exception alone
            raise BundleError(f"not a model that onnxruntime {ort.__version__} runs: {first_line(error)}") from None
        self.inputs = tuple(_tensor(value) for value in self._session.get_inputs())
        self.outputs = tuple(_tensor(value) for value in self._session.get_outputs())
        self.whole_frames = parse_sizes(self._session.get_modelmeta().custom_metadata_map.get(WHOLE_FRAMES_KEY, ""))

    def run(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """See `session.Session`."""
        boxes, scores, class_ids = self._session.run(list(OUTPUTS), {INPUT_NAME: pixels})
        return boxes, scores, class_ids


def _tensor(value: Any) -> Tensor:
    shape = tuple(length if isinstance(length, int) else None for length in value.shape)
    return Tensor(value.name, _TYPES.get(value.type, value.type), shape)
