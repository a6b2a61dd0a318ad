"""Candidates for the next release, from the champion's weights and from scratch, compared on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from shelfgap_datasets.coco import load_dataset
from shelfgap_edge.contract import MANIFEST_FILE, read_manifest
from shelfgap_edge.runtime import Detector
from shelfgap_export.bundle import make_manifest
from shelfgap_export.onnx_export import export_core, with_float_front_end
from shelfgap_training.bootstrap import Interval, bootstrap, clusters_of, paired_difference
from shelfgap_training.checkpoint import CheckpointError, TrainedDetector, load_detector
from shelfgap_training.evaluate import ScoredImages, choose_thresholds, score_images
from shelfgap_training.figures import FIGURES, ClassMatches
from shelfgap_training.params import EvaluationParams, ModelParams

from shelfgap_flows.hashes import file_hash
from shelfgap_flows.workspace import Workspace

Start = Literal["from-scratch", "from-champion"]

CHAMPION = "champion"


@dataclass(frozen=True)
class Champion:
    """The released bundle of a workspace, and the detector that it was made of."""

    version: str
    dataset_sha256: str
    detector: TrainedDetector | None
    weights_sha256: str | None
    problem: str | None  # why there is no detector

    def problem_as_start(self, model: ModelParams) -> str | None:
        """Say why a network cannot start from its weights; None when it can."""
        if self.detector is not None and not self.detector.model.params.is_built_like(model):
            return "the champion is of another network than the preset"
        return self.problem


def find_champion(workspace: Workspace) -> Champion | None:
    """Return the champion of a workspace, None before its first release.

    Raises:
        BundleError: the released bundle has no readable manifest.
    """
    if not (workspace.bundle / MANIFEST_FILE).is_file():
        return None
    manifest = read_manifest(workspace.bundle)
    data = manifest.hashes.get("data", "")
    weights = workspace.champion
    if not weights.is_file() or file_hash(weights) != manifest.hashes.get("detector"):
        problem = f"{weights} does not hold the weights of the released bundle"
        return Champion(manifest.version, data, None, None, problem)
    try:
        return Champion(manifest.version, data, load_detector(weights), file_hash(weights), None)
    except CheckpointError as error:
        return Champion(manifest.version, data, None, None, str(error))


@dataclass(frozen=True)
class Comparison:
    """AP50 of detectors on the same validation images, each with its interval, and paired differences."""

    images: int
    groups: int
    ap50: dict[str, Interval]  # by the name of the detector
    gain: Interval | None  # from-champion minus from-scratch, where both are
    over_champion: dict[str, Interval]  # each candidate minus the champion, where there is one

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "images": self.images,
            "groups": self.groups,
            "ap50": {name: figure.to_dict() for name, figure in self.ap50.items()},
            "from_champion_minus_from_scratch": None if self.gain is None else self.gain.to_dict(),
            "minus_champion": {name: figure.to_dict() for name, figure in self.over_champion.items()},
        }


def compare_candidates(root: Path, detectors: Mapping[str, TrainedDetector], params: EvaluationParams) -> Comparison:
    """Score detectors on the validation images of a dataset, through the edge runtime and in float.

    Args:
        root: dataset directory.
        detectors: by name; "champion" is what the others are compared with. Classes that not all of them know are left
            out.
        params: how intervals are drawn, over whole groups.

    Raises:
        DatasetError: no validation image that can be scored.
    """
    dataset = load_dataset(root)
    records = dataset.of_split("val")
    scored = {
        name: score_images(float_detector(trained), root, records, dataset.annotated_classes)
        for name, trained in detectors.items()
    }
    first = next(iter(scored.values()))
    common = [name for name in first.classes if all(name in other.classes for other in scored.values())]
    tables = {name: _tables(images, common) for name, images in scored.items()}
    clusters = clusters_of(first.records)
    draw = partial(bootstrap, resamples=params.resamples, confidence=params.confidence, seed=params.seed)
    draw_pairs = partial(
        paired_difference, resamples=params.resamples, confidence=params.confidence, seed=params.seed, figure="ap50"
    )

    def ap50(name: str) -> Interval:
        return draw(lambda weights: FIGURES["ap50"](tables[name], weights)[None], clusters)[0]

    def minus(ours: str, theirs: str) -> Interval:
        return draw_pairs([tables[ours]], [tables[theirs]], clusters)

    both = {"from-champion", "from-scratch"} <= set(tables)
    return Comparison(
        images=len(first.records),
        groups=len(set(clusters)),
        ap50={name: ap50(name) for name in tables},
        gain=minus("from-champion", "from-scratch") if both else None,
        over_champion={name: minus(name, CHAMPION) for name in tables if name != CHAMPION and CHAMPION in tables},
    )


def choose(comparison: Comparison) -> tuple[Start, str]:
    """Choose the candidate to release, and say why.

    The one that started from the champion's weights is taken unless it finds less than the other beyond doubt, that is
    unless the paired interval of their difference in validation AP50 lies below zero: where the two cannot be told
    apart it behaves more like what is deployed.
    """
    gain = comparison.gain
    if gain is None:
        return "from-scratch", "from scratch, the only candidate"
    if gain.high < 0:
        by = _in_ap50(Interval(-gain.value, -gain.high, -gain.low))
        return "from-scratch", f"from scratch is better than from the champion's weights, by {by}"
    by = _in_ap50(gain)
    if gain.low > 0:
        return "from-champion", f"from the champion's weights is better than from scratch, by {by}"
    return "from-champion", f"from the champion's weights, not to be told apart from the one from scratch ({by})"


def _in_ap50(gain: Interval) -> str:
    """Say how large a gain is, with its interval where there is one."""
    if math.isnan(gain.value):
        return "nothing is labelled in the validation images"
    value = f"{gain.value:.4f} AP50"
    return f"{value}, of one group" if math.isnan(gain.low) else f"{value} [{gain.low:.4f}, {gain.high:.4f}]"


def float_detector(trained: TrainedDetector) -> Detector:
    """Return the edge runtime's detector of a trained one, in float."""
    size = trained.model.params.input_size
    manifest = make_manifest(name="candidate", classes=trained.classes, input_size=size)
    return Detector(manifest, with_float_front_end(export_core(trained.model), size).SerializeToString())


def _tables(scored: ScoredImages, classes: list[str]) -> list[ClassMatches]:
    tables = scored.matches(choose_thresholds(scored))
    return [tables[scored.classes.index(name)] for name in classes]
