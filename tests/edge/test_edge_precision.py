"""INT8 unless float is faster here: the probe, and what a detector makes of it."""

from __future__ import annotations

import json

import pytest
from shelfgap_edge import cli, runtime
from shelfgap_edge.precision import PrecisionProbe, probe_precision
from shelfgap_edge.runtime import Detector


class Device:
    """A clock, and models that take their time on it."""

    def __init__(self):
        self.now_ns = 0
        self.order = []

    def clock_ns(self):
        return self.now_ns

    def model(self, name, *milliseconds):
        def run():
            self.now_ns += int(1e6 * milliseconds[self.order.count(name) % len(milliseconds)])
            self.order.append(name)

        return run


@pytest.mark.parametrize(("int8_ms", "fp32_ms", "chosen"), [(1, 3, "int8"), (3, 1, "fp32"), (2, 2, "int8")])
def test_the_faster_model_is_taken_and_a_tie_is_int8(int8_ms, fp32_ms, chosen):
    device = Device()
    probe = probe_precision(device.model("i", int8_ms), device.model("f", fp32_ms), clock_ns=device.clock_ns)
    assert probe.precision == chosen
    assert probe.int8_over_fp32 == pytest.approx(int8_ms / fp32_ms)
    assert probe.pairs == 31


def test_the_models_take_turns_in_going_first():
    device = Device()
    probe_precision(device.model("i", 1), device.model("f", 1), clock_ns=device.clock_ns)
    assert "".join(device.order).startswith("ififif" + "if" + "fi" + "if" + "fi")


def test_a_stall_of_the_machine_does_not_decide():
    device = Device()
    int8 = device.model("i", 1, 1, 1, 1, 500, 1, 1)
    assert probe_precision(int8, device.model("f", 2), clock_ns=device.clock_ns).precision == "int8"


def test_a_slow_device_is_asked_for_seven_pairs():
    device = Device()
    probe = probe_precision(device.model("i", 900), device.model("f", 1800), clock_ns=device.clock_ns)
    assert (probe.pairs, probe.precision) == (7, "int8")


def probed(ratio):
    def probe(int8, fp32):
        int8()
        fp32()
        return PrecisionProbe(ratio, 7)

    return probe


@pytest.mark.parametrize(("ratio", "precision"), [(0.4, "int8"), (1.3, "fp32")])
def test_auto_loads_what_the_probe_says_and_tells(bundle, bright_square, monkeypatch, ratio, precision):
    monkeypatch.setattr(runtime, "probe_precision", probed(ratio))
    detector = Detector.load(bundle, precision="auto")
    assert (detector.precision, detector.probe) == (precision, PrecisionProbe(ratio, 7))
    assert len(detector.detect(bright_square())) == 1


def test_auto_measures_for_real(bundle):
    detector = Detector.load(bundle, precision="auto")
    assert detector.precision == detector.probe.precision
    assert detector.probe.int8_over_fp32 > 0


def test_without_auto_nothing_is_measured(bundle):
    detector = Detector.load(bundle)
    assert (detector.precision, detector.probe) == ("int8", None)


def test_auto_takes_the_only_model_there_is(tmp_path, write_bundle):
    bundle = write_bundle(tmp_path / "b", precisions=("fp32",), default_precision="fp32")
    detector = Detector.load(bundle, precision="auto")
    assert (detector.precision, detector.probe) == ("fp32", None)


def test_predict_says_what_auto_chose(bundle, tmp_path, bright_square, to_jpeg, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "probe_precision", probed(1.25))
    shelf = tmp_path / "shelf.jpg"
    shelf.write_bytes(to_jpeg(bright_square()))
    assert cli.main(["predict", str(bundle), str(shelf), "--precision", "auto", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["precision"] == "fp32"
    assert result["precision_probe"] == {"int8_over_fp32": 1.25, "pairs": 7}
    assert cli.main(["predict", str(bundle), str(shelf), "--precision", "auto"]) == 0
    assert capsys.readouterr().out.startswith("fp32: int8 takes 1.25 of the time of fp32 here\n")
