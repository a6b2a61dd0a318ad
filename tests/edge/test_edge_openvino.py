"""The second runtime: same bundle, same results, loaded from the verified bytes, INT8 inside."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from shelfgap_edge import cli, session_openvino
from shelfgap_edge.bench.detectors import bench_bundle
from shelfgap_edge.errors import BundleError, MissingRuntimeError
from shelfgap_edge.runtime import Detector
from shelfgap_edge.verify import verify_bundle

if importlib.util.find_spec("openvino") is None:  # importorskip would import it with its telemetry
    pytest.skip("needs the extra: pip install 'shelfgap-edge[openvino]'", allow_module_level=True)


@pytest.fixture
def pair(bundle):
    return [Detector.load(bundle, runtime=name) for name in ("onnxruntime", "openvino")]


@pytest.mark.parametrize("size", [(64, 64), (48, 48), (96, 128), (333, 517), (700, 1003)])
def test_frames_of_any_size_give_the_same_as_onnxruntime(pair, bright_square, size):
    height, width = size
    frame = bright_square(size, (width // 4, height // 3, width * 3 // 4, height * 2 // 3))
    ours, theirs = (detector.detect(frame, score_thresholds=0) for detector in pair)
    assert (ours.class_ids == theirs.class_ids).all()
    # the two round a resized pixel to different sides at most
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1.01 / 255)
    np.testing.assert_allclose(ours.boxes_xyxy, theirs.boxes_xyxy, atol=1.05 * max(size) / 64)


def test_golden_frames_replay(bundle, capsys):
    report = verify_bundle(bundle, runtime="openvino")
    assert report.passed
    assert report.runtime == "openvino"
    assert cli.main(["verify", str(bundle), "--runtime", "openvino"]) == 0
    assert "run by openvino" in capsys.readouterr().out


def test_the_verified_bytes_are_the_ones_that_run(bundle, monkeypatch, bright_square):
    from shelfgap_edge import admission

    def swap_after_check(files, where):
        real_check(files, where)
        (bundle / "model.int8.onnx").write_bytes(b"swapped in after the check")

    real_check = admission.check_sums
    monkeypatch.setattr(admission, "check_sums", swap_after_check)
    assert len(Detector.load(bundle, runtime="openvino").detect(bright_square())) == 1


def test_sizes_are_compiled_once_and_the_oldest_goes(a_manifest, model, bright_square):
    detector = Detector(a_manifest(), model().SerializeToString(), runtime="openvino")
    session = detector._session
    sizes = [(60 + n, 80) for n in range(session_openvino.MAX_COMPILED + 1)]
    for size in sizes:
        detector.detect(bright_square(size, (10, 10, 40, 40)))
    assert list(session._compiled) == [(*size, 3) for size in sizes[1:]]
    before = dict(session._compiled)
    found = detector.detect(bright_square(sizes[1], (10, 10, 40, 40)))
    assert session._compiled == before
    assert next(reversed(session._compiled)) == (*sizes[1], 3)
    assert len(found) == 1


def test_an_answer_is_not_overwritten_by_the_next(pair, bright_square):
    detector = pair[1]
    first = detector.infer(detector.decode(bright_square()))
    kept = first.scores.copy()
    detector.infer(detector.decode(np.zeros((96, 128, 3), np.uint8)))
    assert (first.scores == kept).all()


def test_a_frame_of_the_input_size_is_not_resized(a_manifest, model, bright_square):
    detector = Detector(a_manifest(), model().SerializeToString(), runtime="openvino")
    for size, resizes in (((64, 64), 0), ((96, 128), 1)):
        detector.detect(bright_square(size, (10, 10, 40, 40)))
        graph = detector._session._compiled[(*size, 3)].get_compiled_model().get_runtime_model()
        kinds = [operation.get_rt_info()["layerType"].value for operation in graph.get_ops()]
        assert kinds.count("Interpolate") == resizes


def test_threads_and_precision_are_set(a_manifest, model, bright_square):
    detector = Detector(a_manifest(), model().SerializeToString(), runtime="openvino", threads=2)
    detector.detect(bright_square())
    (request,) = detector._session._compiled.values()
    compiled = request.get_compiled_model()
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == session_openvino.import_openvino().Type.f32


def test_what_is_no_model_is_refused(a_manifest):
    with pytest.raises(BundleError, match=r"not a model that openvino 2026\.\d+\.\d+ runs: ") as caught:
        Detector(a_manifest(), b"garbage", runtime="openvino")
    assert "\n" not in str(caught.value)


def test_another_signature_is_refused(a_manifest, model):
    fixed = model()
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 480
    with pytest.raises(BundleError, match=r"with free height and width, got uint8 \[480, None, 3\]"):
        Detector(a_manifest(), fixed.SerializeToString(), runtime="openvino")


def test_both_runtimes_are_measured_in_turns(bundle, capsys):
    report = bench_bundle(bundle, min_seconds=0, min_count=24, runtimes=["onnxruntime", "openvino"])
    names = ["fp32 onnxruntime", "int8 onnxruntime", "fp32 openvino", "int8 openvino"]
    assert [run["name"] for run in report["runs"]] == names
    assert [(entry["name"], entry["reference"]) for entry in report["ratios"]] == [
        ("int8 onnxruntime", "fp32 onnxruntime"),
        ("fp32 openvino", "fp32 onnxruntime"),
        ("int8 openvino", "fp32 openvino"),
        ("int8 openvino", "int8 onnxruntime"),
    ]
    assert set(report["auto_precision"]) == {"onnxruntime", "openvino"}
    options = ["--min-seconds", "0", "--min-count", "12", "--runtime", "onnxruntime", "openvino"]
    assert cli.main(["bench", str(bundle), *options]) == 0
    out = capsys.readouterr().out
    assert "int8 openvino/int8 onnxruntime inference median: " in out
    assert "--precision auto takes " in out


def test_nothing_is_written_and_nothing_is_sent(bundle, tmp_path, bright_square, to_jpeg):
    """The package reports every import over the network, and keeps an id in the home folder, unless it is kept from."""
    script = (
        "import os, sys\n"
        "seen = []\n"
        "def watch(event, args):\n"
        "    if event.startswith('socket.') and event not in ('socket.__new__', 'socket.gethostname'):\n"
        "        seen.append((event, args))\n"
        "    if event == 'open' and args[0] != os.devnull:\n"
        "        mode, flags = args[1] or '', args[2] or 0\n"
        "        if set(mode) & set('wax+') or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):\n"
        "            seen.append((event, args))\n"
        "from shelfgap_edge.cli import main\n"
        "sys.dont_write_bytecode = True\n"
        "sys.addaudithook(watch)\n"
        "for argv in (['predict', *sys.argv[1:3]], ['verify', sys.argv[1]]):\n"
        "    assert main([*argv, '--runtime', 'openvino']) == 0\n"
        "assert not seen, seen\n"
        "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules\n"
    )
    shelf = tmp_path / "shelf.jpg"
    shelf.write_bytes(to_jpeg(bright_square()))
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", script, bundle, shelf],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_predict_names_the_runtime(bundle, tmp_path, bright_square, to_jpeg, capsys):
    shelf = tmp_path / "shelf.jpg"
    shelf.write_bytes(to_jpeg(bright_square()))
    assert cli.main(["predict", str(bundle), str(shelf), "--runtime", "openvino", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runtime"] == "openvino"


def test_one_runtime_does_not_load_the_other(bundle):
    for ours, other in (("openvino", "onnxruntime"), ("onnxruntime", "openvino")):
        script = (
            "import sys; from shelfgap_edge.runtime import Detector\n"
            f"Detector.load(sys.argv[1], runtime={ours!r})\n"
            f"assert {other!r} not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", script, bundle], check=True, timeout=60)


def test_an_absent_runtime_names_its_extra(bundle, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if not installed
    with pytest.raises(MissingRuntimeError, match=r"pip install 'shelfgap-edge\[openvino\]'") as caught:
        Detector.load(bundle, runtime="openvino")
    assert "\n" not in str(caught.value)
    assert cli.main(["verify", str(bundle), "--runtime", "openvino"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
