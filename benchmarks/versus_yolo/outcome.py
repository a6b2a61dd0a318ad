"""The result as one object: what the steps made, with the figures that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from versus_yolo.convolutions import int8_convolutions
from versus_yolo.intervals import Samples, of_turns, paired_ratio
from versus_yolo.latency import CONVOLUTIONS, DECODES, ROWS, decode_name
from versus_yolo.neighbours import OTHERS

AGREEMENT = 0.005  # AP50 by which our score of the peer may differ from Ultralytics' own
_MAX_OTHERS = 0.1  # cores that other processes may use


def summarise_latency(
    samples: Mapping[str, Mapping[str, Sequence[float]]], reference: str, models: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return median and ratio to the reference of each subject in each row.

    Args:
        samples: what `latency.measure` returned.
        reference: key of the subject that ratios are to: YOLO11n in INT8.
        models: by key of our INT8 subjects their `macs` and `input_size`: those get a ratio to the floor too.
    """
    rows = []
    for row in ROWS:
        taken = {key: np.array(values) for key, values in samples[row].items()}
        floor_parts = [key for key in taken if key == CONVOLUTIONS or " decode for " in key]
        for key, values in taken.items():
            if key in floor_parts:
                continue
            entry = {"row": row, "model": key, "p50_ms": _ms(values)}
            if reference in taken:
                entry["ratio"] = paired_ratio(values, taken[reference]).to_dict()
            if row == "jpeg" and key in models:
                entry["floor"] = _floor(taken, key, models[key])
            rows.append(entry)
    return rows


def convolution_rate(samples: Mapping[str, Mapping[str, Sequence[float]]]) -> float:
    """Return the measured rate of dense INT8 convolutions in GMAC/s."""
    _, macs = int8_convolutions()
    return round(macs / 1e6 / float(np.median(samples["jpeg"][CONVOLUTIONS])), 1)


def _floor(taken: Samples, key: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fastest decode plus multiplications at the measured rate, and the ratio of a subject to it."""
    _, chain_macs = int8_convolutions()
    share = float(model["macs"]) / chain_macs
    decode = min((decode_name(model["input_size"], how) for how in DECODES), key=lambda name: np.median(taken[name]))
    parts = {"subject": taken[key], "decode": taken[decode], "chain": taken[CONVOLUTIONS]}

    def ratio(median: Samples) -> NDArray[np.float64]:
        return median["subject"] / (median["decode"] + share * median["chain"])

    return {
        "decode": decode,
        "decode_ms": _ms(taken[decode]),
        "convolutions_ms": round(share * float(np.median(taken[CONVOLUTIONS])), 3),
        "ratio": of_turns(parts, ratio).to_dict(),
    }


def _ms(values: NDArray[np.float64]) -> float:
    return round(float(np.median(values)), 3)


def agreement(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each training of the peer, our AP50 of its ONNX file beside that of Ultralytics' `val`.

    Args:
        runs: entries of the result's `runs`; ours are left out.
    """
    rows = []
    for run in runs:
        for number, fold in enumerate(run["trainings"]):
            if "ultralytics_val" in fold:
                mine, theirs = (
                    run["accuracy"]["fp32"]["by_fold_all_counted"][number]["ap50"],
                    fold["ultralytics_val"]["onnx"]["ap50"],
                )
                agrees = abs(mine - theirs) <= AGREEMENT
                rows.append(
                    {"run": run["name"], "fold": number + 1, "ours": mine, "ultralytics": theirs, "agrees": agrees}
                )
    return rows


def notes(
    runs: Sequence[Mapping[str, Any]],
    folds: int,
    timed: Mapping[str, Mapping[str, Any]],
    missing: Sequence[str],
    stale: Sequence[str],
) -> list[str]:
    """Return what a reader of the figures must know.

    Args:
        runs: entries of the result's `runs`.
        folds: number of folds.
        timed: the result's `latency`.
        missing: names of runs that are not trained yet.
        stale: names of presets that were trained by other code than the present.
    """
    found = [
        "INT8 of YOLO11n is static QDQ by ONNX Runtime, unsigned activations, weights per channel, MinMax",
        "YOLO11n trained on every core, where Ultralytics' own default leaves one idle",
        "Frames of the latency are synthetic shelves, 1280x960, and the same at 640x480",
    ]
    if folds > 1:
        found.append("Together the test parts of the folds are all scenes, so also those that presets were tuned on")
    found += [f"{name} is not trained yet" for name in missing]
    found += [
        f"{name} was trained by other code than the present; remove its folders in runs to train it" for name in stale
    ]
    for threads, measured in timed.items():
        if measured[OTHERS] > _MAX_OTHERS:
            found.append(f"Other processes used {measured[OTHERS]:g} cores during the latency on {threads} thread(s)")
    for run in runs:
        sources = {source for training in run["trainings"] for source in training.get("learns_from", [])}
        found += [
            f"{run['name']} learns from {source}, where YOLO11n starts from random weights; a detector among them must "
            "not have seen test scenes"
            for source in sorted(sources)
        ]
        most = max(training[OTHERS] for training in run["trainings"])
        if most > _MAX_OTHERS:
            found.append(f"{run['name']}: other processes used {most:g} cores during a training, its time is too long")
    return found
