"""`shelfgap-edge bench`: scenarios, comparisons and their exit codes, Ctrl-C, what does not go together."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import onnx
import pytest
from bench_reports import validate
from onnx import helper, numpy_helper
from shelfgap_edge import cli, cli_bench
from shelfgap_edge.bench import compare, plan
from shelfgap_edge.bench.table import to_table
from signing_keys import Signer, sign_folder

QUICK = ("--min-seconds", "0", "--min-count", "40")


@pytest.fixture
def run(capsys):
    """The command in this process: as (exit code, standard output, standard error)."""

    def run(*arguments):
        try:
            code = cli.main(["bench", *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def slower(write_bundle, reseal, tmp_path):
    """The same bundle with much more work in its INT8 model."""
    folder = write_bundle(tmp_path / "slower")
    model = onnx.load(folder / "model.int8.onnx")
    (resize,) = [node for node in model.graph.node if node.op_type == "Resize"]
    large = numpy_helper.from_array(np.array([1500, 1500], np.int64), "large")
    model.graph.initializer.append(large)
    enlarge = helper.make_node("Resize", ["frame", "", "", "large"], ["enlarged"], mode="linear", axes=[0, 1])
    resize.input[0] = "enlarged"
    model.graph.node.insert(0, enlarge)
    (folder / "model.int8.onnx").write_bytes(model.SerializeToString())
    reseal(folder)
    return folder


def test_the_command_line_names_what_there_is():
    assert tuple(plan.SCENARIOS) == cli_bench.SCENARIOS
    assert compare.ASPECTS == cli_bench.ASPECTS


@pytest.mark.parametrize(
    ("scenario", "options", "told"),
    [
        ("fleet", ("--cameras", "20", "--interval", "0.1"), "20 cameras, a frame every 0.1 s each: "),
        ("offline", ("--threads", "2"), "2 at once, "),
        ("memory", (), "MiB in 1000 frames"),
        ("sweep", ("--threads", "1", "2", "--runtime", "onnxruntime"), "fp32 2 threads"),
    ],
)
def test_scenarios(run, bundle, scenario, options, told):
    options = (bundle, "--scenario", scenario, "--min-seconds", "0", "--min-count", "100", *options, "--json")
    code, out, err = run(*options)
    assert (code, err) == (0, "")
    report = json.loads(out)
    validate(report)
    assert report["scenario"] == scenario
    assert all(run["count"] >= 100 for run in report["runs"])
    assert len(report["runs"]) == (4 if scenario == "sweep" else 1)
    if scenario == "fleet":
        (fleet,) = [run["fleet"] for run in report["runs"]]
        assert fleet["offered"] == report["runs"][0]["count"] + fleet["shed"]
        assert next(iter(report["runs"][0]["latency_ms"])) == "waiting"
    assert told in to_table(report)


def test_a_cold_start_with_a_given_frame_and_keys(run, bundle, tmp_path, bright_square, to_jpeg):
    signer = Signer(tmp_path / "keys")
    sign_folder(bundle, signer)
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/1.JPG").write_bytes(to_jpeg(bright_square()))
    options = ("--scenario", "cold", "--min-count", "4", "--keys", signer.public, "--frames", tmp_path / "frames")
    code, out, err = run(bundle, *options, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    validate(report)
    assert report["settings"] == {"starts": 4, "threads": 1}
    assert [run["name"] for run in report["runs"]] == ["int8"]
    (tmp_path / "cold.json").write_text(out)
    code, out, _ = run(bundle, *options, "--compare", tmp_path / "cold.json", "--margin", "20")
    assert code == 0
    assert "PASS" in out
    assert "4 starts of a process, each until its first verdict" in out


def test_a_report_is_compared_with_an_earlier_one(run, bundle, slower, tmp_path):
    fast, slow = tmp_path / "fast.json", tmp_path / "slow.json"
    for folder, file in ((bundle, fast), (slower, slow)):
        code, out, _ = run(folder, *QUICK, "--precision", "int8", "--json")
        assert code == 0
        file.write_text(out)
    code, out, err = run(slower, *QUICK, "--compare", fast, "--json")
    assert (code, err) == (1, "")
    report = json.loads(out)
    validate(report)
    (entry,) = report["comparison"]["runs"]  # fp32 was not measured then
    assert (entry["name"], entry["verdict"], entry["clock"]) == ("int8", "fail", "processor")
    assert entry["ratio"]["low"] > 1.05
    code, out, _ = run(bundle, *QUICK, "--compare", slow)
    assert code == 0
    assert f"against {slow}, margin 5%: PASS" in out
    code, out, _ = run(bundle, "--min-seconds", "0", "--min-count", "8", "--compare", fast)
    assert code == 3
    assert "too few frames" in out


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (("settings", "threads"), 4, "threads differs: threads is 1 here and 4 there"),
        (("scenario",), "fleet", "scenario differs: scenario is 'single' here and 'fleet' there"),
        (("device", "cpu_model"), "Cortex-A53", "and 'Cortex-A53' there"),
        (("subject", "frame_sizes"), [[480, 640]], "sizes is [[96, 128]] here and [[480, 640]] there"),
    ],
)
def test_what_differs_is_not_compared_unless_told(run, bundle, tmp_path, key, value, reason):
    earlier = json.loads(run(bundle, *QUICK, "--json")[1])
    place = earlier
    for name in key[:-1]:
        place = place[name]
    place[key[-1]] = value
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps(earlier))
    code, out, err = run(bundle, "--compare", file, "--min-seconds", "600")  # refused before it is measured
    assert (code, out) == (1, "")
    assert reason in err
    aspect = err.partition("--despite ")[2].strip().rstrip(")")
    code, out, err = run(bundle, *QUICK, "--compare", file, "--despite", aspect, "--margin", "50")
    assert (code, err) == (0, "")
    assert f"note: {aspect} differs: " in out


def test_a_comparison_notes_another_runtime_and_blocks_on_either_side(run, bundle, tmp_path):
    earlier = json.loads(run(bundle, *QUICK, "--json")[1])
    earlier["subject"]["runtimes"] = ["openvino"]
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps(earlier))
    options = ("--min-seconds", "0", "--min-count", "8", "--processes", "4", "--margin", "50")
    code, out, err = run(bundle, *options, "--precision", "int8", "--compare", file)
    assert (code, err) == (0, "")
    assert "note: the runtime is onnxruntime here and openvino there" in out
    assert "note: the interval covers how blocks of frames vary within a process, not how processes do" in out


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the report cannot be read (No such file or directory)"),
        ("text", "not JSON; expected what shelfgap-edge bench --json prints"),
        ("[]", "expected a report of schema shelfgap-bench/2, got None"),
        ('{"schema": "shelfgap-bench/1"}', "got 'shelfgap-bench/1'; measure again"),
        ('{"schema": "shelfgap-bench/2"}', "not a whole report of shelfgap-bench/2"),
    ],
)
def test_what_is_no_report_is_one_line(run, bundle, tmp_path, content, reason):
    file = tmp_path / "report.json"
    if content is not None:
        file.write_text(content)
    code, out, err = run(bundle, "--compare", file)
    assert (code, out) == (1, "")
    assert f"{file}: " in err
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("values", [None, {"elapsed": [1.0, 0.0]}, {"elapsed": [1.0, float("nan")]}, {"elapsed": 1.0}])
def test_figures_that_are_none_are_refused(run, bundle, tmp_path, values):
    report = json.loads(run(bundle, *QUICK, "--json")[1])
    report["runs"][0]["judged"]["values"] = values
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report))
    code, out, err = run(bundle, "--compare", file)
    assert (code, out) == (1, "")
    assert "not a whole report of shelfgap-bench/2; measure again" in err


def test_a_run_without_a_name_is_refused(run, bundle, tmp_path):
    report = json.loads(run(bundle, *QUICK, "--json")[1])
    del report["runs"][0]["name"]
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report))
    code, out, err = run(bundle, "--compare", file, *QUICK)
    assert (code, out) == (1, "")
    assert "not a whole report of shelfgap-bench/2; measure again" in err


def test_two_bundles_in_turns(run, bundle, slower):
    options = ("--min-seconds", "0", "--min-count", "8", "--processes", "4")
    code, out, err = run(slower, *options, "--against", bundle, "--json")
    assert (code, err) == (1, "")
    report = json.loads(out)
    validate(report)
    assert [run["name"] for run in report["runs"]] == ["this", "against"]
    assert all(run["processes"] == 4 and run["judged"]["level"] == "process" for run in report["runs"])
    assert report["comparison"]["runs"][0]["ratio"]["low"] > 1.05
    code, out, _ = run(bundle, *options, "--against", slower)
    assert code == 0
    assert "PASS" in out


def test_fresh_processes_of_one_bundle(run, bundle):
    code, out, err = run(bundle, "--min-seconds", "0", "--min-count", "8", "--processes", "2", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    validate(report)
    assert [(run["name"], len(run["judged"]["values"]["processor"])) for run in report["runs"]] == [
        ("fp32", 2),
        ("int8", 2),
    ]
    assert report["settings"]["processes"] == 2


def test_the_other_bundle_must_be_whole_and_signed_too(run, bundle, slower, tmp_path):
    signer = Signer(tmp_path / "keys")
    sign_folder(bundle, signer)
    code, out, err = run(bundle, "--against", slower, "--keys", signer.public)
    assert (code, out) == (1, "")
    assert f"{slower}: carries no signature" in err
    (slower / "model.int8.onnx").write_bytes(b"other")
    code, out, err = run(bundle, "--against", slower)
    assert (code, out) == (1, "")
    assert "model.int8.onnx was altered" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--threads", "1", "2"), "several --threads are for --scenario sweep"),
        (("--cameras", "5"), "are for --scenario fleet"),
        (("--scenario", "fleet", "--processes", "5"), "--processes is for --scenario single"),
        (("--against", "b", "--compare", "c"), "give one of --compare and --against"),
        (("--against", "b", "--scenario", "cold"), "--against measures --scenario single"),
        (("--against", "b", "--precision", "int8", "fp32"), "with one --precision"),
        (("--scenario", "memory", "--precision", "int8", "fp32"), "--scenario memory measures one model"),
        (("--scenario", "cold", "--min-seconds", "5"), "--scenario cold counts starts: give --min-count"),
        (("--despite", "threads"), "--despite is for --compare"),
        (("--jitter", "0.5", "--scenario", "fleet"), "expected a share from 0 to below 0.5, got '0.5'"),
        (("--margin", "0"), "expected a share above 0, like 0.05, got '0'"),
        (("--interval", "0"), "expected a number of seconds above 0, got '0'"),
        (("--scenario", "server"), "invalid choice: 'server'"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(run, arguments, reason):
    code, out, err = run("bundle", *arguments)
    assert (code, out) == (2, "")
    assert reason in err
    assert err.count("\n") == 1


def test_folders_of_frames(run, bundle, tmp_path, bright_square, to_jpeg):
    folder = tmp_path / "frames"
    folder.mkdir()
    code, out, err = run(bundle, *QUICK, "--frames", folder)
    assert (code, out) == (1, "")
    assert f"{folder}: no JPEG file in this folder (names must end in .jpg or .jpeg)" in err
    for name, size in (("b.jpg", (96, 128)), ("a.JPEG", (200, 100)), ("notes.txt", None)):
        (folder / name).write_bytes(b"text" if size is None else to_jpeg(bright_square(size)))
    report = json.loads(run(bundle, *QUICK, "--frames", folder, folder / "b.jpg", "--json")[1])
    assert report["subject"]["frames"] == 3
    assert report["subject"]["frame_sizes"] == [[96, 128], [200, 100]]


def test_a_model_that_the_bundle_lacks(run, write_bundle, tmp_path):
    folder = write_bundle(tmp_path / "one", precisions=("int8",))
    code, out, err = run(folder, "--precision", "fp32")
    assert (code, out) == (1, "")
    assert "has no model.fp32.onnx; it offers int8" in err


def test_ctrl_c_prints_what_was_measured(bundle):
    """On a terminal there is progress, which says when there is something to keep."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "shelfgap_edge.cli", "bench", bundle, "--min-seconds", "600", "--json"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    shown = []

    def read():
        with suppress(OSError):  # the terminal ends with the process
            while True:
                shown.append(os.read(ours, 4096))

    reader = threading.Thread(target=read)
    reader.start()
    deadline = time.monotonic() + 120
    while b"frames each" not in b"".join(shown):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    reader.join()
    os.close(ours)
    assert process.returncode == 130
    assert b"interrupted; the figures are those of what was measured until then" in b"".join(shown)
    report = json.loads(out)
    validate(report)
    assert report["interrupted"] is True
    assert all(run["count"] >= 8 for run in report["runs"])


def test_ctrl_c_before_anything_was_measured_is_one_line(bundle, tmp_path):
    fifo = tmp_path / "frame.jpg"
    os.mkfifo(fifo)  # reading it waits for a writer
    process = subprocess.Popen(
        [sys.executable, "-m", "shelfgap_edge.cli", "bench", bundle, "--frames", fifo],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    writer, deadline = None, time.monotonic() + 120
    while writer is None:
        assert time.monotonic() < deadline
        with suppress(OSError):  # until it reads
            writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    os.close(writer)
    assert (process.returncode, out, err) == (130, "", "shelfgap-edge: error: interrupted\n")
