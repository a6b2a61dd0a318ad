"""Floors: what a candidate must reach by itself, on all pictures and on every slice that is large enough.

A floor is passed when what was measured reaches it, and failed when even the upper bound of its interval does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy import stats

from shelfgap_export.gate.difference import Difference, samples_to_decide
from shelfgap_export.gate.verdict import Check, Judgement, Kind, needs_of
from shelfgap_export.params import GateParams


def floor_checks(evaluation: Mapping[str, Any], params: GateParams, confidence: float = 0.95) -> list[Check]:
    """Judge the figures of a candidate's evaluation, and its slices.

    Args:
        evaluation: see `shelfgap_training.evaluate.evaluate`.
        params: of the gate.
        confidence: of the intervals in it, whose upper bounds a fail rests on.
    """
    floors = {"ap50": params.min_ap50, "recall": params.min_recall, "precision": params.min_precision}
    mode = evaluation["precision_mode"]
    counts = {"groups": evaluation["groups"], "images": evaluation["images"]}
    checks = [
        _floor(f"{mode} {name}", "floor", {**evaluation[name], **counts}, floor, confidence)
        for name, floor in floors.items()
    ]
    slice_floors = {"ap50": params.min_slice_ap50, "recall": params.min_slice_recall}
    for row in evaluation["slices"]:
        where = f"{row['by']} {row['slice']}" + ("" if row["class"] is None else f", {row['class']}")
        name, floor = f"{mode} {row['figure']} where {where}", slice_floors[row["figure"]]
        if row["value"] is None:
            reason = f"{name}: not judged, {row['boxes']} boxes are too few"
            checks.append(Check(name, "slice floor", "not judged", reason, bound=floor))
        else:
            checks.append(_floor(name, "slice floor", row, floor, confidence))
    return checks


def int8_loss_check(int8: float | None, fp32: float | None, pictures: int, params: GateParams) -> Check:
    """Judge what INT8 loses of AP50 against the float model of the same candidate, as measured on so many pictures."""
    name, bound = "ap50 lost to int8", params.max_int8_ap50_loss
    told = f"{name} on {pictures} pictures is"
    if int8 is None or fp32 is None:
        return Check(name, "limit", "fail", f"{told} unknown, must be at most {bound:g}", bound=bound)
    loss = round(fp32 - int8, 6)
    verdict: Judgement = "pass" if loss <= bound else "fail"
    reason = f"{told} {loss:.4f}, must be at most {bound:g}"
    return Check(name, "limit", verdict, reason, value=loss, bound=bound, candidate=int8)


def _floor(name: str, kind: Kind, figure: Mapping[str, Any], floor: float, confidence: float) -> Check:
    value, low, high = figure["value"], figure["low"], figure["high"]
    told = f"{name} is {'unknown' if value is None else format(value, '.4f')}, must be at least {floor:g}"
    needs = None
    verdict: Judgement
    if value is not None and value >= floor:
        verdict = "pass"
    elif value is None or high is None or high < floor:
        verdict = "fail"
    else:
        verdict = "inconclusive"
        told += f", and may be up to {high:.4f}"
        tail = (1 - confidence) / 2
        error = (high - low) / 2 / float(stats.norm.isf(tail))
        spread = Difference(value, low, high, error, figure["groups"])
        needs = needs_of(
            "groups",
            samples_to_decide(spread, floor - value, tail),
            figure["groups"],
            "the truth is what was measured",
            images=figure["images"],
            remedy="a better detector on this slice" if kind == "slice floor" else "a better detector",
        )
    return Check(name, kind, verdict, told, value, low, high, floor, candidate=value, needs=needs)
