"""From a trained detector to one ONNX graph: uint8 frame in, boxes out, nothing left to do on the device.

The graph has three parts: a front end (resize and layout, built by hand so that INT8 can take the bytes as
they are), the folded network, and the decode. Every node of the decode carries `DECODE_SCOPE` in its name, so
that quantization can leave it alone.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from shelfgap_edge.contract import INPUT_NAME, OUTPUT_BOXES, OUTPUT_CLASSES, OUTPUT_SCORES
from shelfgap_training.decode import decode
from shelfgap_training.model import GapDetector
from torch import Tensor, nn

OPSET = 20
DECODE_SCOPE = "decode/"
PIXELS_NAME = "pixels"  # float (1, 3, H, W) in [0, 1]: where the front end meets the network
_U8_NAME = "frame_nchw_u8"


class _Deployed(nn.Module):
    """The folded network and the decode, for a batch of one."""

    def __init__(self, model: GapDetector) -> None:
        super().__init__()
        self.network = model.fold()
        self.max_detections = model.params.max_detections

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, scores, class_ids = decode(self.network(pixels), self.max_detections)
        return boxes[0], scores[0], class_ids[0]


def export_core(model: GapDetector) -> onnx.ModelProto:
    """Trace the folded network and decode: `pixels` float (1, 3, H, W) -> boxes, scores, class ids."""
    height, width = model.params.input_size
    deployed = _Deployed(model).eval()
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            deployed,
            (torch.zeros(1, 3, height, width),),
            input_names=[PIXELS_NAME],
            output_names=[OUTPUT_BOXES, OUTPUT_SCORES, OUTPUT_CLASSES],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    core = program.model_proto
    _name_decode_nodes(core)
    return core


def with_float_front_end(core: onnx.ModelProto, input_size: tuple[int, int]) -> onnx.ModelProto:
    """Put resize, layout and scaling to [0, 1] before a float core.

    Returns:
        A model of the bundle's signature (see `shelfgap_edge.contract`).
    """
    model = onnx.ModelProto()
    model.CopyFrom(core)
    nodes, constants = _resize_nodes(input_size)
    nodes += [
        helper.make_node("Cast", [_U8_NAME], ["frame_float"], "front/cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["frame_float", "front_scale"], [PIXELS_NAME], "front/scale"),
    ]
    constants.append(numpy_helper.from_array(np.array(1 / 255, np.float32), "front_scale"))
    return _prepend(model, nodes, constants)


def with_integer_front_end(core: onnx.ModelProto, input_size: tuple[int, int]) -> onnx.ModelProto:
    """Put resize and layout before a quantized core whose input scale is 1/255: its bytes need no scaling.

    Raises:
        ValueError: the core does not begin with one uint8 QuantizeLinear of scale 1/255 and zero point 0.
    """
    model = onnx.ModelProto()
    model.CopyFrom(core)
    readers = [node for node in model.graph.node if PIXELS_NAME in node.input]
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
        raise ValueError(f"expected one QuantizeLinear on {PIXELS_NAME}, got {[n.op_type for n in readers]}")
    first = readers[0]
    values = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    scale, zero = values[first.input[1]], values[first.input[2]]
    if not np.allclose(scale, 1 / 255) or zero.dtype != np.uint8 or zero != 0:
        raise ValueError(f"expected scale 1/255 and uint8 zero point 0, got {scale} and {zero!r}")
    quantized = first.output[0]
    model.graph.node.remove(first)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == quantized:
                node.input[i] = _U8_NAME
    nodes, constants = _resize_nodes(input_size)
    return _prepend(model, nodes, constants)


def _resize_nodes(input_size: tuple[int, int]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """(h, w, 3) uint8 of any size -> (1, 3, H, W) uint8; still in HWC order while it resizes."""
    height, width = input_size
    nodes = [
        helper.make_node("Unsqueeze", [INPUT_NAME, "front_axis"], ["frame_nhwc"], "front/batch"),
        helper.make_node(
            "Resize",
            ["frame_nhwc", "", "", "front_sizes"],
            ["frame_resized"],
            "front/resize",
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
        helper.make_node("Transpose", ["frame_resized"], [_U8_NAME], "front/layout", perm=[0, 3, 1, 2]),
    ]
    constants = [
        numpy_helper.from_array(np.array([0], np.int64), "front_axis"),
        numpy_helper.from_array(np.array([1, height, width, 3], np.int64), "front_sizes"),
    ]
    return nodes, constants


def _prepend(model: onnx.ModelProto, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    model.graph.initializer.extend(constants)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["height", "width", 3]))
    del model.graph.value_info[:]  # stale after the change; the runtime infers its own
    for node in model.graph.node:  # exporter's notes name source files of the building machine
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_decode_nodes(core: onnx.ModelProto) -> None:
    """Prefix the nodes after the last convolutions with `DECODE_SCOPE`, following the graph's order."""
    behind: set[str] = set()
    makers = {name: node for node in core.graph.node for name in node.output}
    network = set()
    pending = [n for n in core.graph.node if n.op_type == "Conv"]
    while pending:  # all that a convolution depends on is network
        node = pending.pop()
        if id(node) not in network:
            network.add(id(node))
            pending.extend(makers[name] for name in node.input if name in makers)
    for index, node in enumerate(core.graph.node):
        if id(node) not in network:
            node.name = f"{DECODE_SCOPE}{node.op_type}_{index}"
            behind.update(node.output)
    assert {output.name for output in core.graph.output} <= behind
