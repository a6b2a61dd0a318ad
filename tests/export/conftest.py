"""The trained detector on its way to a bundle: frames, float core, quantized core, model files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from export_params import QUANTIZE
from shelfgap_datasets.coco import IMAGES_DIR
from shelfgap_datasets.frames import load_resized
from shelfgap_edge.runtime import Detector
from shelfgap_export.bundle import make_manifest
from shelfgap_export.onnx_export import export_core, with_float_front_end, with_integer_front_end
from shelfgap_export.quantize import QuantizedCore, quantize_core
from small_network import MODEL


@pytest.fixture(scope="session")
def frames(trained) -> list[np.ndarray]:
    names = [image.file_name for image in trained.dataset.of_split("train")]
    return [load_resized(trained.root / IMAGES_DIR / name, MODEL.input_size) for name in names]


@pytest.fixture(scope="session")
def core(trained) -> onnx.ModelProto:
    return export_core(trained.model)


@pytest.fixture(scope="session")
def fp32(core) -> onnx.ModelProto:
    return with_float_front_end(core, MODEL.input_size)


@pytest.fixture(scope="session")
def quantized(core, frames) -> QuantizedCore:
    return quantize_core(core, frames, QUANTIZE)


@pytest.fixture(scope="session")
def int8(quantized) -> onnx.ModelProto:
    return with_integer_front_end(quantized.model, MODEL.input_size)


def manifest_of(**changes: Any):
    values = {
        "name": "patches",
        "models": {},
        "classes": ("gap",),
        "input_size": MODEL.input_size,
        "score_thresholds": {"gap": 0.3},
        "hashes": {},
        "metrics": {},
    }
    return make_manifest(**{**values, **changes})


@pytest.fixture(scope="session")
def detector_of() -> Callable[[onnx.ModelProto], Detector]:
    return lambda model: Detector(manifest_of(), model.SerializeToString())


@pytest.fixture(scope="session", name="manifest_of")
def _manifest_of() -> Callable[..., Any]:
    return manifest_of


@pytest.fixture(scope="session")
def models(fp32, int8, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    paths = {"fp32": folder / "model.fp32.onnx", "int8": folder / "model.int8.onnx"}
    onnx.save(fp32, paths["fp32"])
    onnx.save(int8, paths["int8"])
    return paths
