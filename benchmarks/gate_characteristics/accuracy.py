"""Runs of the accuracy checks on simulated shelves, with the values of params.yaml."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from shelfgap_export.gate.against import CHECKS_AGAINST, COMPARED, accuracy_checks
from shelfgap_export.gate.difference import figure_differences
from shelfgap_export.gate.verdict import verdict_of
from shelfgap_export.params import GateParams

from gate_characteristics.simulated import Shelves

PICTURES_A_GROUP = 3


@dataclass
class Runs:
    """Verdicts of many gate runs on sets of one size."""

    groups: int
    verdicts: Counter[str] = field(default_factory=Counter)
    needed: list[int] = field(default_factory=list)  # pictures that an inconclusive run asked for
    errors: dict[str, list[float]] = field(default_factory=dict)  # standard errors by figure

    def row(self) -> dict[str, object]:
        """Return it for a table and JSON."""
        return {
            "groups": self.groups,
            "pictures": self.groups * PICTURES_A_GROUP,
            **{name: self.verdicts[name] for name in ("pass", "inconclusive", "fail")},
            "pictures_asked_for": int(np.median(self.needed)) if self.needed else None,
            **{f"standard_error_{name}": round(float(np.mean(values)), 4) for name, values in self.errors.items()},
        }


def run_many(params: GateParams, groups: int, count: int, drop: float, seed: int) -> Iterator[Runs]:
    """Judge `count` pairs of detectors, the second weaker by `drop` logits; yields the tally after each."""
    runs = Runs(groups)
    for number in range(count):
        shelves = Shelves(groups, PICTURES_A_GROUP, seed + number)
        found = figure_differences(
            shelves.detector(1, drop),
            shelves.detector(0),
            shelves.clusters,
            COMPARED,
            alpha=params.alpha,
            checks=CHECKS_AGAINST,
            resamples=params.resamples,
            seed=params.seed,
        )
        checks = accuracy_checks(found, shelves.pictures, params)
        verdict = verdict_of(checks)
        runs.verdicts[verdict] += 1
        if verdict == "inconclusive":
            asked = [check.needs.images for check in checks if check.needs and check.needs.images]
            runs.needed += [max(asked)] if asked else []
        for name, difference in found.items():
            runs.errors.setdefault(name, []).append(difference.standard_error)
        yield runs
