"""The identity of a model: equal for equal answers, another for anything that changes them."""

from dataclasses import fields, replace

import pytest
from shelfgap_edge.contract import Manifest
from shelfgap_edge.identity import model_identity

FILES = {"model.fp32.onnx": b"float", "model.int8.onnx": b"integer", "MODEL_CARD.md": b"card"}
MANIFEST = Manifest(
    format_version="1.1",
    name="detector",
    version="1",
    created_at="2026-01-01T00:00:00+00:00",
    classes=("gap",),
    input_size=(320, 320),
    score_thresholds={"gap": 0.3},
    default_precision="int8",
    hashes={},
    metrics={},
)
CHANGES = {
    "classes": ("gap", "low"),
    "input_size": (320, 416),
    "score_thresholds": {"gap": 0.31},
    "default_precision": "fp32",
    "colour_order": "BGR",
    "resize": "letterbox",
    "normalisation": "none",
    "postprocess_version": 2,
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_the_answers_changes_the_identity(name):
    assert model_identity(replace(MANIFEST, **{name: CHANGES[name]}), FILES) != model_identity(MANIFEST, FILES)


@pytest.mark.parametrize("name", ["model.fp32.onnx", "model.int8.onnx"])
def test_so_does_a_byte_of_a_model_or_its_absence(name):
    assert model_identity(MANIFEST, {**FILES, name: b"other"}) != model_identity(MANIFEST, FILES)
    assert model_identity(MANIFEST, {k: v for k, v in FILES.items() if k != name}) != model_identity(MANIFEST, FILES)


def test_reports_and_time_do_not_change_it():
    other = replace(MANIFEST, created_at="2027-01-01T00:00:00+00:00", metrics={"ap50": 1}, hashes={"code": "x"})
    assert model_identity(other, {**FILES, "MODEL_CARD.md": b"another"}) == model_identity(MANIFEST, FILES)
    described = {"format_version", "name", "version", "created_at", "hashes", "metrics", "device_class", "provenance"}
    described |= {"monitor"}  # what is made of the answers over time; a gate does not judge it
    assert {field.name for field in fields(Manifest)} == set(CHANGES) | described  # a new field has to choose a side
