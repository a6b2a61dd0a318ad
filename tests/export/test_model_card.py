"""The card: figures with intervals, the weak slices by name, how it was trained, and no figure that nobody measured."""

from __future__ import annotations

import pytest
from shelfgap_export.model_card import model_card
from shelfgap_export.weak_slices import below_the_whole, by_slice, unproven
from shelfgap_training.figures import FIGURES

GATE = {"verdict": "pass", "reason": "all 4 checks hold"}
UNKNOWN = {"value": None, "low": None, "high": None}


def figure(value, low, high):
    return {"value": value, "low": low, "high": high}


def part(by, name, found, *, class_name=None, kind="ap50", boxes=30):
    return {"by": by, "slice": name, "class": class_name, "images": 4, "groups": 2, "boxes": boxes, "figure": kind} | (
        found
    )


SLICES = [
    part("brightness", "below 90", figure(0.5, 0.4, 0.6)),
    part("brightness", "90 to 130", figure(0.7, 0.65, 0.75)),
    part("brightness", "130 and more", UNKNOWN, boxes=2),
    part("area", "below 0.5 %", figure(0.31, 0.22, 0.42), class_name="gap", kind="recall"),
    part("area", "0.5 % and more", figure(0.3, 0.1, 0.9), class_name="gap", kind="recall"),
]
EVALUATION = {key: figure(0.6382, 0.5913, 0.701) for key in FIGURES} | {
    "recall_at_p90": UNKNOWN,
    "images": 5,
    "groups": 3,
    "boxes": 8,
    "by_class": {"gap": {"recall": figure(0.63, 0.6, 0.66)}},
    "slices": SLICES,
}
ORIGIN = {
    "preset": "fast",
    "epochs": 280,
    "imitation_epochs": 40,
    "initial_weights_sha256": None,
    "teacher_sha256": "ab" * 32,
    "train_images": 1423,
    "val_images": 138,
    "seconds": 5400.0,
    "sessions": 1,
    "device": "cpu",
    "energy_joules": None,
    "parameters": 700_000,
    "macs": 420_000_000,
}


@pytest.fixture
def card(manifest_of):
    def card(rights=None, metrics=None, **origin):
        manifest = manifest_of(metrics=metrics or {}, hashes={"data": "cd" * 32}, device_class="arm")
        return model_card(manifest, GATE, rights or {}, origin)

    return card


def test_it_states_classes_threshold_and_figures_with_their_intervals(card):
    text = card(metrics={"fp32": EVALUATION})
    assert "boxes of\ngap come out" in text
    assert "| gap | 0.300 |" in text
    assert "| AP50 | 0.64 [0.59, 0.70] |" in text
    assert "| recall at 0.9 precision | - |" in text
    assert "| boxes | 8 |" in text
    assert "Gate: pass, all 4 checks hold." in text
    assert "| data | `" + "cd" * 32 + "` |" in text
    assert "INT8 was made for: arm" in text


def test_slices_in_few_lines():
    rows = by_slice(SLICES).splitlines()[2:]
    assert rows == [
        "| brightness | all | AP50 | below 90: 0.50 [0.40, 0.60] | 90 to 130: 0.70 [0.65, 0.75] | 1 |",
        "| area | gap | recall | 0.5 % and more: 0.30 [0.10, 0.90] | below 0.5 %: 0.31 [0.22, 0.42] | 0 |",
    ]


def test_weak_is_what_lies_below_the_whole_by_its_interval():
    """A low figure of a wide interval says little; the farthest below comes first."""
    assert below_the_whole(EVALUATION) == [
        "gap, area below 0.5 %: recall 0.31 [0.22, 0.42], on all 0.63",
        "all classes, brightness below 90: AP50 0.50 [0.40, 0.60], on all 0.64",
    ]
    equal = [part("brightness", "below 90", figure(0.5, 0.4, 0.6382))]  # reaches it
    assert below_the_whole({**EVALUATION, "slices": equal}) == []


def test_what_has_too_few_boxes_is_called_unproven():
    stores = [part("store", str(number), UNKNOWN) for number in range(3)]
    assert unproven([*SLICES, *stores]) == "all classes at brightness 130 and more, 3 stores"
    assert unproven(SLICES[:1]) == ""


def test_the_limits_follow_from_the_default_model(card, manifest_of):
    strong = {**EVALUATION, "slices": SLICES[1:2]}
    text = card(metrics={"int8": EVALUATION, "fp32": strong})
    assert manifest_of(metrics={}).default_precision == "fp32"
    assert "- No slice is weaker than the whole beyond its interval." in text
    assert "- Weak: gap" in card(metrics={"fp32": EVALUATION})
    assert "- No slices were measured: where it is weak is unknown." in card()
    for unseen in ("faced over", "behind an occluder", "products, prices, planograms or people"):
        assert unseen in text


def test_it_names_the_rights_of_the_pictures(card):
    text = card({("CC-BY-4.0", "notice"): 12, ("unstated", "unstated"): 3})
    assert "- 12 pictures, licence: CC-BY-4.0, consent basis: notice" in text
    assert "- 3 pictures, licence: unstated, consent basis: unstated" in text
    assert "Licences and consent: not stated" in card()


def test_it_says_how_it_was_trained(card):
    text = card(**ORIGIN)
    assert "- Preset: fast" in text
    assert "- Epochs: 280, those of the imitation included" in text
    assert "- Imitation: 40 epochs of an ImageNet network's features" in text
    assert "- Initial weights: none" in text
    assert f"- Teacher: `{'ab' * 32}` (SHA-256)" in text
    assert "- Time: 1 h 30 min on cpu\n" in text
    assert "- Energy: not measured\n" in text
    assert "1,423 pictures" in text
    assert "700,000 parameters, 0.42 G multiply-adds" in text


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ({"seconds": 42.0, "sessions": 1}, "Time: 42 s on cpu\n"),
        ({"sessions": 3}, "Time: 1 h 30 min on cpu, in 3 sessions; epochs that were cut off are not counted\n"),
        ({"energy_joules": 1.8e6}, "Energy: 0.5 kWh, of the processors of the whole machine (RAPL)\n"),
        (
            {"energy_joules": 1.8e6, "device": "cuda:0"},
            "Energy: 0.5 kWh, of the processors of the whole machine (RAPL), w",
        ),
        ({"imitation_epochs": 0}, "Imitation: none\n"),
        ({}, "Commit: not recorded;"),
        ({"made_with": {"commit": "abc", "dirty": False}}, "Commit: `abc`;"),
        ({"made_with": {"commit": "abc", "dirty": True}}, "Commit: `abc`, with changes;"),
    ],
)
def test_time_energy_and_commit(card, origin, told):
    assert told in card(**{**ORIGIN, **origin})


def test_an_older_training_report_leaves_lines_unrecorded(card):
    text = card(epochs=36, seconds=240.0, device="cpu", resumed_from_epoch=12)
    assert "- Preset: not recorded" in text
    assert "- Initial weights: not recorded" in text
    assert "4 min on cpu, of the last session only: it resumed after epoch 12" in text
    assert "- Energy: not measured" in text
