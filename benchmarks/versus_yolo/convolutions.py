"""What a network has to multiply, and how fast a core multiplies in INT8: the floor under any latency."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_CHANNELS, _SIDE, _LAYERS = 64, 40, 8


class Size(NamedTuple):
    """Weights, and multiply-accumulates for one frame, of convolutions and matrix products."""

    parameters: int
    macs: int


def network_size(model: onnx.ModelProto) -> Size:
    """Count the weights and multiply-accumulates of a float graph of fixed shapes.

    Biases are parameters; matrix products of two computed tensors (attention) have MACs and no parameters.

    Raises:
        ValueError: the shape of an output is not known.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    }
    constants = {tensor.name: list(tensor.dims) for tensor in inferred.graph.initializer}
    same = {node.output[0]: node.input[0] for node in inferred.graph.node if node.op_type == "Identity"}
    parameters = macs = 0
    for node in inferred.graph.node:
        if node.op_type not in {"Conv", "Gemm", "MatMul"}:
            continue
        weights = [constants.get(same.get(name, name), []) for name in node.input[1:]]
        parameters += sum(int(np.prod(dims)) for dims in weights if dims)
        output = shapes.get(node.output[0], [])
        if not output or 0 in output:
            raise ValueError(f"{node.name}: the shape of its output is not known, got {output}")
        each = int(np.prod(weights[0][1:])) if node.op_type == "Conv" else shapes[node.input[0]][-1]
        macs += int(np.prod(output)) * each
    return Size(parameters, macs)


def int8_convolutions() -> tuple[onnx.ModelProto, int]:
    """Return a chain of dense 3x3 INT8 convolutions, 64 channels at 40x40, and its multiply-accumulates.

    Returns:
        A model `x` uint8 (1, 64, 40, 40) -> `y` of the same shape, and the MACs of one run.
    """
    rng = np.random.default_rng(0)
    nodes, tensors, name = [], [], "x"
    scales = {"scale": np.float32(0.02), "weight_scale": np.float32(0.002)}
    tensors += [numpy_helper.from_array(np.array(value), key) for key, value in scales.items()]
    tensors += [
        numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        numpy_helper.from_array(np.array(0, np.int8), "weight_zero"),
    ]
    for layer in range(_LAYERS):
        weights = rng.integers(-127, 128, (_CHANNELS, _CHANNELS, 3, 3), np.int8)
        tensors.append(numpy_helper.from_array(weights, f"weights_{layer}"))
        target = "y" if layer == _LAYERS - 1 else f"x_{layer}"
        inputs = [name, "scale", "zero", f"weights_{layer}", "weight_scale", "weight_zero", "scale", "zero"]
        nodes.append(helper.make_node("QLinearConv", inputs, [target], pads=[1, 1, 1, 1]))
        name = target
    shape = [1, _CHANNELS, _SIDE, _SIDE]
    ends = [helper.make_tensor_value_info(end, TensorProto.UINT8, shape) for end in ("x", "y")]
    graph = helper.make_graph(nodes, "int8 convolutions", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model, _LAYERS * _SIDE * _SIDE * _CHANNELS * _CHANNELS * 9
