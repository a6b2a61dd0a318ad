"""Frames of a known size skip the resize: it is folded into the stem, in a branch of the same graph.

A bilinear resize is linear, and where it shrinks by a ratio that a patch of the stem divides evenly, the pixels of a
patch come out of the pixels of a larger patch alone. Resize and stem are then one convolution on the bytes of the
frame. On a frame of 640x480 the resize took as long as most of the network (docs/adr/0010-quantization.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from shelfgap_edge.contract import INPUT_NAME, WHOLE_FRAMES_KEY
from shelfgap_edge.image import averaging_factor

from shelfgap_export.integer_forms import TO_NCHW, TO_NHWC, constants_of, patchify_stem, shapes_of
from shelfgap_export.onnx_export import FRONT_SCOPE, PIXELS_NAME

Size = tuple[int, int]  # (height, width)
_Way = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]  # nodes and their constants


def fold_resize(core: onnx.ModelProto, frame_size: Size) -> onnx.ModelProto | None:
    """Return a float core for frames of one size, whose stem is resize and stem in one.

    Args:
        core: `pixels` (1, 3, H, W), see `onnx_export.export_core`.
        frame_size: (height, width) of the frames.

    Returns:
        The same network on `pixels` (1, 3, height, width); None where a patch of the stem does not come out of whole
        pixels: a frame smaller than the input, or a ratio that does not divide evenly. Beyond twice the input the
        runtime averages a frame before the graph sees it: then that is folded in too.
    """
    stem = patchify_stem(core)
    if stem is None:
        return None
    input_size = shapes_of(core)[PIXELS_NAME][2:]
    weight = constants_of(core)[stem.input[1]]  # (out, 3, k, l)
    taps = [
        _taps(side, before, after) for side, before, after in zip(weight.shape[2:], frame_size, input_size, strict=True)
    ]
    rows, columns = taps
    if rows is None or columns is None:
        return None
    folded = np.einsum("ocyx,yp,xq->ocpq", weight, rows, columns).astype(np.float32)
    model = onnx.ModelProto()
    model.CopyFrom(core)
    conv = patchify_stem(model)
    assert conv is not None
    name = f"{conv.input[1]}/{frame_size[0]}x{frame_size[1]}"
    conv.CopyFrom(
        helper.make_node(
            "Conv",
            [conv.input[0], name, *conv.input[2:]],
            list(conv.output),
            conv.name,
            kernel_shape=list(folded.shape[2:]),
            strides=list(folded.shape[2:]),
        )
    )
    model.graph.initializer.append(numpy_helper.from_array(folded, name))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info(PIXELS_NAME, TensorProto.FLOAT, [1, 3, *frame_size]))
    return model


def with_known_frames(model: onnx.ModelProto, stem: str, known: Mapping[Size, onnx.ModelProto]) -> onnx.ModelProto:
    """Let an INT8 model go another way to the activations of its stem for frames of known sizes.

    Args:
        model: for frames of any size (see `onnx_export.with_integer_front_end`).
        stem: name of the stem's convolution.
        known: by (height, width) a model for frames of that size, which differs up to the stem only.
    """
    ours = _way_to_stem(model, stem)
    activations = ours[-1].output[0]
    kind = next(t.data_type for t in model.graph.initializer if t.name == ours[-1].input[2])
    shape = shapes_of(model)[activations]
    output = helper.make_tensor_value_info(activations, kind, [shape[axis] for axis in TO_NHWC])
    way = _branch(ours, model, f"{FRONT_SCOPE}any_size/")
    for size, other in known.items():
        way = _choose(size, _branch(_way_to_stem(other, stem), other, f"{FRONT_SCOPE}{_text(size)}/"), way, output)
    nodes, constants = way
    chosen = nodes[-1].output[0]
    nodes.append(helper.make_node("Transpose", [chosen], [activations], f"{FRONT_SCOPE}to_nchw", perm=TO_NCHW))
    gone = {node.name for node in ours}
    rest = [node for node in model.graph.node if node.name not in gone]
    read = {name for node in rest for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    joined = onnx.ModelProto()
    joined.CopyFrom(model)
    del joined.graph.node[:], joined.graph.initializer[:]
    joined.graph.node.extend([*nodes, *rest])
    joined.graph.initializer.extend([*kept, *constants])
    helper.set_model_props(joined, {WHOLE_FRAMES_KEY: " ".join(map(_text, known))})
    onnx.checker.check_model(joined, full_check=True)
    return joined


def _taps(side: int, before: int, after: int) -> NDArray[np.float64] | None:
    """Return the weights (side, pixels) of `side` resized pixels on the pixels of the frame below them."""
    factor = averaging_factor(before, after)
    averaged, cut = divmod(before, factor)
    pixels, rest = divmod(side * averaged, after)
    if cut or rest or before < after:
        return None
    taps = np.zeros((side, pixels))
    for index in range(side):
        at = (index + 0.5) * averaged / after - 0.5  # half-pixel centres
        first = int(np.floor(at))
        taps[index, first] += 1 - (at - first)
        if at > first:
            taps[index, first + 1] += at - first
    return np.repeat(taps / factor, factor, axis=1)


def _choose(size: Size, known: _Way, otherwise: _Way, output: onnx.ValueInfoProto) -> _Way:
    """Ask whether the frame has a size and go one of two ways.

    A branch holds its own constants: ONNX Runtime prepares the weights of a branch within a branch only there.
    """
    at = f"{FRONT_SCOPE}is_{_text(size)}"
    branches = {}
    for name, (nodes, constants) in (("then_branch", known), ("else_branch", otherwise)):
        result = onnx.ValueInfoProto()
        result.CopyFrom(output)
        result.name = nodes[-1].output[0]
        branches[name] = helper.make_graph(nodes, f"{at}/{name}", [], [result], constants)
    return [
        helper.make_node("Shape", [INPUT_NAME], [f"{at}/shape"], f"{at}/shape"),
        helper.make_node("Equal", [f"{at}/shape", f"{at}/wanted"], [f"{at}/equal"], f"{at}/equal"),
        helper.make_node("Cast", [f"{at}/equal"], [f"{at}/ones"], f"{at}/ones", to=TensorProto.INT32),
        helper.make_node("ReduceMin", [f"{at}/ones"], [f"{at}/least"], f"{at}/least", keepdims=0),
        helper.make_node("Cast", [f"{at}/least"], [f"{at}/answer"], f"{at}/answer", to=TensorProto.BOOL),
        helper.make_node("If", [f"{at}/answer"], [f"{at}/activations"], f"{at}/activations", **branches),
    ], [numpy_helper.from_array(np.array([*size, 3], np.int64), f"{at}/wanted")]


def _way_to_stem(model: onnx.ModelProto, stem: str) -> list[onnx.NodeProto]:
    """Return the nodes from the frame to the quantized activations of the stem, in their order."""
    nodes = list(model.graph.node)
    last = next(node for node in nodes if node.name == stem)
    while last.op_type != "QuantizeLinear":
        last = next(node for node in nodes if last.output[0] in node.input)
    needed, way = set(last.output), []
    for node in reversed(nodes):
        if needed & set(node.output):
            way.append(node)
            needed |= set(node.input)
    return way[::-1]


def _branch(nodes: Sequence[onnx.NodeProto], model: onnx.ModelProto, prefix: str) -> _Way:
    """Return copies of nodes and of the constants they read, all names but that of the frame with a prefix.

    The result leaves the branch channels last, as integer kernels compute it, so that runtimes cancel the transposes
    on both sides of the branch.
    """
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}{node.name}"
        copy.input[:] = [name if name in ("", INPUT_NAME) else f"{prefix}{name}" for name in node.input]
        copy.output[:] = [f"{prefix}{name}" for name in node.output]
        copies.append(copy)
    read = {name for node in nodes for name in node.input}
    constants = []
    for tensor in model.graph.initializer:
        if tensor.name in read:
            constant = onnx.TensorProto()
            constant.CopyFrom(tensor)
            constant.name = f"{prefix}{tensor.name}"
            constants.append(constant)
    result = copies[-1].output[0]
    copies.append(helper.make_node("Transpose", [result], [f"{result}/nhwc"], f"{prefix}to_nhwc", perm=TO_NHWC))
    return copies, constants


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
