"""Which model a bundle starts with, by what was measured."""

from __future__ import annotations

import pytest
from shelfgap_edge.bench.detectors import bench_bundle
from shelfgap_export.bundle import precision_by_latency, write_bundle
from shelfgap_export.params import BundleParams


def report(ratio):
    return {"ratios": [{"name": "int8", "reference": "fp32", "p50": {"inference": ratio, "total": 0.9}}]}


@pytest.mark.parametrize(
    ("latency", "precision"),
    [
        (report(0.4), "int8"),
        (report(0.999), "int8"),
        (report(1.0), "fp32"),
        (report(1.7), "fp32"),
        (report(None), "int8"),  # too few samples
        ({"ratios": []}, "int8"),
    ],
)
def test_int8_unless_it_was_measured_to_be_no_faster(latency, precision):
    assert precision_by_latency(latency) == precision


def test_the_report_of_the_harness_is_understood(models, manifest_of, tmp_path):
    bundle = tmp_path / "bundle"
    gate = {"schema": "shelfgap-gate/1", "verdict": "pass", "reason": "", "checks": []}
    params = BundleParams(name="patches", golden_frames=1, golden_seed=3)
    manifest = manifest_of(models=models, default_precision="fp32", device_class="arm")
    write_bundle(bundle, manifest, models, gate, params)
    latency = bench_bundle(bundle, min_seconds=0, min_count=16)
    (entry,) = latency["ratios"]
    expected = "fp32" if entry["p50"]["inference"] >= 1 else "int8"
    assert precision_by_latency(latency) == expected == latency["auto_precision"]["onnxruntime"]
    assert latency["subject"]["device_class"] == "arm"
