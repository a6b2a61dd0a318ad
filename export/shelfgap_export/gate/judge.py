"""One run of the gate: both models scored on the same pictures, every check made, one verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shelfgap_datasets.coco import annotations_hash, load_dataset
from shelfgap_datasets.schema import Dataset, DatasetError, ImageRecord
from shelfgap_edge.errors import BundleError
from shelfgap_training.evaluate import ScoredImages, evaluate, score_images
from shelfgap_training.metrics import average_precision
from shelfgap_training.params import EvaluationParams

from shelfgap_export.gate.against import (
    REPORTED,
    accuracy_checks,
    accuracy_differences,
    budget_check,
    class_check,
    common_classes,
    latency_check,
    memory_check,
    size_check,
)
from shelfgap_export.gate.difference import Difference
from shelfgap_export.gate.entrant import Entrant
from shelfgap_export.gate.floors import floor_checks, int8_loss_check
from shelfgap_export.gate.latency import LatencyError
from shelfgap_export.gate.verdict import Check, reason_of, verdict_of
from shelfgap_export.params import GateParams

SCHEMA = "shelfgap-gate/2"

Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""


@dataclass(frozen=True, eq=False)
class Scored:
    """An entrant with what it found and how that is evaluated."""

    entrant: Entrant
    images: ScoredImages
    evaluation: Mapping[str, Any]

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Its operating point."""
        return self.entrant.manifest.score_thresholds


@dataclass(frozen=True, eq=False)
class Gate:
    """A verdict and all that it rests on."""

    candidate: Scored
    champion: Scored | None
    dataset: Path
    dataset_sha256: str
    split: str
    checks: tuple[Check, ...]
    differences: Mapping[str, Difference]
    latency: Mapping[str, Any] | None
    device_class: str | None
    params: GateParams
    created_at: str

    @property
    def verdict(self) -> str:
        """One word: "pass", "fail" or "inconclusive"."""
        return verdict_of(self.checks)

    @property
    def reason(self) -> str:
        """One line."""
        return reason_of(self.checks, self.champion is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return what `gate.json` holds (see `gate.schema.json`)."""
        evaluation = self.candidate.evaluation
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "reason": self.reason,
            "created_at": self.created_at,
            "candidate": self.candidate.entrant.to_dict(),
            "champion": None if self.champion is None else self.champion.entrant.to_dict(),
            "dataset": {
                "name": self.dataset.name,
                "sha256": self.dataset_sha256,
                "split": self.split,
                **{key: evaluation[key] for key in ("images", "groups", "boxes", "unreadable")},
            },
            "rules": {
                "alpha": self.params.alpha,
                "margins": self.params.margins.model_dump(),
                "resamples": self.params.resamples,
                "min_groups": self.params.min_groups,
            },
            "checks": [check.to_dict() for check in self.checks],
            "operating_point_differences": {
                name: _bounds(self.differences[name]) for name in REPORTED if name in self.differences
            },
            "latency": self.latency,
            "device_class": self.device_class,
        }


def judge(
    candidate: Entrant,
    champion: Entrant | None,
    dataset: Path,
    params: GateParams,
    evaluation: EvaluationParams,
    *,
    latency: Mapping[str, Any] | None,
    split: str = "test",
    device_class: str | None = None,
    p90_ms: Sequence[float | None] = (),
    runtime: str = "onnxruntime",
    threads: int = 1,
    progress: Progress | None = None,
) -> Gate:
    """Score, compare and judge.

    Args:
        candidate: what may be released.
        champion: what it would replace; None to judge by floors alone.
        dataset: dataset directory.
        params: of the gate.
        evaluation: how intervals and slices of the floors are made.
        latency: what `latency.compare_latency` measured of these two; needed where there is a champion.
        split: "test", or "all" for every picture.
        device_class: key of `params.latency.budgets_ms` that this machine stands for.
        p90_ms: of the candidate's processes, for that budget.
        runtime: what runs the models.
        threads: of the scoring.
        progress: told how the scoring goes on.

    Raises:
        DatasetError: no test split, pictures without a group, or no labelled class that both know.
        BundleError: a model cannot be run.
        LatencyError: the latency was measured of other models.
    """
    digest, records, loaded = pictures_to_judge(dataset, split, candidate, champion)
    if champion is not None and (
        latency is None or (latency["candidate"], latency["champion"]) != (candidate.identity, champion.identity)
    ):
        raise LatencyError("the latency that was measured is not that of this candidate and champion; measure again")

    def score(
        who: str, entrant: Entrant, precision: str | None = None, images: Sequence[ImageRecord] = records
    ) -> ScoredImages:
        told = None if progress is None else lambda done, total: progress(who, done, total)
        return score_images(
            entrant.detector(runtime, threads, precision), dataset, images, loaded.annotated_classes, told
        )

    def scored(who: str, entrant: Entrant) -> Scored:
        found = score(who, entrant)
        thresholds = entrant.manifest.score_thresholds
        return Scored(entrant, found, evaluate(dataset, found, thresholds, entrant.precision, evaluation))

    ours = scored("candidate", candidate)
    checks = floor_checks(ours.evaluation, params, evaluation.confidence)
    if len(candidate.precisions) > 1:
        other = next(name for name in candidate.precisions if name != candidate.precision)
        parts = {candidate.precision: [ours.images], other: [score(f"candidate in {other}", candidate, other)]}
        # calibration sees neither split, and no threshold matters to AP50: with both the loss is told more exactly
        if split == "test" and (more := loaded.of_split("val")):
            for precision, scores in parts.items():
                scores.append(score(f"candidate in {precision}, validation", candidate, precision, more))
        pictures = sum(len(part.records) for part in parts["int8"])
        checks.append(int8_loss_check(_ap50(parts["int8"]), _ap50(parts["fp32"]), pictures, params))
    theirs, differences = None, {}
    if champion is not None and latency is not None:
        try:
            theirs = scored("champion", champion)
        except BundleError as error:
            raise BundleError(f"the champion cannot be run here: {error}; gate with a --runtime that runs it") from None
        _require_same_pictures(ours.images, theirs.images)
        if not common_classes(ours.images, theirs.images):
            raise DatasetError(
                f"{dataset}: of its classes the candidate knows {', '.join(ours.images.classes)}, the champion "
                f"{', '.join(theirs.images.classes)}: none in common, nothing to compare"
            )
        differences = accuracy_differences(ours.images, theirs.images, (ours.thresholds, theirs.thresholds), params)
        checks += [
            class_check(ours.images, theirs.images),
            *accuracy_checks(differences, len(ours.images.records), params),
            latency_check(latency, params),
            size_check(candidate, champion, params),
            memory_check(latency, params),
        ]
    checks.append(budget_check(device_class, p90_ms, params))
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Gate(
        ours,
        theirs,
        dataset,
        digest,
        split,
        tuple(checks),
        differences,
        latency,
        device_class,
        params,
        created_at,
    )


def pictures_to_judge(
    dataset: Path, split: str, candidate: Entrant, champion: Entrant | None
) -> tuple[str, tuple[ImageRecord, ...], Dataset]:
    """Return the hash of a dataset, the pictures to judge on, and all of it.

    Raises:
        DatasetError: there are none, one has no group, or one of the two was trained on them.
    """
    loaded = load_dataset(dataset)
    digest = annotations_hash(dataset)
    for who, entrant in (("candidate", candidate), ("champion", champion)):
        if split == "all" and entrant is not None and digest == entrant.manifest.hashes.get("data"):
            raise DatasetError(f"{dataset}: the {who} was trained on it; judge on its test split alone")
    records = loaded.images if split == "all" else loaded.of_split("test")
    if not records:
        raise DatasetError(f"{dataset}: no picture is in the test split; run: shelfgap data split {dataset}")
    without = [record.file_name for record in records if record.group is None]
    if without:
        raise DatasetError(
            f"{dataset}: {len(without)} of {len(records)} pictures have no group ({without[0]}), so that nobody knows "
            f"which of them show the same scene; run: shelfgap data split {dataset}"
        )
    return digest, records, loaded


def _ap50(parts: Sequence[ScoredImages]) -> float | None:
    """Return AP50 of several sets of pictures together, which one detector looked at; None without a box."""
    truths = [truth for part in parts for truth in part.truths]
    found = [detections for part in parts for detections in part.detections]
    value = average_precision(truths, found, len(parts[0].classes)).ap50
    return None if math.isnan(value) else value


def _require_same_pictures(ours: ScoredImages, theirs: ScoredImages) -> None:
    if ours.unreadable != theirs.unreadable:
        odd = sorted(set(ours.unreadable) ^ set(theirs.unreadable))
        raise DatasetError(f"{odd[0]}: one model could read this picture and the other not; remove it from the dataset")


def _bounds(difference: Difference) -> dict[str, float | None]:
    parts = {"value": difference.value, "low": difference.low, "high": difference.high}
    return {name: None if value != value else round(value, 6) for name, value in parts.items()}
