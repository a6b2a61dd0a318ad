"""From a trained detector to one ONNX graph: uint8 frame in, boxes out, nothing left to do on the device.

The graph has three parts: a front end (resize and layout, built by hand so that INT8 can take the bytes as
they are), the folded network, and the decode. A node of the network is named after the module that it comes from
(`stage8/0/Conv`), one of the other parts begins with `FRONT_SCOPE` or `DECODE_SCOPE`, so that quantization can
leave it alone.
"""

from __future__ import annotations

import ast
import logging
import warnings
from collections import Counter

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from shelfgap_edge.contract import INPUT_NAME, OUTPUT_BOXES, OUTPUT_CLASSES, OUTPUT_SCORES
from shelfgap_training.decode import decode
from shelfgap_training.model import GapDetector
from torch import Tensor, nn

OPSET = 20
FRONT_SCOPE = "front/"
DECODE_SCOPE = "decode/"
PIXELS_NAME = "pixels"  # float (1, 3, H, W) in [0, 1]: where the front end meets the network
_RESIZED = "front_resized"  # uint8 (1, H, W, 3)
_LAYOUT = ("Transpose", "Reshape")  # move values and change none, be they bytes or floats
_SCOPES_KEY = "pkg.torch.onnx.name_scopes"  # a list of module paths, outermost first, then the operation


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
    _name_nodes(core, set(dict(model.named_modules())))
    return core


def with_float_front_end(core: onnx.ModelProto, input_size: tuple[int, int]) -> onnx.ModelProto:
    """Put resize, layout and scaling to [0, 1] before a float core.

    Returns:
        A model of the bundle's signature (see `shelfgap_edge.contract`).
    """
    nodes, constants = _resize_nodes(input_size)
    nodes += [
        helper.make_node("Transpose", [_RESIZED], ["front_nchw"], "front/layout", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["front_nchw"], ["front_float"], "front/cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["front_float", "front_scale"], [PIXELS_NAME], "front/scale"),
    ]
    constants.append(numpy_helper.from_array(np.array(1 / 255, np.float32), "front_scale"))
    return _prepend(core, nodes, constants)


def with_integer_front_end(core: onnx.ModelProto, input_size: tuple[int, int] | None) -> onnx.ModelProto:
    """Put resize and layout before a quantized core whose input has a step of 1/255: its bytes need no scaling.

    The bytes are dequantized with the very step that the core quantizes with again. Runtimes cancel the two where
    both are unsigned, and hand the first convolution the bytes; signed activations cost one pass over them.

    Args:
        core: quantized.
        input_size: (height, width) to resize to; None for frames that have the size of the core already.

    Raises:
        ValueError: the core does not begin with a QuantizeLinear that maps 0..1 to the 256 values of its type.
    """
    entry = network_input(core)
    readers = [node for node in core.graph.node if entry in node.input]
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
        raise ValueError(f"expected one QuantizeLinear on {entry}, got {[n.op_type for n in readers]}")
    values = {i.name: numpy_helper.to_array(i) for i in core.graph.initializer}
    scale, zero = (values[name] for name in readers[0].input[1:3])
    if not np.allclose(scale, 1 / 255) or zero != np.iinfo(zero.dtype).min:
        raise ValueError(f"expected scale 1/255 and the zero point at the bottom of the type, got {scale} and {zero!r}")
    nodes, constants = _resize_nodes(input_size)
    nodes += [
        helper.make_node("DequantizeLinear", [_RESIZED, "front_scale", "front_zero"], ["front_float"], "front/scale"),
        helper.make_node("Transpose", ["front_float"], [PIXELS_NAME], "front/layout", perm=[0, 3, 1, 2]),
    ]
    constants.append(numpy_helper.from_array(np.array(scale, np.float32), "front_scale"))
    constants.append(numpy_helper.from_array(np.array(0, np.uint8), "front_zero"))
    return _prepend(core, nodes, constants)


def with_front_end(core: onnx.ModelProto, input_size: tuple[int, int]) -> onnx.ModelProto:
    """Put the integer front end before a core that quantizes its input, the float one before any other."""
    entry = network_input(core)
    quantizes = all(node.op_type == "QuantizeLinear" for node in core.graph.node if entry in node.input)
    return (with_integer_front_end if quantizes else with_float_front_end)(core, input_size)


def network_input(core: onnx.ModelProto) -> str:
    """Return the tensor that the first operation with arithmetic reads: `pixels`, or what layout made of it."""
    name = PIXELS_NAME
    while True:
        readers = [node for node in core.graph.node if name in node.input]
        if len(readers) != 1 or readers[0].op_type not in _LAYOUT:
            return name
        name = readers[0].output[0]


def head_outputs(core: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the convolutions that feed no other convolution: what the decode reads."""
    makers = {name: node for node in core.graph.node for name in node.output}
    convolutions = [node for node in core.graph.node if node.op_type == "Conv"]
    feeding: set[str] = set()
    pending = [name for node in convolutions for name in node.input]
    while pending:
        name = pending.pop()
        if name in makers and name not in feeding:
            feeding.add(name)
            pending.extend(makers[name].input)
    return [node for node in convolutions if node.output[0] not in feeding]


def _resize_nodes(input_size: tuple[int, int] | None) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """(h, w, 3) uint8 of any size -> (1, H, W, 3) uint8; without a size only the batch is added."""
    constants = [numpy_helper.from_array(np.array([0], np.int64), "front_axis")]
    batch = helper.make_node("Unsqueeze", [INPUT_NAME, "front_axis"], ["front_nhwc"], "front/batch")
    if input_size is None:
        batch.output[0] = _RESIZED
        return [batch], constants
    resize = helper.make_node(
        "Resize",
        ["front_nhwc", "", "", "front_sizes"],
        [_RESIZED],
        "front/resize",
        axes=[1, 2],  # without them OpenVINO interpolates over all four axes, three times slower
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    constants.append(numpy_helper.from_array(np.array(input_size, np.int64), "front_sizes"))
    return [batch, resize], constants


def _prepend(core: onnx.ModelProto, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(core)
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    model.graph.initializer.extend(constants)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["height", "width", 3]))
    del model.graph.value_info[:]  # stale after the change; the runtime infers its own
    for node in model.graph.node:  # exporter's notes name source files of the building machine
        node.doc_string = ""
    for noted in (model, model.graph, *model.graph.node, *model.graph.output):
        del noted.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_nodes(core: onnx.ModelProto, modules: set[str]) -> None:
    """Name a node of the network by its module and operation, the nodes behind the last convolutions by the decode."""
    makers = {name: node for node in core.graph.node for name in node.output}
    network: set[int] = set()
    pending = [n for n in core.graph.node if n.op_type == "Conv"]
    while pending:  # all that a convolution depends on is network
        node = pending.pop()
        if id(node) not in network:
            network.add(id(node))
            pending.extend(makers[name] for name in node.input if name in makers)
    behind: set[str] = set()
    seen: Counter[str] = Counter()
    for index, node in enumerate(core.graph.node):
        if id(node) not in network:
            node.name = f"{DECODE_SCOPE}{node.op_type}_{index}"
            behind.update(node.output)
            continue
        scope = _module_of(node, modules)
        name = f"{scope.replace('.', '/')}/{node.op_type}" if scope else node.op_type
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
    assert {output.name for output in core.graph.output} <= behind


def _module_of(node: onnx.NodeProto, modules: set[str]) -> str:
    """Return the path of the module that a node was traced in, as the trained model calls it; "" for its forward.

    Folding puts a small sequence in the place of a block: what is below the block is left off.
    """
    noted = {entry.key: entry.value for entry in node.metadata_props}
    path = ast.literal_eval(noted.get(_SCOPES_KEY, "['', '']"))[-2]
    parts = str(path).removeprefix("network").strip(".").split(".")
    return next((known for n in range(len(parts), 0, -1) if (known := ".".join(parts[:n])) in modules), "")
