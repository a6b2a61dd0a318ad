"""Models in OpenVINO: the extra `shelfgap-edge[openvino]`.

A model is compiled for each size of frame that comes. With free sizes OpenVINO would turn every frame around in
memory before the resize, and could not see that a frame has the size of the network already.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.contract import INPUT_NAME, WHOLE_FRAMES_KEY
from shelfgap_edge.errors import BundleError, MissingRuntimeError
from shelfgap_edge.session import OUTPUTS, Tensor, first_line, parse_sizes

MAX_COMPILED = 2
"""Sizes of frames that are kept compiled, 10 MB each; the one used longest ago goes. A camera has one."""

_TO_NCHW, _TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
_NEARLY = 1e-3  # a whole number that float arithmetic fell just short of is not cut
_TELEMETRY = "openvino_telemetry"
_TYPES = {"u8": "uint8", "f32": "float32", "i64": "int64"}


class OpenVinoSession:
    """See `session.Session`.

    Raises:
        MissingRuntimeError: openvino is not installed.
        BundleError: openvino cannot load the model.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        self._openvino = import_openvino()
        self._core = self._openvino.Core()
        self._settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # its own choice is bfloat16 or float16 where a processor has it: another result than was released
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,  # the device has other work; a pinned thread waits behind it
        }
        try:
            self._model = self._core.read_model(model, b"")
            self.inputs = tuple(_tensor(port) for port in self._model.inputs)
            self.outputs = tuple(_tensor(port) for port in self._model.outputs)
        except Exception as error:  # RuntimeError mostly; its types are its own affair
            version = self._openvino.__version__.partition("-")[0]
            raise BundleError(f"not a model that openvino {version} runs: {first_line(error)}") from None
        noted = ["framework", WHOLE_FRAMES_KEY]  # where its ONNX reader puts metadata
        known = self._model.has_rt_info(noted)
        self.whole_frames = parse_sizes(self._model.get_rt_info(noted).astype(str) if known else "")
        self._compiled: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def run(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """See `session.Session`."""
        request = self._request(pixels.shape)
        request.infer({INPUT_NAME: pixels}, share_inputs=True)
        boxes, scores, class_ids = (request.get_tensor(name).data.copy() for name in OUTPUTS)
        return boxes, scores, class_ids

    def _request(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._compiled:
            while len(self._compiled) >= MAX_COMPILED:
                self._compiled.popitem(last=False)
            model = self._model.clone()
            model.reshape({INPUT_NAME: list(shape)})
            _take_branches(self._openvino, model)
            _resize_like_onnxruntime(self._openvino, model)
            compiled = self._core.compile_model(model, "CPU", self._settings)
            self._compiled[shape] = compiled.create_infer_request()
        self._compiled.move_to_end(shape)
        return self._compiled[shape]


def import_openvino() -> Any:
    """Import the package without its telemetry, which would report every import over the network.

    Raises:
        MissingRuntimeError: it is not installed.
    """
    loaded = sys.modules.pop(_TELEMETRY, None)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # as if not installed: openvino has a stub for that
    try:
        import openvino
    except ImportError as error:
        raise MissingRuntimeError(
            f"the runtime openvino cannot be used here ({first_line(error)}); "
            "install it: pip install 'shelfgap-edge[openvino]'"
        ) from None
    finally:
        del sys.modules[_TELEMETRY]
        if loaded is not None:
            sys.modules[_TELEMETRY] = loaded
    return openvino


def _take_branches(openvino: Any, model: Any) -> None:
    """Replace each If by the branch that a frame of fixed size takes; OpenVINO would optimize neither."""
    from openvino import passes

    while branches := [operation for operation in model.get_ops() if operation.get_type_name() == "If"]:
        choice = branches[0]
        # folded in a copy: in the model itself it would turn the INT8 weights into floats
        question = openvino.Model([choice.input_value(0)], model.get_parameters()).clone()
        folding = passes.Manager()
        folding.register_pass(passes.ConstantFolding())
        folding.run_passes(question)
        answer = question.get_results()[0].input_value(0).get_node().get_data().item()
        way = 0 if answer else 1
        body = choice.get_function(way)
        for port in choice.get_input_descriptions(way):
            given = choice.input_value(port.input_index)
            body.get_parameters()[port.body_parameter_index].output(0).replace(given)
        for port in choice.get_output_descriptions(way):
            result = body.get_results()[port.body_value_index].input_value(0)
            choice.output(port.output_index).replace(result)
    model.validate_nodes_and_infer_types()


def _resize_like_onnxruntime(openvino: Any, model: Any) -> None:
    """Make the resize of a frame of fixed size give the bytes that ONNX Runtime gives, and nothing where it is idle.

    ONNX Runtime cuts the fraction of a resized byte off, OpenVINO rounds it. That alone moved boxes beyond the
    tolerance of golden frames on 15 of 100 pictures. Turned to (1, 3, H, W) the float resize is also the faster one.
    """
    ops = openvino.opset13
    for resize in model.get_ops():
        if resize.get_type_name() != "Interpolate" or resize.get_element_type() != openvino.Type.u8:
            continue
        before, after = (list(port.get_shape()) for port in (resize.input(0), resize.output(0)))
        if before == after:
            resize.output(0).replace(resize.input_value(0))
        elif len(before) == 4 and before[3] == after[3] == 3:
            attributes = resize.get_attributes()
            planes = ops.convert(ops.transpose(resize.input_value(0), np.array(_TO_NCHW)), "f32")
            resized = ops.interpolate(
                planes,
                np.array(after[1:3]),
                attributes["mode"],
                "sizes",
                axes=np.array([2, 3]),
                coordinate_transformation_mode=attributes["coordinate_transformation_mode"],
            )
            cut = ops.floor(ops.add(resized, np.float32(_NEARLY)))
            resize.output(0).replace(ops.transpose(ops.convert(cut, "u8"), np.array(_TO_NHWC)).output(0))


def _tensor(port: Any) -> Tensor:
    kind = port.element_type.get_type_name()
    shape = tuple(None if length.is_dynamic else length.get_length() for length in port.partial_shape)
    return Tensor(min(port.names, default=""), _TYPES.get(kind, kind), shape)
