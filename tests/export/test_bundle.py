"""A bundle is written whole or not at all, proves itself, and shows a change of a single byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import textwrap

import pytest
from shelfgap_edge.errors import BundleError
from shelfgap_edge.runtime import Detector
from shelfgap_edge.verify import verify_bundle
from shelfgap_export.bundle import make_manifest, write_bundle
from shelfgap_export.params import BundleParams

PASSED = {"schema": "shelfgap-gate/1", "verdict": "pass", "reason": "all 4 checks hold", "checks": []}
PARAMS = BundleParams(name="patches", golden_frames=2, golden_seed=3)


@pytest.fixture
def write(tmp_path, models, manifest_of):
    def write(gate=PASSED, **changes):
        target = tmp_path / "release" / "bundle"
        write_bundle(target, manifest_of(models=models, **changes), models, gate, PARAMS)
        return target

    return write


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_directory_and_tar_hold_the_same_and_verify(write, tmp_path):
    bundle = write()
    assert names(bundle.parent) == ["bundle", "bundle.tar"]
    assert names(bundle) == [
        "MODEL_CARD.md",
        "SHA256SUMS",
        "gate.json",
        "golden",
        "manifest.json",
        "model.fp32.onnx",
        "model.int8.onnx",
    ]
    for form in (bundle, bundle.with_name("bundle.tar")):
        assert verify_bundle(form).passed
    golden = json.loads((bundle / "golden" / "expected.json").read_text())
    assert str(golden).count("golden/shelf-") == 4  # two frames in two precisions
    with tarfile.open(bundle.with_name("bundle.tar")) as archive:
        packed = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
    assert packed == {p.relative_to(bundle).as_posix(): p.read_bytes() for p in bundle.rglob("*") if p.is_file()}


def test_the_version_follows_the_bytes_of_the_models(models, manifest_of, tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(models["fp32"].read_bytes() + b" ")
    one, same = (manifest_of(models=models).version for _ in range(2))
    assert one == same
    assert manifest_of(models={**models, "fp32": other}).version != one


def test_nothing_is_written_when_the_gate_did_not_pass(write, tmp_path):
    failed = PASSED | {"verdict": "fail", "reason": "int8 recall is 0.1000, must be at least 0.4"}
    with pytest.raises(BundleError, match=r"the gate says 'fail': int8 recall is 0.1000.*no bundle is written"):
        write(failed)
    assert not (tmp_path / "release").exists()


def test_one_changed_byte_is_found_wherever_it_is(write):
    bundle = write()
    for path in sorted(p for p in bundle.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        with pytest.raises(BundleError, match=path.name.replace(".", r"\.")):
            Detector.load(bundle)
        path.write_bytes(whole)
    assert len(Detector.load(bundle).manifest.classes) == 1


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from shelfgap_edge.errors import BundleError
    from shelfgap_export.bundle import make_manifest, write_bundle
    from shelfgap_export.params import BundleParams

    target, fp32, int8, limit = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    models = {"fp32": fp32, "int8": int8}
    manifest = make_manifest(
        name="patches", models=models, classes=("gap",), input_size=(96, 128),
        score_thresholds={"gap": 0.9}, hashes={}, metrics={},
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # every write beyond fails, as on a full disk
    gate = {"verdict": "pass", "reason": "", "checks": []}
    try:
        write_bundle(target, manifest, models, gate, BundleParams(name="patches", golden_frames=1, golden_seed=3))
    except BundleError as error:
        print(error)
        sys.exit(1)
"""


def test_what_a_killed_write_of_the_same_process_number_left_is_in_nobodys_way(write):
    """In a container a process often has the number that the one before had."""
    parent = write().parent
    for left in ("tmp", "old"):
        (parent / f".bundle.{os.getpid()}.{left}" / "golden").mkdir(parents=True)
        (parent / f".bundle.{os.getpid()}.{left}" / "golden" / "shelf-9.jpg").write_bytes(b"half")
    assert verify_bundle(write()).passed
    assert names(parent) == ["bundle", "bundle.tar"]


@pytest.mark.parametrize("limit_share", [0.0, 0.5, 1.0])
def test_a_write_that_fails_leaves_the_earlier_bundle_and_nothing_else(write, models, limit_share):
    """Models, then the tar: the largest single file that fits decides how far the writer comes."""
    bundle = write()
    before = (bundle / "manifest.json").read_bytes()
    limit = int(limit_share * max(path.stat().st_size for path in models.values()))
    arguments = [str(bundle), str(models["fp32"]), str(models["int8"]), str(limit)]
    script = [sys.executable, "-c", textwrap.dedent(FULL_DISK), *arguments]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "cannot be written (File too large); nothing was left" in done.stdout
    assert names(bundle.parent) == ["bundle", "bundle.tar"]
    assert (bundle / "manifest.json").read_bytes() == before
    assert verify_bundle(bundle).passed
    assert verify_bundle(bundle.with_name("bundle.tar")).passed


def test_a_manifest_without_int8_starts_in_float(models):
    manifest = make_manifest(
        name="patches",
        models={"fp32": models["fp32"]},
        classes=("gap",),
        input_size=(96, 128),
        score_thresholds={"gap": 0.5},
        hashes={},
        metrics={},
    )
    assert manifest.default_precision == "fp32"
