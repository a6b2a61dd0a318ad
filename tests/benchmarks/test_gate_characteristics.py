"""The benchmark of the gate: simulated detectors have the quality they say, and the slower model is the same model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gate_characteristics.command import REPOSITORY, main
from gate_characteristics.latency import entrant, frames, layers_for, untrained, with_more_layers
from gate_characteristics.simulated import Shelves, drop_of
from shelfgap_edge.contract import MODEL_FILES
from shelfgap_edge.runtime import Detector
from shelfgap_training.figures import FIGURES
from small_network import MODEL


def test_a_drop_is_as_large_as_it_says_and_detectors_of_a_quality_differ():
    logits, base = drop_of(0.03)
    shelves = Shelves(3000, 3, 5)
    once = np.ones((1, shelves.pictures), np.int64)
    ap50 = [float(FIGURES["ap50"](shelves.detector(*of), once)[0]) for of in ((0,), (1,), (2, logits))]
    assert ap50[0] == pytest.approx(base, abs=0.02)  # other shelves
    assert ap50[0] != ap50[1] == pytest.approx(ap50[0], abs=0.01)
    assert ap50[0] - ap50[2] == pytest.approx(0.03, abs=0.01)


def test_the_command_writes_its_tallies(tmp_path, capsys):
    out = tmp_path / "result.json"
    assert main(["--runs", "3", "--groups", "30", "--drop", "0.2", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["gate"]["alpha"] == 0.05
    (weaker,) = report["accuracy"]["weaker"]
    assert (weaker["fail"], weaker["pictures"]) == (3, 90)  # nobody misses a drop of 20 points
    (equal,) = report["accuracy"]["equal"]
    assert equal["pass"] + equal["inconclusive"] + equal["fail"] == 3
    assert "simulated detectors of AP50" in capsys.readouterr().out
    assert (REPOSITORY / "params.yaml").is_file()


def test_the_slower_model_answers_the_same():
    model = untrained(MODEL)
    layers = layers_for(model, MODEL.input_size, 0.15, seconds=0.05)
    assert layers >= 1
    ours = entrant(with_more_layers(model, 5), MODEL.input_size, "slower")
    theirs = entrant(model, MODEL.input_size, "as it is")
    assert ours.identity != theirs.identity
    found = [
        Detector(one.manifest, one.files[MODEL_FILES["fp32"]]).detect(frames()[0], score_thresholds=0.0)
        for one in (ours, theirs)
    ]
    np.testing.assert_array_equal(found[0].boxes_xyxy, found[1].boxes_xyxy)
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-6)
