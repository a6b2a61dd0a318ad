"""The statistics of the gate: what passes, what fails, what stays open, and what more data would decide."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from export_params import GATE
from hypothesis import given
from hypothesis import strategies as st
from shelfgap_export.gate.against import CHECKS_AGAINST, accuracy_checks, budget_check, latency_check
from shelfgap_export.gate.difference import Difference, decide, figure_differences, samples_to_decide
from shelfgap_export.gate.floors import floor_checks, int8_loss_check
from shelfgap_export.gate.latency import budget_of, ratio_of
from shelfgap_export.gate.verdict import Check, reason_of, verdict_of
from shelfgap_training.figures import ClassMatches

FIGURES = ("ap50", "recall_at_p90")


def table(seed: int, groups: int, quality: float, shared_seed: int = 0) -> list[ClassMatches]:
    """Return two pictures a group with three boxes each, found with a probability, and false alarms."""
    shared, own = np.random.default_rng(shared_seed), np.random.default_rng(seed)
    pictures = 2 * groups
    image = np.repeat(np.arange(pictures), 6)
    is_box = np.tile([True] * 3 + [False] * 3, pictures)
    strength = shared.normal(np.where(is_box, quality, -1.5), 1) + own.normal(0, 0.5, len(image))
    kept = (strength > -0.5) | ~is_box
    order = np.argsort(-strength[kept])
    scores = (1 / (1 + np.exp(-strength[kept][order]))).astype(np.float32)
    hit = np.repeat(is_box[kept][order][None], 10, axis=0)
    boxes = np.full(pictures, 3)
    return [ClassMatches(scores, image[kept][order], hit, boxes, np.ones(pictures, np.bool_), 0.5)]


def differences(ours, theirs, groups, checks=1):
    clusters = [str(picture // 2) for picture in range(2 * groups)]
    return figure_differences(ours, theirs, clusters, FIGURES, alpha=GATE.alpha, checks=checks, resamples=400, seed=0)


def test_the_same_detections_pass_whatever_the_margin_and_the_number_of_groups():
    found = differences(table(1, 3, 0.5), table(1, 3, 0.5), 3)
    assert all(one.is_identical and one.value == one.low == one.high == 0 for one in found.values())
    checks = accuracy_checks(found, 6, GATE)
    assert [check.verdict for check in checks] == ["pass", "pass"]
    assert "both find the same in every picture" in checks[0].reason


def test_a_large_loss_fails_and_names_its_interval():
    found = differences(table(1, 150, 0.2), table(2, 150, 1.0), 150)
    ap50, recall = accuracy_checks(found, 300, GATE)
    assert (ap50.verdict, recall.verdict) == ("fail", "fail")
    assert ap50.value < -GATE.margins.ap50
    assert ap50.high < 0
    assert f"{ap50.value:+.4f} [{ap50.low:+.4f}, {ap50.high:+.4f}], a loss of more than 0.02" in ap50.reason


def test_a_better_candidate_passes():
    found = differences(table(1, 150, 1.0), table(2, 150, 0.4), 150)
    assert [check.verdict for check in accuracy_checks(found, 300, GATE)] == ["pass", "pass"]


def test_equal_detectors_on_little_data_are_inconclusive_and_the_number_that_is_named_decides():
    groups = 20
    ap50, _ = accuracy_checks(differences(table(3, groups, 0.6), table(53, groups, 0.6), groups), 2 * groups, GATE)
    assert ap50.verdict == "inconclusive"
    assert ap50.needs.provided == "it equals the champion"
    assert ap50.needs.images == 2 * ap50.needs.count
    passed = 0
    for seed in range(10):  # as many as were asked for: most of equal ones pass
        ours, theirs = (table(100 * side + seed, ap50.needs.count, 0.6, seed) for side in (1, 2))
        check, _ = accuracy_checks(differences(ours, theirs, ap50.needs.count), 0, GATE)
        passed += check.verdict == "pass"
    assert passed >= 5


@pytest.mark.parametrize("value", [-0.03, -0.026])  # what takes most: to tell it from none, and from the margin
def test_the_number_of_groups_that_is_named_fails_such_a_loss_four_times_of_five(value):
    """Drawn anew with the loss that was measured: the interval must be as narrow, and the value beyond the margin."""
    spread, groups = 0.15, 60
    error = spread / math.sqrt(groups)
    found = Difference(value, value - 2 * error, value + 2 * error, error, groups)
    open_, _ = accuracy_checks(dict.fromkeys(FIGURES, found), 2 * groups, GATE)
    assert (open_.verdict, open_.needs.provided) == ("inconclusive", "the truth is what was measured")
    error = spread / math.sqrt(open_.needs.count)
    reach = NormalDist().inv_cdf(1 - GATE.alpha / CHECKS_AGAINST) * error
    drawn = np.random.default_rng(0).normal(value, error, 4000)
    said = [decide(Difference(v, v - reach, v + reach, error, open_.needs.count), GATE.margins.ap50) for v in drawn]
    assert said.count("fail") / len(said) == pytest.approx(0.8, abs=0.02)


def test_the_number_of_pairs_that_is_named_fails_such_a_slowness_four_times_of_five():
    error, pairs = 0.06, GATE.latency.pairs[-1]
    slowness = 2 * math.log1p(GATE.margins.latency)
    ratio = {"value": math.exp(slowness), "low": math.exp(slowness - 4 * error), "high": math.exp(slowness + 4 * error)}
    processes = {"judged_ms": [2.0]}
    latency = {"ratio": {**ratio, "standard_error": error}, "pairs": pairs}
    check = latency_check({**latency, "processes": {"candidate": processes, "champion": processes}}, GATE)
    assert check.verdict == "inconclusive"
    error *= math.sqrt(pairs / check.needs.count)
    tail = GATE.alpha / CHECKS_AGAINST / len(GATE.latency.pairs)
    power = NormalDist().cdf(slowness / error - NormalDist().inv_cdf(1 - tail))
    assert power == pytest.approx(0.8, abs=0.02)


def test_another_threshold_alone_has_intervals_at_the_operating_point():
    ours = table(1, 40, 0.5)
    theirs = [replace(one, score_threshold=0.6) for one in ours]
    clusters = [str(picture // 2) for picture in range(80)]
    options = {"alpha": GATE.alpha, "checks": 1, "resamples": 400, "seed": 0}
    found = figure_differences(ours, theirs, clusters, ("ap50", "recall_at_p90", "precision", "recall"), **options)
    assert found["ap50"].is_identical
    assert found["recall_at_p90"].is_identical
    for name in ("precision", "recall"):
        assert found[name].low < found[name].value < found[name].high, name


def test_few_groups_say_nothing():
    ap50, _ = accuracy_checks(differences(table(1, 5, 0.2), table(2, 5, 1.0), 5), 10, GATE)
    assert (ap50.verdict, ap50.needs.count, ap50.needs.images) == ("inconclusive", 10, 20)
    assert "on 5 groups, fewer than 10 say nothing for sure" in ap50.reason
    (single,) = {check.verdict for check in accuracy_checks(differences(table(1, 1, 0.2), table(2, 1, 1), 1), 2, GATE)}
    assert single == "inconclusive"


def test_sharing_alpha_moves_the_bound_of_a_fail_only():
    ours, theirs = table(1, 60, 0.6), table(2, 60, 0.6)
    alone, shared = (differences(ours, theirs, 60, checks)["ap50"] for checks in (1, 3))
    assert alone.low == shared.low
    assert alone.high < shared.high


@given(
    value=st.floats(-0.2, 0.2),
    down=st.floats(1e-6, 0.2),
    up=st.floats(1e-6, 0.2),
    margin=st.floats(1e-3, 0.1),
    gain=st.floats(0, 0.1),
)
def test_what_is_better_by_any_amount_is_never_judged_worse(value, down, up, margin, gain):
    order = ["fail", "inconclusive", "pass"]
    before = decide(Difference(value, value - down, value + up, 0.01, 50), margin)
    after = decide(Difference(value + gain, value + gain - down, value + gain + up, 0.01, 50), margin)
    assert order.index(after) >= order.index(before)
    assert decide(Difference(0, 0, 0, 0, 1, is_identical=True), margin) == "pass"


def test_four_times_the_samples_tell_half_the_distance():
    found = Difference(-0.01, -0.03, 0.01, 0.012, 100)
    assert samples_to_decide(found, 0.01, 0.05) == pytest.approx(4 * samples_to_decide(found, 0.02, 0.05), abs=4)
    # the textbook: (1.645 + 0.842)^2 * 0.12^2 / 0.02^2
    assert samples_to_decide(found, 0.02, 0.05) == math.ceil((1.644854 + 0.841621) ** 2 * 36)
    assert samples_to_decide(found, 0.0, 0.05) is None
    assert samples_to_decide(Difference(0, math.nan, math.nan, math.nan, 1), 0.02, 0.05) is None


def evaluation(ap50=(0.6, None, None), recall=(0.5, None, None), precision=(0.5, None, None), slices=()):
    figures = {"ap50": ap50, "recall": recall, "precision": precision}
    told = {name: dict(zip(("value", "low", "high"), figure, strict=True)) for name, figure in figures.items()}
    return {**told, "precision_mode": "int8", "groups": 40, "images": 80, "slices": list(slices)}


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"ap50": (0.5, None, None)}, "pass", "all 3 checks hold"),
        ({"ap50": (0.4999, None, None)}, "fail", "int8 ap50 is 0.4999, must be at least 0.5"),
        ({"ap50": (0.45, 0.41, 0.49)}, "fail", "int8 ap50 is 0.4500, must be at least 0.5"),
        ({"ap50": (0.45, 0.39, 0.51)}, "inconclusive", "must be at least 0.5, and may be up to 0.5100"),
        ({"recall": (0.39, None, None)}, "fail", "int8 recall is 0.3900, must be at least 0.4"),
        ({"precision": (0.0, None, None)}, "fail", "int8 precision is 0.0000, must be at least 0.3"),
        ({"recall": (None, None, None)}, "fail", "int8 recall is unknown, must be at least 0.4"),
    ],
)
def test_each_floor_decides_by_itself(changes, verdict, reason):
    checks = floor_checks(evaluation(**changes), GATE)
    assert verdict_of(checks) == verdict
    assert reason in reason_of(checks, True)
    assert [check.verdict for check in checks].count("pass") >= 2


def test_an_open_floor_names_the_groups_that_would_show_a_fail():
    (check, *_) = floor_checks(evaluation(ap50=(0.45, 0.39, 0.51)), GATE)
    error, distance = 0.12 / 3.92, 0.05
    assert check.needs.count == math.ceil(((1.959964 + 0.841621) * error * math.sqrt(40) / distance) ** 2)
    assert check.needs.images == 2 * check.needs.count
    assert check.needs.text() == (
        "about 118 groups (236 pictures) would show that it fails, if the truth is what was measured; "
        "what passes is a better detector"
    )


def test_the_groups_that_an_open_floor_names_follow_the_confidence_of_its_interval():
    (check, *_) = floor_checks(evaluation(ap50=(0.45, 0.39, 0.51)), GATE, confidence=0.8)
    error, distance = 0.12 / 2 / NormalDist().inv_cdf(0.9), 0.05
    assert check.needs.count == math.ceil(((1.281552 + 0.841621) * error * math.sqrt(40) / distance) ** 2)


def test_a_figure_right_below_its_floor_asks_for_a_better_detector_and_not_for_pictures_without_end():
    row = slice_row(GATE.min_slice_recall - 0.002, 0.06, 0.2, figure="recall", class_name="gap")
    check = floor_checks(evaluation(slices=[row]), GATE)[-1]
    assert (check.verdict, check.needs.count, check.needs.images) == ("inconclusive", None, None)
    assert "so near to the bound that more groups alone hardly decide it" in check.needs.text()
    assert "what passes is a better detector on this slice" in reason_of([check], False)


def test_a_loss_right_beyond_its_margin_asks_for_a_better_detector_too():
    margin = GATE.margins.ap50
    found = Difference(-margin - 0.0001, -0.05, 0.005, 0.015, 60)
    open_, _ = accuracy_checks(dict.fromkeys(FIGURES, found), 120, GATE)
    assert (open_.verdict, open_.needs.count, open_.needs.remedy) == ("inconclusive", None, "a better detector")
    equal = Difference(0.0, -0.4, 0.4, 0.2, 60)  # what an equal one takes to pass is told however much it is
    told, _ = accuracy_checks(dict.fromkeys(FIGURES, equal), 120, GATE)
    assert (told.needs.remedy, told.needs.count > 10 * 60) == (None, True)


def test_a_budget_that_is_kept_as_measured_asks_for_what_shows_it_and_one_that_is_not_for_a_faster_model():
    spread = np.array([0.97, 1.03, 0.98, 1.02, 0.99, 1.01, 0.96, 1.04])
    within = budget_check("camera", (49.5 * spread).tolist(), GATE)
    beyond = budget_check("camera", (50.5 * spread).tolist(), GATE)
    assert (within.verdict, within.needs.remedy) == ("inconclusive", None)
    assert (beyond.verdict, beyond.needs.remedy) == ("inconclusive", "a faster model")


def slice_row(value, low=None, high=None, figure="ap50", class_name=None):
    row = {"by": "store", "slice": "north", "class": class_name, "images": 20, "groups": 9, "boxes": 12}
    return {**row, "figure": figure, "value": value, "low": low, "high": high}


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (slice_row(0.3), "pass"),
        (slice_row(0.15, 0.11, 0.19), "fail"),
        (slice_row(0.15, 0.05, 0.25), "inconclusive"),
        (slice_row(0.15, figure="recall", class_name="gap"), "pass"),
        (slice_row(None), "not judged"),
    ],
)
def test_a_slice_has_a_floor_and_a_small_one_is_not_judged(row, verdict):
    check = floor_checks(evaluation(slices=[row]), GATE)[-1]
    assert (check.kind, check.verdict) == ("slice floor", verdict)
    if verdict == "not judged":
        assert check.reason == "int8 ap50 where store north: not judged, 12 boxes are too few"


@pytest.mark.parametrize(
    ("int8", "fp32", "verdict", "reason"),
    [
        (0.6, 0.609, "pass", "ap50 lost to int8 on 138 pictures is 0.0090, must be at most 0.01"),
        (0.6, 0.6101, "fail", "ap50 lost to int8 on 138 pictures is 0.0101, must be at most 0.01"),
        (0.6, None, "fail", "ap50 lost to int8 on 138 pictures is unknown, must be at most 0.01"),
    ],
)
def test_int8_may_lose_only_so_much(int8, fp32, verdict, reason):
    check = int8_loss_check(int8, fp32, 138, GATE)
    assert (check.verdict, check.reason) == (verdict, reason)


def noisy(rng, base, spread, count, outliers=0):
    values = base * np.exp(rng.normal(0, spread, count))
    values[:outliers] *= 3  # something else ran then
    return values


def test_a_slower_model_fails_an_equal_one_passes_and_noise_is_inconclusive():
    room = math.log1p(GATE.margins.latency)
    rng = np.random.default_rng(0)
    said = {"equal": [], "slower": []}
    for _ in range(20):
        champion = noisy(rng, 2.0, 0.02, 16)
        for name, factor in (("equal", 1.0), ("slower", 1.15)):
            candidate = noisy(rng, 2.0 * factor, 0.02, 16, outliers=2)
            said[name].append(decide(ratio_of(candidate, champion, GATE, 3), room))
    assert said == {"equal": ["pass"] * 20, "slower": ["fail"] * 20}
    loud = ratio_of(noisy(rng, 2.0, 0.6, 8), noisy(rng, 2.0, 0.6, 8), GATE, 3)
    assert decide(loud, room) == "inconclusive"


def test_a_budget_is_judged_on_a_named_class_of_device_only():
    assert budget_check(None, [], GATE).verdict == "not judged"
    rng = np.random.default_rng(1)
    for base, verdict in ((40, "pass"), (60, "fail"), (50, "inconclusive")):
        check = budget_check("camera", noisy(rng, base, 0.02, 8).tolist(), GATE)
        assert (check.verdict, check.bound) == (verdict, 50), check.reason
    few = budget_check("camera", [None] * 8, GATE)
    assert "a process measured too few frames" in few.reason
    assert budget_of([1.0, None], 50, 0.05) is None


def test_the_worst_check_decides_and_the_reason_is_its_own():
    def check(verdict, reason="it is so"):
        return Check("a", "floor", verdict, reason)

    assert verdict_of([check("pass"), check("inconclusive"), check("fail")]) == "fail"
    assert verdict_of([check("pass"), check("inconclusive"), check("not judged")]) == "inconclusive"
    assert verdict_of([check("pass"), check("not judged")]) == "pass"
    assert reason_of([check("fail", "worse"), check("inconclusive", "open")], True) == "worse"
    assert reason_of([check("fail", str(k)) for k in range(5)], True) == "0; 1; 2; and 2 more"
    assert "there was no champion to compare with" in reason_of([check("pass")], False)
