"""Intervals without scipy, against scipy, and whether they hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import mstats
from shelfgap_edge.bench.compare import judge
from shelfgap_edge.bench.interval import Interval, paired_ratio, separate_ratio, slope, t_quantile


@settings(deadline=None)
@given(st.floats(2, 500), st.sampled_from([0.9, 0.95, 0.975, 0.995]))
def test_quantiles_of_student_are_those_of_scipy(freedom, probability):
    assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-3)


def test_below_two_degrees_of_freedom_there_is_none():
    with pytest.raises(ValueError, match="expected 2 degrees of freedom or more, got 1"):
        t_quantile(0.975, 1)


def test_a_paired_ratio_is_the_trimmed_mean_of_logs():
    random = np.random.default_rng(1)
    ours, theirs = random.lognormal(0.1, 0.2, 13), random.lognormal(0, 0.2, 13)
    logs = np.log(ours / theirs)
    mean, error = (float(f(logs, (0.2, 0.2))) for f in (mstats.trimmed_mean, mstats.trimmed_stde))
    reach = error * stats.t.ppf(0.975, 13 - 2 * 2 - 1)
    found = paired_ratio(ours, theirs)
    assert [found.value, found.low, found.high] == pytest.approx(np.exp([mean, mean - reach, mean + reach]), rel=1e-3)


def test_a_pair_that_something_fell_upon_is_forgotten():
    theirs = [10.0, 10.1, 9.9, 10.0, 10.2, 9.8, 10.0, 10.1, 9.9, 10.0]
    ours = [*theirs[:-1], 900.0]
    assert paired_ratio(ours, theirs).high < 1.02


def test_a_ratio_of_two_measurements_is_welchs():
    random = np.random.default_rng(2)
    ours, theirs = random.lognormal(0.1, 0.1, 20), random.lognormal(0, 0.3, 9)
    found = separate_ratio(ours, theirs)
    expected = stats.ttest_ind(np.log(ours), np.log(theirs), equal_var=False).confidence_interval(0.95)
    assert [found.low, found.high] == pytest.approx(np.exp([expected.low, expected.high]), rel=1e-3)
    assert separate_ratio(ours[:3], theirs) is None
    assert separate_ratio([2.0] * 5, [1.0] * 5) == Interval(2.0, 2.0, 2.0)


def test_a_slope_is_that_of_least_squares():
    x = np.arange(20.0)
    y = 3 + 0.5 * x + np.random.default_rng(3).normal(0, 1, 20)
    expected = stats.linregress(x, y)
    reach = expected.stderr * stats.t.ppf(0.975, 18)
    found = slope(x, y)
    assert [found.value, found.low, found.high] == pytest.approx(
        [expected.slope, expected.slope - reach, expected.slope + reach], rel=1e-4
    )
    assert slope(x[:3], y[:3]) is None


def test_an_interval_holds_the_true_ratio_in_95_of_100_cases():
    random = np.random.default_rng(4)
    inside = []
    for _ in range(2000):
        drift = random.normal(0, 0.3, 12)
        ours, theirs = (np.exp(drift + random.normal(shift, 0.05, 12)) for shift in (np.log(1.2), 0))
        found = paired_ratio(ours, theirs)
        inside.append(found.low <= 1.2 <= found.high)
    assert 0.93 < np.mean(inside) < 0.975


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Interval(0.80, 0.7, 0.9), "pass"),
        (Interval(1.02, 1.01, 1.04), "pass"),  # slower beyond doubt, but within the margin
        (Interval(1.02, 0.90, 1.15), "inconclusive"),
        (Interval(1.20, 0.99, 1.40), "inconclusive"),
        (Interval(1.04, 1.01, 1.07), "inconclusive"),
        (Interval(1.20, 1.10, 1.30), "fail"),
        (None, "inconclusive"),
    ],
)
def test_verdicts(ratio, verdict):
    assert judge(ratio, 0.05)[0] == verdict
