"""Every rewrite leaves the function as it is, is made where its pattern stands, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from shelfgap_export.integer_forms import with_integer_forms
from shelfgap_export.onnx_export import FRONT_SCOPE, PIXELS_NAME, network_input

OUTPUTS = ("heat", "sides")


def run(model, pixels, names=None):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(names, {PIXELS_NAME: pixels})


def kinds(model):
    return [node.op_type for node in model.graph.node]


def a_core(side=4, factors=(2, 2), grid=(2, 3), channels=5, stem=None, resize=None, shared=True):
    """A stem, a coarser level that is added back, and two head outputs: (1, 3, H, W) -> heat and sides."""
    rng = np.random.default_rng(0)
    rows, columns = factors
    height, width = side * rows * grid[0], side * columns * grid[1]
    weights = {
        "stem/w": rng.normal(size=(channels, 3, side, side)),
        "stem/b": rng.normal(size=channels),
        "down/w": rng.normal(size=(channels, channels, rows, columns)),
        "heat/w": rng.normal(size=(2, channels, 1, 1)),
        "heat/b": rng.normal(size=2),
        "sides/w": rng.normal(size=(4, channels, 1, 1)),
    }
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array([1, 1, rows, columns], np.float32), "scales"))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    nodes = [
        helper.make_node(
            "Conv", [PIXELS_NAME, "stem/w", "stem/b"], ["x"], "stem/Conv", **{"strides": [side, side], **(stem or {})}
        ),
        helper.make_node("Conv", ["x", "down/w"], ["coarse"], "down/Conv", strides=[rows, columns]),
        helper.make_node("Resize", ["coarse", "", "scales"], ["up"], "Resize", **{**nearest, **(resize or {})}),
        helper.make_node("Add", ["x", "up"], ["sum"], "Add"),
        helper.make_node("Relu", ["sum"], ["features"], "Relu"),
        helper.make_node("Conv", ["features", "heat/w", "heat/b"], ["heat"], "heat/Conv"),
        helper.make_node("Conv", ["features" if shared else "x", "sides/w"], ["sides"], "sides/Conv"),
    ]
    graph = helper.make_graph(
        nodes,
        "core",
        [helper.make_tensor_value_info(PIXELS_NAME, TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def assert_same_function(core, forms):
    shape = [dim.dim_value for dim in core.graph.input[0].type.tensor_type.shape.dim]
    pixels = np.random.default_rng(1).random(shape, np.float32)
    for ours, theirs in zip(run(forms, pixels), run(core, pixels), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)


@settings(deadline=None, max_examples=20)
@given(
    side=st.integers(2, 9),
    factors=st.tuples(st.integers(1, 3), st.integers(2, 3)),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    channels=st.integers(1, 6),
    shared=st.booleans(),
)
def test_the_function_stays_the_same(side, factors, grid, channels, shared):
    core = a_core(side, factors, grid, channels, shared=shared)
    forms = with_integer_forms(core)
    assert_same_function(core, forms)
    assert "Resize" not in kinds(forms)
    assert kinds(forms).count("Conv") == 2  # stem and down; the heads are products
    assert kinds(forms).count("MatMul") == (1 if shared else 2)
    stem = next(node for node in forms.graph.node if node.name == "stem/Conv")
    expected = [side, side] if side == 9 else [side, 1 if side < 8 else 2]  # nine columns have no half
    assert next(helper.get_attribute_value(a) for a in stem.attribute if a.name == "strides") == expected


def test_a_trained_network_says_the_same(core, frames):
    forms = with_integer_forms(core)
    names = ["boxes_xyxy_norm", "scores", "class_ids"]
    for frame in frames[:3]:
        pixels = np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32) / 255
        for ours, theirs in zip(run(forms, pixels, names), run(core, pixels, names), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert kinds(forms).count("MatMul") == 1
    assert network_input(forms) != PIXELS_NAME
    assert kinds(core).count("MatMul") == 0  # the given one is left as it was


@pytest.mark.parametrize(
    "stem", [{"strides": [2, 2]}, {"pads": [4, 4, 4, 4]}, {"strides": [4, 2]}], ids=["overlapping", "padded", "uneven"]
)
def test_another_stem_is_left(stem):
    core = a_core(4, (1, 1), (4, 4), stem=stem, resize=None)
    # an addition of what was not resized: only the stem and the heads could change
    forms = with_integer_forms(core)
    assert network_input(forms) == PIXELS_NAME
    assert_same_function(core, forms)


@pytest.mark.parametrize(
    "resize",
    [{"mode": "linear"}, {"nearest_mode": "ceil"}, {"coordinate_transformation_mode": "half_pixel"}],
    ids=["linear", "ceil", "half pixel"],
)
def test_another_resize_is_left(resize):
    core = a_core(resize=resize)
    forms = with_integer_forms(core)
    assert "Resize" in kinds(forms)
    assert_same_function(core, forms)


def test_a_resize_with_another_reader_is_left():
    core = a_core()
    core.graph.output.append(helper.make_tensor_value_info("up2", TensorProto.FLOAT, [1, 5, 4, 6]))
    core.graph.node.append(helper.make_node("Identity", ["up"], ["up2"], "Identity"))
    forms = with_integer_forms(core)
    assert "Resize" in kinds(forms)
    assert_same_function(core, forms)


def test_nodes_to_keep_are_kept():
    core = a_core()
    forms = with_integer_forms(core, keep=["stem/Conv", "Add", "heat/Conv"])
    kept = [node for node in core.graph.node if node.name not in ("sides/Conv", "Relu", "down/Conv")]
    assert all(node in forms.graph.node for node in kept)
    assert not any(node.name.startswith(FRONT_SCOPE) for node in forms.graph.node)
    assert kinds(forms).count("MatMul") == 1
    assert_same_function(core, forms)


def test_no_constant_is_left_behind():
    forms = with_integer_forms(a_core())
    read = {name for node in forms.graph.node for name in node.input}
    assert {tensor.name for tensor in forms.graph.initializer} <= read
