"""Tiny real bundles: a graph that resizes the frame and puts a box around what is bright."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from published import Shop
from running_service import ended
from shelfgap_edge.bundle import compute_sums
from shelfgap_edge.contract import FORMAT_VERSION, MODEL_FILES, Manifest
from shelfgap_edge.golden import Tolerance, golden_frame, golden_json
from shelfgap_edge.runtime import Detector

INPUT = 64


def bright_square_model(score_factor: float = 1.0) -> onnx.ModelProto:
    """Row 0: the bounds of all pixels over half brightness, score = peak brightness. Row 1: a faint `low`."""
    constants = {
        "size": np.array([INPUT, INPUT], np.int64),
        "channels": np.array([2], np.int64),
        "rows": np.array([0], np.int64),
        "columns": np.array([1], np.int64),
        "half": np.array(127.5, np.float32),
        "peak_scale": np.array([score_factor / 255], np.float32),
        "first": np.arange(INPUT, dtype=np.float32),
        "last": np.arange(1, INPUT + 1, dtype=np.float32),
        "far": np.array(INPUT, np.float32),
        "near": np.array(0, np.float32),
        "side": np.array(INPUT, np.float32),
        "faint_box": np.array([[0.0, 0.0, 0.5, 0.5]], np.float32),
        "faint_score": np.array([0.05], np.float32),
        "class_ids": np.array([0, 1], np.int64),
        "box_shape": np.array([1, 4], np.int64),
        "all_axes": np.array([0, 1], np.int64),
        "score_shape": np.array([1], np.int64),
    }

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output], **attributes)

    nodes = [
        node("Resize", ["frame", "", "", "size"], "small", mode="linear", axes=[0, 1]),
        node("Cast", ["small"], "float", to=TensorProto.FLOAT),
        node("ReduceMean", ["float", "channels"], "grey", keepdims=0),
        node("ReduceMax", ["grey", "all_axes"], "peak_grey", keepdims=0),
        node("Reshape", ["peak_grey", "score_shape"], "peak_row"),
        node("Mul", ["peak_row", "peak_scale"], "peak"),
        node("Concat", ["peak", "faint_score"], "scores", axis=0),
    ]
    for axis, collapsed in (("x", "rows"), ("y", "columns")):
        nodes += [
            node("ReduceMax", ["grey", collapsed], f"{axis}_profile", keepdims=0),
            node("Greater", [f"{axis}_profile", "half"], f"{axis}_bright"),
            node("Where", [f"{axis}_bright", "first", "far"], f"{axis}_starts"),
            node("Where", [f"{axis}_bright", "last", "near"], f"{axis}_ends"),
            node("ReduceMin", [f"{axis}_starts"], f"{axis}1", keepdims=1),
            node("ReduceMax", [f"{axis}_ends"], f"{axis}2", keepdims=1),
        ]
    nodes += [
        node("Concat", ["x1", "y1", "x2", "y2"], "corners", axis=0),
        node("Reshape", ["corners", "box_shape"], "box"),
        node("Div", ["box", "side"], "box_norm"),
        node("Concat", ["box_norm", "faint_box"], "boxes_xyxy_norm", axis=0),
        node("Identity", ["class_ids"], "class_ids_out"),
    ]
    nodes[-1].output[0] = "class_ids"
    nodes[-1].input[0] = "class_ids_constant"
    constants["class_ids_constant"] = constants.pop("class_ids")
    graph = helper.make_graph(
        nodes,
        "bright-square",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, ["height", "width", 3])],
        [
            helper.make_tensor_value_info("boxes_xyxy_norm", TensorProto.FLOAT, [2, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("class_ids", TensorProto.INT64, [2]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def bright_square_pixels(
    size: tuple[int, int] = (96, 128), box: tuple[int, int, int, int] = (32, 24, 64, 60), level: int = 240
) -> NDArray[np.uint8]:
    pixels = np.full((*size, 3), 20, dtype=np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = level
    return pixels


def to_jpeg(pixels: NDArray[np.uint8], orientation: int | None = None, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 95, **options})
    return buffer.getvalue()


def a_manifest(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "format_version": FORMAT_VERSION,
        "name": "bright-square",
        "version": "1",
        "created_at": "2026-01-01T00:00:00Z",
        "classes": ("gap", "low"),
        "input_size": (INPUT, INPUT),
        "score_thresholds": {"gap": 0.5, "low": 0.4},
        "default_precision": "int8",
        "hashes": {},
        "metrics": {},
    }
    return Manifest(**{**values, **changes})  # type: ignore[arg-type]


def write_bundle(root: Path, *, precisions: tuple[str, ...] = ("int8", "fp32"), **changes: object) -> Path:
    """Write a bundle as the platform does: manifest, models, golden frames, then the sums."""
    (root / "golden").mkdir(parents=True)
    manifest = a_manifest(**changes)
    (root / "manifest.json").write_text(manifest.to_json())
    model = bright_square_model().SerializeToString()
    golden = []
    for index, box in enumerate(((32, 24, 64, 60), (8, 8, 40, 80))):
        name = f"golden/square-{index}.jpg"
        jpeg = to_jpeg(bright_square_pixels(box=box))
        (root / name).write_bytes(jpeg)
        for precision in precisions:
            detector = Detector(manifest, model)
            golden.append(golden_frame(detector, jpeg, file=name, precision=precision, tolerance=Tolerance()))
    for precision in precisions:
        (root / MODEL_FILES[precision]).write_bytes(model)
    (root / "golden/expected.json").write_text(golden_json(golden))
    reseal(root)
    return root


def reseal(root: Path) -> None:
    (root / "SHA256SUMS").unlink(missing_ok=True)
    (root / "SHA256SUMS").write_text(compute_sums(root))


@pytest.fixture(name="write_bundle")
def _write_bundle() -> Callable[..., Path]:
    return write_bundle


@pytest.fixture(name="reseal")
def _reseal() -> Callable[[Path], None]:
    return reseal


@pytest.fixture(name="to_jpeg")
def _to_jpeg() -> Callable[..., bytes]:
    return to_jpeg


@pytest.fixture(name="bright_square")
def _bright_square() -> Callable[..., NDArray[np.uint8]]:
    return bright_square_pixels


@pytest.fixture(name="model")
def _model() -> Callable[..., onnx.ModelProto]:
    return bright_square_model


@pytest.fixture(name="a_manifest")
def _a_manifest() -> Callable[..., Manifest]:
    return a_manifest


@pytest.fixture(autouse=True)
def no_service_left() -> Iterator[None]:
    with ended():  # a service of a whole module was started before
        yield


@pytest.fixture(scope="session", name="write_bundle")
def write_bundle_fixture() -> Callable[..., Path]:
    return write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, write_bundle, reseal)


@pytest.fixture
def frame(to_jpeg, bright_square):
    """Return a JPEG in which the stand-in detector finds a gap."""
    return to_jpeg(bright_square())
