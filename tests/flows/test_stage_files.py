"""What stages write is whole and standard JSON; what they lack is named with the command that makes it."""

from __future__ import annotations

import json
import math
import resource
import signal
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from shelfgap_datasets.coco import save_dataset
from shelfgap_datasets.schema import DatasetError
from shelfgap_flows.cli_output import print_json
from shelfgap_flows.stage_files import StageError, calibration_frames, write_json, write_model
from shelfgap_flows.workspace import Workspace
from small_network import dark_patches

REPORT = {"val_ap50": math.nan, "layers": [{"alone_sqnr_db": math.inf}], "size": (96, 128), "epochs": 3, "run": "nan"}
STANDARD = {"val_ap50": None, "layers": [{"alone_sqnr_db": None}], "size": [96, 128], "epochs": 3, "run": "nan"}


def strictly(text):
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_is_no_number_is_null_in_reports_and_on_the_terminal(tmp_path, capsys):
    write_json(tmp_path / "reports" / "training.json", REPORT)
    print_json(REPORT)
    assert strictly((tmp_path / "reports" / "training.json").read_text()) == STANDARD
    assert strictly(capsys.readouterr().out) == STANDARD


@contextmanager
def disk_of_50_kb():
    """Limit every file of this process, so no longer than a write takes: pytest may be writing to a larger one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[0][1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
        signal.signal(signal.SIGXFSZ, before[1])


def model(values):
    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["a"], ["b"])
    weights = numpy_helper.from_array(np.zeros(values, np.float32), "w")
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])
    return helper.make_model(helper.make_graph([node], "g", [value], [out], [weights]))


def test_a_full_disk_leaves_the_old_model(tmp_path):
    path = tmp_path / "core.onnx"
    write_model(path, model(10))
    with disk_of_50_kb(), pytest.raises(OSError, match="too large"):
        write_model(path, model(100_000))
    assert onnx.load(path) == model(10)
    assert list(tmp_path.iterdir()) == [path]


def test_calibration_without_a_training_image_or_with_a_damaged_one_says_so(tmp_path):
    workspace = Workspace(tmp_path)
    dataset = dark_patches(workspace.dataset, train=2, val=1, test=0)
    assert len(calibration_frames(workspace, 64, (96, 128))) == 2
    (workspace.dataset / "images" / "1.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"the picture 1\.png cannot be read"):
        calibration_frames(workspace, 64, (96, 128))
    save_dataset(workspace.dataset, replace(dataset, images=dataset.images[2:]))
    with pytest.raises(StageError, match="no image in split train; run: shelfgap data split"):
        calibration_frames(workspace, 64, (96, 128))
