"""A model file from an untrusted place cannot run code: planted pickles are never unpickled, whoever signed them."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from shelfgap_edge.bundle import compute_sums
from shelfgap_export.bundle import write_bundle
from shelfgap_export.params import BundleParams
from shelfgap_export.signing import generate_key, sign
from shelfgap_training.checkpoint import CheckpointError, load_detector

GATE = {"schema": "shelfgap-gate/1", "verdict": "pass", "reason": "all hold", "checks": []}
PARAMS = BundleParams(name="patches", golden_frames=1, golden_seed=3)
IN_PLACE_OF = (
    "model.int8.onnx",
    "model.fp32.onnx",
    "manifest.json",
    "golden/expected.json",
    "golden/shelf-1.jpg",
    "gate.json",
    "MODEL_CARD.md",
    "SHA256SUMS",
    "signature",
)
BESIDE = ("detector.pt", "model.pkl", "golden/shelf-1.pkl", "model.int8.onnx.data", "MLmodel", "python_model.pkl")


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def planted_files(folder: Path, marker: Path) -> dict[str, bytes]:
    """Return files that run code when they are unpickled: a plain one, and what torch writes, new and old."""
    files = {"pickle": pickle.dumps(Planted(marker))}
    for name, new in (("torch", True), ("torch-legacy", False)):
        torch.save({"format": 1, "state_dict": Planted(marker)}, folder / name, _use_new_zipfile_serialization=new)
        files[name] = (folder / name).read_bytes()
    return files


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "code-was-run"


@pytest.fixture
def planted(tmp_path, marker):
    return planted_files(tmp_path, marker)


@pytest.fixture
def bundle(tmp_path, models, manifest_of):
    root = tmp_path / "bundle"
    write_bundle(root, manifest_of(models=models), models, GATE, PARAMS)
    return root


# Runs every command on every bundle; any unpickling at all, of whatever file, is an event that Python reports.
DEVICE = """
    import json, sys
    unpickled = []
    sys.addaudithook(lambda event, args: unpickled.append(args) if event == "pickle.find_class" else None)
    from shelfgap_edge.cli import main
    codes = []
    bundles, keys = json.loads(sys.argv[1]), sys.argv[2]
    for bundle in bundles:
        codes.append(main(["predict", bundle, bundle + "/golden/shelf-1.jpg", bundle + "/detector.pt"]))
        codes.append(main(["verify", bundle, "--keys", keys]))
        codes.append(main(["bench", bundle, "--min-seconds", "0", "--min-count", "1"]))
    main(["verify", bundles[0], "--keys", bundles[0] + "/model.int8.onnx"])
    assert not unpickled, unpickled
    print(json.dumps(codes))
"""


def test_the_planted_files_do_run_code_where_they_are_unpickled(planted, marker):
    """Else the other tests could not fail."""
    pickle.loads(planted["pickle"])
    assert marker.is_dir()
    for name in ("torch", "torch-legacy"):
        marker.rmdir()
        torch.load(marker.with_name(name), weights_only=False)
        assert marker.is_dir()


def test_no_command_of_the_device_unpickles_anything(bundle, planted, marker, tmp_path):
    """Pickles in place of each file and beside them, checksums and signature in order, so that nothing stops early."""
    pair = generate_key(tmp_path / "release")
    bundles = []
    for form, content in planted.items():
        for name in IN_PLACE_OF + (BESIDE if form == "torch" else ()):
            root = tmp_path / f"{form}-{name.replace('/', '-')}"
            subprocess.run(["cp", "-r", bundle, root], check=True)
            (root / name).write_bytes(content)
            if name != "SHA256SUMS":
                (root / "SHA256SUMS").write_text(compute_sums(root))
            if name != "signature":
                (root / "signature").write_bytes(sign(root, pair.private_key))
            bundles.append(str(root))
    script = [sys.executable, "-c", textwrap.dedent(DEVICE), json.dumps(bundles), str(pair.public_key)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not marker.exists()
    codes = json.loads(done.stdout.splitlines()[-1])
    assert len(codes) == 3 * len(bundles)
    # a detector.pt in a signed bundle is a file like others, a model that is a pickle is none
    assert set(codes) == {0, 1}
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("form", ["pickle", "torch", "torch-legacy"])
def test_a_detector_of_the_platform_is_read_without_running_code(planted, marker, tmp_path, form):
    path = tmp_path / "detector.pt"
    path.write_bytes(planted[form])
    with pytest.raises(CheckpointError, match="not a trained detector"):
        load_detector(path)
    assert not marker.exists()


def test_only_an_unfinished_training_is_loaded_with_more_than_its_weights():
    """Its checkpoint lies in the scratch folder of the workspace, and goes nowhere."""
    unsafe, safe = set(), set()
    for package in ("shelfgap_edge", "shelfgap_datasets", "shelfgap_training", "shelfgap_export", "shelfgap_flows"):
        root = Path(importlib.util.find_spec(package).origin).parent
        for path in root.rglob("*.py"):
            for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
                options = {word.arg: ast.unparse(word.value) for word in call.keywords}
                if ast.unparse(call.func) == "torch.load":
                    (safe if options.get("weights_only") == "True" else unsafe).add(path.name)
                elif ast.unparse(call.func).endswith("load_model") or options.get("allow_pickle") == "True":
                    unsafe.add(path.name)
    assert unsafe == {"resume.py"}
    assert "checkpoint.py" in safe
