from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from shelfgap_edge import cli
from signing_keys import Signer, sign_folder


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "shelfgap_edge.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.fixture
def run(capsys):
    """The command in this process: as (exit code, standard output, standard error)."""

    def run(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def shelf(tmp_path, bright_square, to_jpeg):
    path = tmp_path / "shelf.jpg"
    path.write_bytes(to_jpeg(bright_square()))
    return path


def test_predict_as_a_process(bundle, shelf):
    done = command("predict", bundle, shelf, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert (result["bundle"], result["version"], result["precision"]) == ("bright-square", "1", "int8")
    (frame,) = result["frames"]
    assert (frame["image"], frame["height"], frame["width"]) == (str(shelf), 96, 128)
    (item,) = frame["detections"]
    assert item["class"] == "gap"
    assert item["box_xyxy"] == pytest.approx([32, 24, 64, 60], abs=2)


def test_predict_for_people(run, bundle, shelf):
    code, out, err = run("predict", bundle, shelf, "--precision", "fp32", "--threshold", "0.01")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"{shelf}: 2 found"
    assert out.splitlines()[1].split()[0] == "gap"


def test_bad_images_are_reported_and_the_others_done(run, bundle, shelf, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(shelf.read_bytes()[:-100])
    absent = tmp_path / "absent.jpg"
    endless = tmp_path / f"{'x' * 300}.jpg"
    code, out, err = run("predict", bundle, text, shelf, cut, absent, tmp_path, endless, "--json")
    assert code == 1
    frames = json.loads(out)["frames"]
    assert [("error" in frame) for frame in frames] == [True, False, True, True, True, True]
    assert len(frames[1]["detections"]) == 1
    lines = err.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("shelfgap-edge: error: ") for line in lines)
    assert f"{text}: not a JPEG" in lines[0]
    assert "truncated" in lines[1]
    assert f"{absent}: cannot be read (No such file or directory)" in lines[2]
    assert "is a folder, expected a JPEG file" in lines[3]
    assert f"{endless}: cannot be read (File name too long)" in lines[4]


@pytest.mark.parametrize("name", ["predict", "bench", "verify"])
def test_a_bad_bundle_ends_in_one_line(run, bundle, shelf, name):
    (bundle / "model.int8.onnx").write_bytes(b"other")
    code, out, err = run(name, bundle, *([shelf] if name == "predict" else []))
    assert (code, out) == (1, "")
    assert err.startswith("shelfgap-edge: error: ")
    assert "model.int8.onnx was altered" in err
    assert err.count("\n") == 1


def test_verify(run, bundle):
    code, out, err = run("verify", bundle)
    assert (code, err) == (0, "")
    assert "files intact" in out
    assert out.count("pass ") == 4
    code, out, _ = run("verify", bundle, "--json")
    assert code == 0
    assert json.loads(out)["passed"] is True


def test_verify_says_what_is_off(run, bundle, reseal):
    path = bundle / "golden/expected.json"
    content = json.loads(path.read_text())
    content["frames"][0]["detections"][0]["box_xyxy"][2] += 5
    path.write_text(json.dumps(content))
    reseal(bundle)
    code, out, err = run("verify", bundle)
    assert code == 1
    assert out.count("FAIL ") == 1
    assert "box off by 5.00 px (allowed 1)" in out
    assert "1 of 4 golden frames are off" in err
    code, out, _ = run("verify", bundle, "--json")
    assert code == 1
    assert json.loads(out)["passed"] is False


@pytest.mark.parametrize("name", ["predict", "bench", "verify"])
def test_with_keys_every_command_wants_a_signature(run, bundle, shelf, tmp_path, name):
    signer = Signer(tmp_path / "keys")
    rest = {"predict": [shelf], "bench": ["--min-seconds", "0", "--min-count", "1"], "verify": []}[name]
    code, out, err = run(name, bundle, *rest, "--keys", signer.public)
    assert (code, out) == (1, "")
    assert f"{bundle}: carries no signature, and one is asked for" in err
    sign_folder(bundle, signer)
    code, out, err = run(name, bundle, *rest, "--json", "--keys", signer.public)
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report.get("subject", report)["signature"] == signer.key_id
    code, out, _ = run(name, bundle, *rest, "--json")
    assert json.loads(out).get("subject", json.loads(out))["signature"] == "not checked"
    code, out, err = run(name, bundle, *rest, "--keys", tmp_path / "absent.pub")
    assert (code, out) == (1, "")
    assert "absent.pub: the keys cannot be read" in err


def test_verify_tells_people_who_signed(run, bundle, tmp_path):
    signer = Signer(tmp_path / "keys")
    sign_folder(bundle, signer)
    assert f"8 files intact, signed by key {signer.key_id}; " in run("verify", bundle, "--keys", signer.public)[1]
    assert "8 files intact, signature not checked; " in run("verify", bundle)[1]


def test_without_keys_cryptography_is_not_loaded(bundle):
    script = (
        "import sys, shelfgap_edge.cli as c; c.main(['verify', sys.argv[1]]); assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, bundle], check=True, capture_output=True, timeout=60)


def test_bench(run, bundle, shelf):
    options = ("--min-seconds", "0", "--min-count", "12", "--threads", "1")
    code, out, err = run("bench", bundle, *options)
    assert (code, err) == (0, "")
    assert "int8/fp32 inference median" in out
    code, out, _ = run("bench", bundle, *options, "--json", "--frames", shelf)
    assert code == 0
    report = json.loads(out)
    assert report["subject"]["frame_source"] == "given"
    assert report["settings"] == {"min_seconds": 0.0, "min_count": 12, "threads": 1}


def test_bench_names_a_path_that_is_none(run, bundle, tmp_path):
    code, out, err = run("bench", bundle, "--frames", tmp_path / ("x" * 300))
    assert (code, out) == (1, "")
    assert "cannot be read (File name too long)" in err


def test_bench_names_a_bad_frame(run, bundle, tmp_path):
    code, out, err = run("bench", bundle, "--frames", tmp_path / "absent.jpg")
    assert (code, out) == (1, "")
    assert f"{tmp_path / 'absent.jpg'}: cannot be read" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "required: COMMAND"),
        (("paint",), "invalid choice: 'paint'"),
        (("predict",), "required: BUNDLE, IMAGE"),
        (("predict", "b"), "required: IMAGE"),
        (("predict", "b", "i", "--threshold", "1.5"), "expected a number from 0 to 1, got '1.5'"),
        (("predict", "b", "i", "--threshold", "nan"), "expected a number from 0 to 1, got 'nan'"),
        (("predict", "b", "i", "--threshold", "high"), "expected a number from 0 to 1, got 'high'"),
        (("predict", "b", "i", "--precision", "int4"), "invalid choice: 'int4'"),
        (("bench", "b", "--min-count", "0"), "expected a whole number, 1 or more, got '0'"),
        (("bench", "b", "--min-seconds", "inf"), "expected a number of seconds, 0 or more, got 'inf'"),
        (("bench", "b", "--threads", "1.5"), "expected a whole number, 1 or more, got '1.5'"),
        (("verify", "b", "--nonsense"), "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_usage_is_two_and_one_line(run, arguments, reason):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("shelfgap-edge: error: ")
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["predict", "bench", "verify"])
def test_help_has_an_example(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert f"example:\n  shelfgap-edge {name} " in out


def test_help_does_not_load_onnxruntime():
    script = "import sys, shelfgap_edge.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    script += "assert 'onnxruntime' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_a_reader_that_goes_away_is_no_traceback(bundle, shelf):
    process = subprocess.Popen(
        [sys.executable, "-m", "shelfgap_edge.cli", "predict", bundle, *[shelf] * 50],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert errors == b""


def test_a_disk_that_is_full_below_the_output_is_told_in_one_line(bundle, shelf):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "shelfgap_edge.cli", "predict", bundle, shelf, "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "shelfgap-edge: error: No space left on device\n")


def test_a_file_name_that_is_no_text_is_printed_somehow(bundle, shelf, tmp_path):
    odd = os.fsencode(tmp_path) + b"/shelf-\xff.jpg"
    with open(odd, "wb") as file:  # noqa: PTH123
        file.write(shelf.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "shelfgap_edge.cli", "predict", str(bundle).encode(), odd],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b": 1 found" in done.stdout


def test_nothing_is_written(bundle, shelf, tmp_path):
    """Frames never touch a disk: no file is opened for writing, in any of the commands."""
    script = (
        "import os, sys\n"
        "written = []\n"
        "def watch(event, args):\n"
        "    if event == 'open' and args[0] != os.devnull:\n"
        "        mode, flags = args[1] or '', args[2] or 0\n"
        "        if set(mode) & set('wax+') or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):\n"
        "            written.append(args[0])\n"
        "from shelfgap_edge.cli import main\n"
        "sys.dont_write_bytecode = True\n"
        "sys.addaudithook(watch)\n"
        "for argv in ([['predict', *sys.argv[1:3]], ['verify', sys.argv[1]],\n"
        "              ['bench', sys.argv[1], '--min-seconds', '0', '--min-count', '1']]):\n"
        "    assert main(argv) == 0\n"
        "assert not written, written\n"
    )
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run([sys.executable, "-c", script, bundle, shelf], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == before
