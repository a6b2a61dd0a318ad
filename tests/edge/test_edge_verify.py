from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from shelfgap_edge.errors import BundleError
from shelfgap_edge.golden import GoldenFrame, Tolerance, compare
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.precision import PrecisionProbe
from shelfgap_edge.verify import verify_bundle


def edit_golden(bundle, reseal, edit):
    path = bundle / "golden/expected.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    reseal(bundle)


def test_an_intact_bundle_passes_in_both_precisions(bundle):
    report = verify_bundle(bundle)
    assert report.passed
    assert report.precisions == ("int8", "fp32")
    assert len(report.golden) == 4
    assert {result.precision for result in report.golden} == {"int8", "fp32"}
    assert all(result.expected == 1 and result.max_box_error_px < 0.01 for result in report.golden)
    assert json.loads(json.dumps(report.to_dict()))["passed"] is True


def test_how_far_off_is_reported(bundle, reseal):
    def move(content):
        content["frames"][0]["detections"][0]["box_xyxy"][0] += 3.5
        content["frames"][1]["detections"][0]["score"] -= 0.1

    edit_golden(bundle, reseal, move)
    report = verify_bundle(bundle)
    assert not report.passed
    moved, scored, *others = report.golden
    assert (moved.passed, moved.missing, moved.unexpected) == (False, 0, 0)
    assert moved.max_box_error_px == pytest.approx(3.5, abs=0.02)
    assert scored.max_score_error == pytest.approx(0.1, abs=0.001)
    assert all(result.passed for result in others)


def test_missing_and_unexpected_are_counted(bundle, reseal):
    def edit(content):
        content["frames"][0]["detections"] = []
        far = {"class": "low", "score": 0.9, "box_xyxy": [90, 70, 110, 90]}
        content["frames"][1]["detections"].append(far)

    edit_golden(bundle, reseal, edit)
    unexpected, missing, *_ = verify_bundle(bundle).golden
    assert (unexpected.passed, unexpected.unexpected, unexpected.missing) == (False, 1, 0)
    assert (missing.passed, missing.unexpected, missing.missing) == (False, 0, 1)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda c: c.update(schema_version=2), r"schema_version 2 is not known here \(expected 1\)"),
        (lambda c: c.update(frames=[]), "frames must be a list that is not empty"),
        (lambda c: c["frames"][1].pop("tolerance"), r"frames\[1\] is not of the schema .*tolerance"),
        (lambda c: c["frames"][0].update(precision="int4"), "precision must be int8 or fp32"),
        (lambda c: c["frames"][0].update(file="golden/no.jpg"), r"no picture 'golden/no\.jpg'"),
        (lambda c: c["frames"][0].update(file="manifest.json"), r"no picture 'manifest\.json'"),
        (lambda c: c["frames"][0]["detections"][0].update(score="high"), "expected a finite number"),
        (lambda c: c["frames"][0]["detections"][0].update(box_xyxy=[1, 2, 3]), "not of the schema"),
        (lambda c: c["frames"][0]["detections"][0].update({"class": "hat"}), "no class hat"),
        (lambda c: c["frames"].__setitem__(0, None), r"frames\[0\] is not of the schema"),
        (
            lambda c: c.update(frames=[f for f in c["frames"] if f["precision"] == "fp32"]),
            "has no frame for int8",
        ),
    ],
)
def test_malformed_expectations_are_refused(bundle, reseal, edit, reason):
    edit_golden(bundle, reseal, edit)
    with pytest.raises(BundleError, match=reason) as caught:
        verify_bundle(bundle)
    assert "\n" not in str(caught.value)


def test_expectations_must_be_there_and_json(bundle, reseal):
    (bundle / "golden/expected.json").write_text("[[[")
    reseal(bundle)
    with pytest.raises(BundleError, match="not valid JSON"):
        verify_bundle(bundle)
    (bundle / "golden/expected.json").unlink()
    reseal(bundle)
    with pytest.raises(BundleError, match=r"golden/expected\.json is missing"):
        verify_bundle(bundle)


def test_expectations_for_a_model_that_is_not_there_are_refused(bundle, reseal):
    (bundle / "model.fp32.onnx").unlink()
    reseal(bundle)
    with pytest.raises(BundleError, match="is for fp32, which has no model"):
        verify_bundle(bundle)


def test_the_default_model_must_be_there(bundle, reseal):
    (bundle / "model.int8.onnx").unlink()
    edit_golden(bundle, reseal, lambda c: c.update(frames=[f for f in c["frames"] if f["precision"] == "fp32"]))
    with pytest.raises(BundleError, match=r"has no model\.int8\.onnx; it offers fp32"):
        verify_bundle(bundle)


def test_a_golden_picture_that_is_none_is_named(bundle, reseal):
    (bundle / "golden/square-1.jpg").write_text("text")
    reseal(bundle)
    with pytest.raises(BundleError, match=r"golden/square-1\.jpg: not a JPEG"):
        verify_bundle(bundle)


def test_the_first_failure_is_told_with_how_far_off_it_is(bundle, reseal):
    assert verify_bundle(bundle).failure is None
    edit_golden(bundle, reseal, lambda c: c["frames"][2]["detections"][0]["box_xyxy"].__setitem__(0, 0.0))
    told = verify_bundle(bundle).failure
    assert told.startswith("1 of 4 golden frames are off on this machine, the first: int8  golden/square-1.jpg: ")
    assert "1 expected, 0 missing, 0 unexpected, box off by " in told
    assert "px (allowed 1), score by 0.0000 (allowed 0.02)" in told


def test_the_variant_that_this_device_takes_is_told(bundle, monkeypatch):
    for ratio, chosen in ((0.5, "int8"), (1.5, "fp32")):
        probe = PrecisionProbe(ratio, 7)
        monkeypatch.setattr("shelfgap_edge.runtime.probe_precision", lambda *_, probe=probe: probe)
        report = verify_bundle(bundle).to_dict()
        assert (report["auto_precision"], report["precision_probe"]["int8_over_fp32"]) == (chosen, ratio)


def test_a_bundle_with_one_variant_has_nothing_to_probe(tmp_path, write_bundle):
    report = verify_bundle(write_bundle(tmp_path / "b", precisions=("fp32",), default_precision="fp32"))
    assert (report.auto_precision, report.probe) == ("fp32", None)


def found(*rows):
    return Detections(
        np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.float32),
        np.array([row[2] for row in rows], dtype=np.int64),
    )


def expecting(*rows):
    items = tuple({"class": name, "score": score, "box_xyxy": list(box)} for box, score, name in rows)
    return GoldenFrame("golden/a.jpg", "int8", Tolerance(box_px=1.0, score=0.02), items)


def test_a_score_around_its_threshold_may_fall_on_either_side(a_manifest):
    box = (0.0, 0.0, 10.0, 10.0)
    manifest = a_manifest()  # gap at 0.5
    assert compare(expecting(), found((box, 0.515, 0)), manifest).passed
    assert compare(expecting((box, 0.505, "gap")), found((box, 0.49, 0)), manifest).passed
    assert not compare(expecting(), found((box, 0.53, 0)), manifest).passed
    assert not compare(expecting((box, 0.505, "gap")), found(), manifest).passed


def test_pairs_are_nearest_first_and_of_one_class(a_manifest):
    left, right = (0.0, 0.0, 10.0, 10.0), (2.0, 0.0, 12.0, 10.0)
    golden = expecting((left, 0.9, "gap"), (right, 0.8, "gap"))
    result = compare(golden, found((right, 0.8, 0), (left, 0.9, 0)), a_manifest())
    assert result.passed
    assert result.max_box_error_px == 0
    result = compare(golden, found((left, 0.9, 0), (right, 0.8, 1)), a_manifest())
    assert (result.missing, result.unexpected) == (1, 1)


def test_nothing_expected_and_nothing_found_passes(a_manifest):
    result = compare(expecting(), found(), a_manifest())
    assert result.passed
    assert result == replace(result, max_box_error_px=0.0, max_score_error=0.0, missing=0, unexpected=0)
