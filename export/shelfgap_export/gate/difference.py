"""Is a difference a loss? Non-inferiority by intervals, and how much more data a decision would take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from shelfgap_training.bootstrap import resample
from shelfgap_training.figures import FIGURES, ClassMatches, Weights

Decision = Literal["pass", "fail", "inconclusive"]

_POWER = 0.8  # with which the data that `samples_to_decide` names would decide


@dataclass(frozen=True)
class Difference:
    """Candidate minus champion, more is better; bounds are one-sided.

    Attributes:
        value: what was measured.
        low: lower bound, held with 1 - alpha: what a pass rests on.
        high: upper bound, held with 1 - alpha / checks: what a fail rests on.
        standard_error: of the value; NaN where it cannot be known.
        samples: groups, or pairs of processes, that it rests on.
        is_identical: both gave the same answers on every sample.
    """

    value: float
    low: float
    high: float
    standard_error: float
    samples: int
    is_identical: bool = False


def decide(difference: Difference, margin: float) -> Decision:
    """Decide whether a candidate is not worse than the champion by a margin.

    Pass when it is beyond doubt that less than the margin was lost, whatever the sign. Fail when more than the margin
    was lost as measured, and beyond doubt something was lost. Else inconclusive.

    >>> decide(Difference(-0.005, -0.015, 0.005, 0.006, 50), margin=0.02)
    'pass'
    >>> decide(Difference(-0.04, -0.06, -0.02, 0.012, 50), margin=0.02)
    'fail'
    >>> decide(Difference(-0.01, -0.03, 0.01, 0.012, 50), margin=0.02)
    'inconclusive'

    Source: non-inferiority by confidence interval, as in Piaggio et al. 2012, doi:10.1001/jama.2012.87802; the pass is
        the lower half of two one-sided tests, Schuirmann 1987, doi:10.1007/BF01068419.
    """
    if difference.is_identical or difference.low > -margin:
        return "pass"
    if difference.value < -margin and difference.high < 0:
        return "fail"
    return "inconclusive"


def samples_to_decide(difference: Difference, distance: float, alpha: float) -> int | None:
    """Estimate how many samples would tell a distance from zero with a power of 0.8.

    Args:
        difference: what was measured, for its spread.
        distance: what must be told from zero: the margin for the pass of an equal candidate, a loss for its fail.
        alpha: one-sided.

    Returns:
        A number of samples; None where the spread is unknown, or the distance zero.

    Source: sample size of a one-sided test, n = ((z_alpha + z_beta) sd / distance)^2; Chow, Shao, Wang, "Sample Size
        Calculations in Clinical Research", chapter 3.
    """
    spread = difference.standard_error * math.sqrt(difference.samples)
    if not math.isfinite(spread) or spread == 0 or abs(distance) < 1e-9:
        return None
    quantiles = float(stats.norm.isf(alpha) + stats.norm.isf(1 - _POWER))
    return math.ceil((quantiles * spread / distance) ** 2)


def figure_differences(
    candidate: Sequence[ClassMatches],
    champion: Sequence[ClassMatches],
    clusters: Sequence[str],
    figures: Sequence[str],
    *,
    alpha: float,
    checks: int,
    resamples: int,
    seed: int,
) -> dict[str, Difference]:
    """Compare figures of two models on the same images by a paired bootstrap of whole groups.

    The quantiles are moved out as Student's t would move them, since percentile intervals of few groups are too narrow.

    Args:
        candidate: matches of each class.
        champion: the same classes and images.
        clusters: group of each image.
        figures: some of `figures.FIGURES`.
        alpha: one-sided.
        checks: how many may fail the candidate; each gets alpha / checks for that (Bonferroni).
        resamples: draws.
        seed: of the draws.

    Returns:
        A difference by figure; NaN where a figure is not defined, and bounds of NaN for a single group.

    Source: Hesterberg 2015, doi:10.1080/00031305.2015.1089789, section 5.3, for the expanded percentile interval.
    """
    functions = [FIGURES[name] for name in figures]

    def differences(weights: Weights) -> NDArray[np.float64]:
        return np.stack([figure(candidate, weights) - figure(champion, weights) for figure in functions])

    groups = len(set(clusters))
    same = all(_is_same(ours, theirs) for ours, theirs in zip(candidate, champion, strict=True))
    values = differences(np.ones((1, len(clusters)), np.int64))[:, 0]
    drawn = resample(differences, clusters, resamples=resamples, seed=seed)
    return {
        name: _with_bounds(float(value), row, groups, alpha, checks, same)
        for name, value, row in zip(figures, values, drawn, strict=True)
    }


def _with_bounds(
    value: float, drawn: NDArray[np.float64], groups: int, alpha: float, checks: int, same: bool
) -> Difference:
    defined = drawn[~np.isnan(drawn)]
    if same and not defined.any():  # with the same detections, figures differ by the operating point alone
        return Difference(value, value, value, 0.0, groups, is_identical=True)
    if len(defined) < 2:
        return Difference(value, math.nan, math.nan, math.nan, groups)
    low = float(np.quantile(defined, _expanded(alpha, groups)))
    high = float(np.quantile(defined, 1 - _expanded(alpha / checks, groups)))
    return Difference(value, low, high, float(defined.std(ddof=1)), groups)


def _expanded(alpha: float, samples: int) -> float:
    """Return the share of draws to leave out for an interval of `alpha`; smaller the fewer the samples."""
    return float(stats.norm.cdf(math.sqrt(samples / (samples - 1)) * stats.t.ppf(alpha, samples - 1)))


def _is_same(ours: ClassMatches, theirs: ClassMatches) -> bool:
    pairs = ((ours.scores, theirs.scores), (ours.image, theirs.image), (ours.is_hit, theirs.is_hit))
    return all(np.array_equal(one, other) for one, other in pairs)
