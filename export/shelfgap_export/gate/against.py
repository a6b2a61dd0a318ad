"""Checks of a candidate against the champion: accuracy, classes, latency, size and memory, and a latency budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from shelfgap_training.bootstrap import clusters_of
from shelfgap_training.evaluate import ScoredImages

from shelfgap_export.gate.difference import Decision, Difference, decide, figure_differences, samples_to_decide
from shelfgap_export.gate.entrant import Entrant
from shelfgap_export.gate.latency import budget_of, read_difference
from shelfgap_export.gate.verdict import Check, Provided, needs_of
from shelfgap_export.params import GateParams

COMPARED = ("ap50", "recall_at_p90")
"""Figures that must not be lost, of `shelfgap_training.figures.FIGURES`."""
REPORTED = ("precision", "recall", "f1", "false_alarms_per_full_shelf")
"""Figures at the operating point, whose differences are shown and not judged: they trade against each other."""
CHECKS_AGAINST = len(COMPARED) + 1  # with latency: those that share alpha for a fail
_EQUAL: Provided = "it equals the champion"
_AS_MEASURED = 0.5  # one-sided alpha of what is held against a margin without an interval
_NAMES = {"ap50": "AP50", "recall_at_p90": "recall at 0.9 precision"}


def common_classes(candidate: ScoredImages, champion: ScoredImages) -> list[str]:
    """Return the labelled classes that both know, in the order of the candidate."""
    return [name for name in candidate.classes if name in champion.classes]


def class_check(candidate: ScoredImages, champion: ScoredImages) -> Check:
    """Judge that the candidate finds every labelled class that the champion does; what it adds is judged by floors."""
    lost = [name for name in champion.classes if name not in candidate.classes]
    added = [name for name in candidate.classes if name not in champion.classes]
    if lost:
        reason = f"the candidate does not know {', '.join(lost)}, which the champion does"
    elif added:
        reason = f"the candidate knows {', '.join(added)} beside what the champion does: compared without"
    else:
        reason = f"both know {', '.join(candidate.classes)}"
    return Check("classes", "limit", "fail" if lost else "pass", reason)


def accuracy_differences(
    candidate: ScoredImages,
    champion: ScoredImages,
    thresholds: tuple[Mapping[str, float], Mapping[str, float]],
    params: GateParams,
) -> dict[str, Difference]:
    """Return candidate minus champion by figure, `COMPARED` and `REPORTED`, over the classes that both know.

    Args:
        candidate: its detections.
        champion: of the same images.
        thresholds: operating points of candidate and champion, by class name.
        params: of the gate.
    """
    common = common_classes(candidate, champion)
    ours, theirs = (
        [scored.matches(points)[scored.classes.index(name)] for name in common]
        for scored, points in zip((candidate, champion), thresholds, strict=True)
    )
    return figure_differences(
        ours,
        theirs,
        clusters_of(candidate.records),
        (*COMPARED, *REPORTED),
        alpha=params.alpha,
        checks=CHECKS_AGAINST,
        resamples=params.resamples,
        seed=params.seed,
    )


def accuracy_checks(differences: Mapping[str, Difference], images: int, params: GateParams) -> list[Check]:
    """Judge that nothing of `COMPARED` was lost beyond its margin."""
    return [
        _accuracy_check(name, differences[name], images, getattr(params.margins, name), params) for name in COMPARED
    ]


def _accuracy_check(name: str, found: Difference, images: int, margin: float, params: GateParams) -> Check:
    title, said = f"{_NAMES[name]} against the champion", f"{_NAMES[name]} minus the champion's is "
    value = None if math.isnan(found.value) else found.value
    if value is None:
        return Check(
            title, "non-inferiority", "not judged", f"{said}unknown: nothing labelled defines it", bound=-margin
        )
    few = found.samples < params.min_groups or math.isnan(found.low)
    if few and not found.is_identical:
        least = max(params.min_groups, 2)
        reason = f"{said}{value:+.4f} on {found.samples} groups, fewer than {least} say nothing for sure"
        more = needs_of("groups", least, found.samples, _EQUAL, images=images)
        return Check(title, "non-inferiority", "inconclusive", reason, value, bound=-margin, needs=more)
    verdict = decide(found, margin)
    if found.is_identical:
        reason = f"{title}: both find the same in every picture"
    else:
        sure = {"pass": "not a loss of", "fail": "a loss of more than", "inconclusive": "maybe a loss of"}[verdict]
        reason = f"{said}{value:+.4f} [{found.low:+.4f}, {found.high:+.4f}], {sure} {margin:g}"
    needs = None
    if verdict == "inconclusive":
        count, provided = _to_decide(found, margin, params.alpha)
        remedy = None if provided == _EQUAL else "a better detector"
        needs = needs_of("groups", count, found.samples, provided, images=images, remedy=remedy)
    return Check(title, "non-inferiority", verdict, reason, value, found.low, found.high, -margin, needs=needs)


def latency_check(latency: Mapping[str, Any], params: GateParams) -> Check:
    """Judge the ratio that `latency.compare_latency` measured."""
    ratio, pairs, margin = latency["ratio"], latency["pairs"], params.margins.latency
    gain, room = read_difference(ratio, pairs), math.log1p(margin)
    verdict = decide(gain, room)
    sure = {"pass": "not slower by", "fail": "slower by more than", "inconclusive": "maybe slower by"}[verdict]
    reason = (
        f"latency is {ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}] of the champion's in {pairs} pairs "
        f"of processes, {sure} {margin:.0%}"
    )
    needs = None
    if verdict == "inconclusive":
        count, provided = _to_decide(gain, room, params.alpha / len(params.latency.pairs))
        needs = needs_of(
            "pairs of processes", count, pairs, provided, remedy=None if provided == _EQUAL else "a faster model"
        )
    ours, theirs = (float(np.median(latency["processes"][side]["judged_ms"])) for side in ("candidate", "champion"))
    return Check(
        "latency against the champion",
        "non-inferiority",
        verdict,
        reason,
        ratio["value"],
        ratio["low"],
        ratio["high"],
        1 + margin,
        ours,
        theirs,
        needs,
    )


def size_check(candidate: Entrant, champion: Entrant, params: GateParams) -> Check:
    """Judge that the model did not grow beyond its margin."""
    sizes = candidate.model_bytes / 2**20, champion.model_bytes / 2**20
    return _growth("model size", "MiB", *sizes, params.margins.model_size)


def memory_check(latency: Mapping[str, Any], params: GateParams) -> Check:
    """Judge that the peak memory of a process did not grow beyond its margin, by medians over the processes."""
    peaks = [latency["processes"][side]["peak_memory_mb"] for side in ("candidate", "champion")]
    if any(value is None for side in peaks for value in side):
        return Check("memory", "limit", "not judged", "memory: not judged, this system does not tell it")
    ours, theirs = (float(np.median(side)) for side in peaks)
    return _growth("memory", "MiB", ours, theirs, params.margins.memory)


def budget_check(device_class: str | None, p90_ms: Sequence[float | None], params: GateParams) -> Check:
    """Judge the 90th percentile of a frame against the budget of a device class, if one was named.

    Args:
        device_class: what the user says this machine is, a key of `params.latency.budgets_ms`; None to judge nothing.
        p90_ms: of each process of the candidate.
        params: of the gate.
    """
    name = "latency budget"
    if device_class is None:
        return Check(name, "budget", "not judged", f"{name}: not judged, no device class was named")
    budget = params.latency.budgets_ms[device_class]
    room = budget_of(p90_ms, budget, params.alpha)
    if room is None:
        reason = f"{name} of {device_class}: a process measured too few frames for a 90th percentile"
        return Check(name, "budget", "inconclusive", reason, bound=budget)
    low, value, high = (budget * math.exp(-x) for x in (room.high, room.value, room.low))
    verdict: Decision = "pass" if high <= budget else "fail" if low > budget else "inconclusive"
    reason = f"90 % of the frames take {value:.2f} ms [{low:.2f}, {high:.2f}] on {device_class}, budget {budget:g} ms"
    needs = None
    if verdict == "inconclusive":
        needs = needs_of(
            "pairs of processes",
            samples_to_decide(room, room.value, params.alpha),
            room.samples,
            "the truth is what was measured",
            remedy=None if room.value > 0 else "a faster model",
        )
    return Check(name, "budget", verdict, reason, value, low, high, budget, value, needs=needs)


def _to_decide(found: Difference, margin: float, alpha: float) -> tuple[int | None, Provided]:
    """Return the samples for the pass of an equal candidate or, where more than the margin was lost, for a fail.

    A fail takes two things of the same number, so the rarer one decides: an upper bound below zero, and a loss beyond
    the margin as measured.
    """
    if found.value > -margin:
        return samples_to_decide(found, margin, alpha), _EQUAL
    below_zero = samples_to_decide(found, found.value, alpha / CHECKS_AGAINST)
    beyond_margin = samples_to_decide(found, found.value + margin, _AS_MEASURED)
    count = None if below_zero is None or beyond_margin is None else max(below_zero, beyond_margin)
    return count, "the truth is what was measured"


def _growth(name: str, unit: str, ours: float, theirs: float, margin: float) -> Check:
    ratio = ours / theirs
    verdict: Decision = "pass" if ratio <= 1 + margin else "fail"
    reason = f"{name} is {ours:.2f} {unit}, {ratio:.3f} of the champion's, must be at most {1 + margin:g}"
    return Check(f"{name} against the champion", "limit", verdict, reason, ratio, None, None, 1 + margin, ours, theirs)
