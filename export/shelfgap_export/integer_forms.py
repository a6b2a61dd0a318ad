"""The same network in forms that integer kernels run faster: what INT8 quantization starts from.

Each rewrite leaves the function as it is and finds its place by topology, so a network without the pattern stays
untouched. What each saves, and what did not help: docs/adr/0010-quantization.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from shelfgap_export.onnx_export import DECODE_SCOPE, FRONT_SCOPE, PIXELS_NAME, head_outputs

_Array = NDArray[np.float32] | NDArray[np.int64]

TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def with_integer_forms(core: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """Return a float core (see `onnx_export.export_core`) with stem, upsampling and heads rewritten.

    Args:
        core: left as it is.
        keep: names of nodes that no rewrite may touch.
    """
    model = onnx.ModelProto()
    model.CopyFrom(core)
    _stem_over_rows(model, keep)
    _upsample_by_broadcast(model, keep)
    _heads_as_product(model, keep)
    _drop_unused(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _stem_over_rows(model: onnx.ModelProto, keep: Collection[str]) -> None:
    """A k x l convolution of the same stride becomes k x 1 on l times the channels: l pixels of a row side by side.

    Gathering patches of three bytes at a time costs more than multiplying them. The layout nodes before it move
    no byte: runtimes cancel them against the transpose of the front end.
    """
    conv = patchify_stem(model)
    if conv is None or conv.name in keep:
        return
    weight = constants_of(model)[conv.input[1]]  # (out, in, k, l)
    out_channels, channels, side, across = weight.shape
    _, _, height, width = shapes_of(model)[PIXELS_NAME]
    # OpenVINO 2026.4 sums 8 x 1 and 16 x 1 kernels wrongly on processors with AMX: there half of the row is joined
    steps = 1 if side < 8 else 2
    if width % across or across % steps:
        return
    joined = across // steps * channels
    rows = weight.transpose(0, 2, 3, 1).reshape(out_channels, side, steps, joined).transpose(0, 3, 1, 2)
    scope = f"{FRONT_SCOPE}rows"
    _replace(
        model,
        [conv],
        [
            helper.make_node("Transpose", [PIXELS_NAME], [f"{scope}/nhwc"], f"{scope}/to_nhwc", perm=TO_NHWC),
            helper.make_node("Reshape", [f"{scope}/nhwc", f"{scope}/shape"], [f"{scope}/joined"], f"{scope}/join"),
            helper.make_node("Transpose", [f"{scope}/joined"], [f"{scope}/nchw"], f"{scope}/to_nchw", perm=TO_NCHW),
            helper.make_node(
                "Conv",
                [f"{scope}/nchw", f"{conv.input[1]}/rows", *conv.input[2:]],
                list(conv.output),
                conv.name,
                kernel_shape=[side, steps],
                strides=[side, steps],
            ),
        ],
        {
            f"{scope}/shape": np.array([1, height, width * channels // joined, joined], np.int64),
            f"{conv.input[1]}/rows": np.ascontiguousarray(rows),
        },
    )


def _upsample_by_broadcast(model: onnx.ModelProto, keep: Collection[str]) -> None:
    """Nearest upsampling before an addition becomes a broadcast: (h, 2, w, 2, C) + (h, 1, w, 1, C) in NHWC order.

    The resize kernel copies value by value and took longer than some convolutions.
    """
    shapes = shapes_of(model)
    readers = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    for resize in [node for node in model.graph.node if node.op_type == "Resize"]:
        added = readers[resize.output[0]]
        factors = _repeats(resize, shapes)
        if factors is None or len(added) != 1 or added[0].op_type != "Add" or {resize.name, added[0].name} & set(keep):
            continue
        (add,), small = added, resize.input[0]
        large = next(name for name in add.input if name != resize.output[0])
        if shapes.get(large) != shapes[resize.output[0]]:
            continue
        _, channels, height, width = shapes[small]
        rows, columns = factors
        scope = add.name
        split = {
            "large": (large, [height, rows, width, columns, channels]),
            "small": (small, [height, 1, width, 1, channels]),
        }
        nodes: list[onnx.NodeProto] = []
        constants: dict[str, _Array] = {}
        for name, (tensor, shape) in split.items():
            at = f"{scope}/{name}"
            nodes += [
                helper.make_node("Transpose", [tensor], [f"{at}/nhwc"], f"{at}/to_nhwc", perm=TO_NHWC),
                helper.make_node("Reshape", [f"{at}/nhwc", f"{at}/shape"], [f"{at}/cells"], f"{at}/split"),
            ]
            constants[f"{at}/shape"] = np.array(shape, np.int64)
        constants[f"{scope}/shape"] = np.array([1, height * rows, width * columns, channels], np.int64)
        nodes += [
            helper.make_node("Add", [f"{scope}/large/cells", f"{scope}/small/cells"], [f"{scope}/cells"], scope),
            helper.make_node("Reshape", [f"{scope}/cells", f"{scope}/shape"], [f"{scope}/nhwc"], f"{scope}/join"),
            helper.make_node("Transpose", [f"{scope}/nhwc"], list(add.output), f"{scope}/to_nchw", perm=TO_NCHW),
        ]
        _replace(model, [resize, add], nodes, constants)


def _heads_as_product(model: onnx.ModelProto, keep: Collection[str]) -> None:
    """The 1x1 head outputs that read the same features become one matrix product, and their biases follow it.

    A product may have integer inputs and a float output, where a convolution would have to be all one or the other.
    """
    values, shapes = constants_of(model), shapes_of(model)
    groups: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for conv in head_outputs(model):
        weight = values[conv.input[1]]
        if weight.shape[2:] == (1, 1) and weight.shape[1] == shapes[conv.input[0]][1] and conv.name not in keep:
            groups[conv.input[0]].append(conv)
    for features, convs in groups.items():
        scope = "+".join(conv.name.removesuffix("/Conv") for conv in convs)
        weights = [values[conv.input[1]][:, :, 0, 0] for conv in convs]  # (out, in)
        parts = [f"{scope}/part_{index}" for index in range(len(convs))]
        constants: dict[str, _Array] = {
            f"{scope}/weight": np.ascontiguousarray(np.concatenate(weights).T),
            f"{scope}/sizes": np.array([len(weight) for weight in weights], np.int64),
        }
        nodes = [
            helper.make_node("Transpose", [features], [f"{scope}/nhwc"], f"{scope}/to_nhwc", perm=TO_NHWC),
            helper.make_node("MatMul", [f"{scope}/nhwc", f"{scope}/weight"], [f"{scope}/product"], f"{scope}/MatMul"),
            helper.make_node(
                "Transpose", [f"{scope}/product"], [f"{scope}/nchw"], f"{DECODE_SCOPE}{scope}/to_nchw", perm=TO_NCHW
            ),
            helper.make_node(
                "Split", [f"{scope}/nchw", f"{scope}/sizes"], parts, f"{DECODE_SCOPE}{scope}/split", axis=1
            ),
        ]
        for conv, part in zip(convs, parts, strict=True):
            bias = values[conv.input[2]] if len(conv.input) > 2 else np.zeros(1, np.float32)
            constants[f"{part}/bias"] = bias.reshape(1, -1, 1, 1)
            nodes.append(
                helper.make_node("Add", [part, f"{part}/bias"], list(conv.output), f"{DECODE_SCOPE}{conv.name}/bias")
            )
        _replace(model, convs, nodes, constants)


def patchify_stem(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """Return the convolution of the pixels if its patches lie side by side: kernel = stride, no padding."""
    readers = [node for node in model.graph.node if PIXELS_NAME in node.input]
    if len(readers) != 1 or readers[0].op_type != "Conv":
        return None
    conv = readers[0]
    kernel = list(constants_of(model)[conv.input[1]].shape[2:])
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in conv.attribute}
    patchify = (
        max(kernel) > 1
        and list(options.get("strides", ())) == kernel
        and not any(options.get("pads", ()))
        and set(options.get("dilations", [1])) == {1}
        and options.get("group", 1) == 1
    )
    return conv if patchify else None


def _repeats(resize: onnx.NodeProto, shapes: Mapping[str, list[int]]) -> tuple[int, int] | None:
    """Return how often a Resize repeats (rows, columns), None if it does anything else."""
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in resize.attribute}
    nearest = {"mode": b"nearest", "coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}
    before, after = shapes.get(resize.input[0], []), shapes.get(resize.output[0], [])
    if not nearest.items() <= options.items() or len(before) != 4 or before[:2] != after[:2]:
        return None
    rows, columns = after[2] // before[2], after[3] // before[3]
    exact = [before[2] * rows, before[3] * columns] == after[2:]
    return (rows, columns) if exact and max(rows, columns) > 1 else None


def constants_of(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Return the constants of a graph by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Return the shapes of all tensors by name; a free length is 0."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}


def _replace(
    model: onnx.ModelProto,
    old: Sequence[onnx.NodeProto],
    new: Sequence[onnx.NodeProto],
    constants: Mapping[str, _Array],
) -> None:
    """Put new nodes where the last input of the old ones is known: before the first reader of what they give."""
    names, given = {node.name for node in old}, {name for node in old for name in node.output}
    rest = [node for node in model.graph.node if node.name not in names]
    outside = {name for node in new for name in node.input}
    first = 1 + max((i for i, node in enumerate(rest) if outside & set(node.output)), default=-1)
    assert not any(given & set(node.input) for node in rest[:first])
    nodes = [*rest[:first], *new, *rest[first:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())


def _drop_unused(model: onnx.ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
