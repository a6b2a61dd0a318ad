"""A real bundle of the small detector, and the command in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from plain_bundles import gate_report
from prefect.settings import PREFECT_API_URL
from shelfgap_datasets.coco import IMAGES_DIR
from shelfgap_datasets.frames import load_resized
from shelfgap_edge.contract import MODEL_FILES
from shelfgap_edge.identity import model_identity
from shelfgap_export.bundle import make_manifest, write_bundle
from shelfgap_export.onnx_export import export_core, with_float_front_end, with_integer_front_end
from shelfgap_export.params import BundleParams, QuantizeParams
from shelfgap_export.quantize import quantize_core
from shelfgap_flows import cli
from shelfgap_flows.prefect_server import lasting_server
from small_network import MODEL
from written_days import write_day


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Run `shelfgap`: (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["shelfgap", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def prefect_db(tmp_path_factory) -> Iterator[Path]:
    """Keep one Prefect server for the commands of a file, which would each start its own; returns its database.

    Starting one takes longer than all else that most of these commands do.
    """
    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        with lasting_server(home):
            patch.delenv("PREFECT_HOME")
            patch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
            yield home / "prefect.db"


@pytest.fixture(scope="session")
def patches_bundle(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    names = [image.file_name for image in trained.dataset.of_split("train")]
    frames = [load_resized(trained.root / IMAGES_DIR / name, MODEL.input_size) for name in names]
    core = export_core(trained.model)
    params = QuantizeParams(
        calibration_images=12, calibration_method="minmax", device_class="x86-vnni", exclude=(), frame_sizes=()
    )
    quantized = quantize_core(core, frames, params).model
    models = {"fp32": folder / "model.fp32.onnx", "int8": folder / "model.int8.onnx"}
    onnx.save(with_float_front_end(core, MODEL.input_size), models["fp32"])
    onnx.save(with_integer_front_end(quantized, MODEL.input_size), models["int8"])
    manifest = make_manifest(
        name="patches",
        models=models,
        classes=("gap",),
        input_size=MODEL.input_size,
        score_thresholds={"gap": 0.3},
        hashes={},
        metrics={},
    )
    identity = model_identity(manifest, {MODEL_FILES[name]: path.read_bytes() for name, path in models.items()})
    gate = gate_report(manifest.version, identity)
    bundle_params = BundleParams(name="patches", golden_frames=1, golden_seed=3)
    write_bundle(folder / "bundle", manifest, models, gate, bundle_params)
    return folder / "bundle"


@pytest.fixture
def day(tmp_path):
    """Facing 0 is empty from 60 to 180 min and from 200 to 215, facing 1 never; facing 2 is out of the frame."""
    empty = [(0, "full"), (60, "gap"), (180, "full"), (200, "gap"), (215, "full")]
    return write_day(tmp_path, {0: empty, 1: [(0, "full")], 2: [(0, "gap")]})
