"""How far an exported model is from the one it was made of, detection by detection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.runtime import Detector
from shelfgap_training.decode import decode
from shelfgap_training.model import GapDetector
from shelfgap_training.module import to_pixels

from shelfgap_export.params import ParityParams


class ParityError(ShelfgapError):
    """An exported model says something else than its origin."""


@dataclass(frozen=True)
class Parity:
    """Largest and mean deviation over all kept detections of the reference."""

    images: int
    detections: int
    unmatched: int  # kept detections of the reference without one of the same class at IoU >= 0.5
    max_box_px: float
    max_score: float
    mean_score: float


def torch_detections(model: GapDetector, frame: NDArray[np.uint8]) -> Detections:
    """Run the torch model on a frame uint8 (H, W, 3) of the input size; all candidates, in input pixels."""
    height, width = model.params.input_size
    with torch.no_grad():
        found = decode(model(to_pixels(torch.from_numpy(frame)[None])), model.params.max_detections)
    scale = np.array([width, height, width, height], np.float32)
    return Detections(found.boxes_xyxy_norm[0].numpy() * scale, found.scores[0].numpy(), found.class_ids[0].numpy())


def compare(reference: Iterable[Detections], candidate: Iterable[Detections], min_score: float) -> Parity:
    """Pair each kept detection of the reference with the nearest of its class in the candidate.

    Args:
        reference: all candidates per image.
        candidate: the same images, same order.
        min_score: detections of the reference from this score are kept.
    """
    box_px: list[float] = []
    score: list[float] = []
    images = unmatched = 0
    for ours, theirs in zip(reference, candidate, strict=True):
        images += 1
        free = np.ones(len(theirs), np.bool_)
        for row in np.flatnonzero(ours.scores >= min_score):
            box = ours.boxes_xyxy[row]
            distance = np.abs(theirs.boxes_xyxy - box).max(axis=1, initial=0.0)
            distance[(theirs.class_ids != ours.class_ids[row]) | ~free] = np.inf
            # a box further off than half its shorter side is another one
            reach = max(1.0, float(min(box[2] - box[0], box[3] - box[1])) / 2)
            if not len(distance) or distance.min() > reach:
                unmatched += 1
                continue
            nearest = int(distance.argmin())
            free[nearest] = False
            box_px.append(float(distance[nearest]))
            score.append(abs(float(ours.scores[row] - theirs.scores[nearest])))
    return Parity(
        images=images,
        detections=len(box_px) + unmatched,
        unmatched=unmatched,
        max_box_px=max(box_px, default=0.0),
        max_score=max(score, default=0.0),
        mean_score=float(np.mean(score)) if score else 0.0,
    )


def require_parity(
    model: GapDetector, detector: Detector, frames: Iterable[NDArray[np.uint8]], params: ParityParams
) -> Parity:
    """Compare torch with its float export on frames of the input size.

    Raises:
        ParityError: a detection is missing, or off by more than `params` allows.
    """
    pairs = [(torch_detections(model, frame), detector.detect(frame, score_thresholds=0.0)) for frame in frames]
    parity = compare([a for a, _ in pairs], [b for _, b in pairs], params.min_score)
    if parity.unmatched or parity.max_box_px > params.max_box_px or parity.max_score > params.max_score:
        raise ParityError(
            f"the float export differs from torch: {parity.unmatched} of {parity.detections} detections "
            f"unmatched, box off by up to {parity.max_box_px:.4f} px (allowed {params.max_box_px}), score by up "
            f"to {parity.max_score:.5f} (allowed {params.max_score})"
        )
    return parity
