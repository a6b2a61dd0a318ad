"""Training augmentation that keeps boxes true, as one Albumentations pipeline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from shelfgap_edge.geometry import area

from shelfgap_datasets.gap_growth import GapGrowth
from shelfgap_datasets.params import AugmentParams

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer version
import albumentations as A

_MIN_SIDE_PX = 2.0  # a thinner rest of a box carries no evidence
_TILE_PX = 16.0


IGNORED_ID = -1
"""Class id of a region that says nothing."""


class Sample(NamedTuple):
    """One picture and its boxes."""

    image_rgb: NDArray[np.uint8]  # (H, W, 3)
    boxes_xyxy: NDArray[np.float32]  # (N, 4) absolute pixels
    class_ids: NDArray[np.int64]  # (N,); IGNORED_ID for a region that says nothing


class TrainTransform:
    """Mosaic, zoom, shift, shear, flip, colour and camera faults.

    Args:
        params: strengths and probabilities.
        size: (height, width) of every picture that goes in and comes out, in pixels.
        gap_id: number of the class `gap`, whose boxes may grow; None where it is not labelled.
    """

    def __init__(self, params: AugmentParams, size: tuple[int, int], gap_id: int | None = None) -> None:
        self.mosaic_probability = params.mosaic_probability
        self._min_visibility = params.min_visibility
        # the mosaic draws the neighbours around the picture and cuts a window of the same size
        self._mosaic = A.Compose(
            [A.Mosaic(target_size=size, cell_shape=size, p=1)], bbox_params=_bbox_params(0.0, "areas")
        )
        self._change = _changes(params)
        self._grow = None
        if gap_id is not None and params.gap_growth_probability > 0:
            self._grow = A.Compose([GapGrowth(gap_id, p=params.gap_growth_probability)], bbox_params=_bbox_params(0.0))

    def grow(self, sample: Sample, seed: int) -> Sample:
        """Enlarge and copy gaps of a sample; the same sample where that is switched off or it has no box."""
        if self._grow is None or not len(sample.boxes_xyxy):
            return sample
        self._grow.set_random_seed(seed)
        out = self._grow(image=sample.image_rgb, bboxes=sample.boxes_xyxy, class_ids=sample.class_ids)
        return _to_sample(out)

    def __call__(self, sample: Sample, seed: int, neighbours: Sequence[Sample] = ()) -> Sample:
        """Augment one sample; with three neighbours, as a mosaic of all four.

        The result depends on the arguments alone. Boxes are clipped to the picture. Those that keep too little of
        their area are dropped; what a seam of the mosaic leaves of them stays as a region that says nothing. A sample
        without boxes stays one. Regions come out in tiles.
        """
        sample, *neighbours = (_in_tiles(one) for one in (sample, *neighbours))
        if neighbours:
            sample = self._join(sample, neighbours, seed)
        self._change.set_random_seed(seed)
        return _to_sample(self._change(image=sample.image_rgb, bboxes=sample.boxes_xyxy, class_ids=sample.class_ids))

    def _join(self, sample: Sample, neighbours: Sequence[Sample], seed: int) -> Sample:
        """Return the mosaic; Albumentations cuts boxes at its seams without a look at what is left of them."""
        self._mosaic.set_random_seed(seed)
        first, *others = (_with_areas(one) for one in (sample, *neighbours))
        out = self._mosaic(**first, mosaic_metadata=others)
        joined = _to_sample(out)
        is_rest = area(joined.boxes_xyxy) < self._min_visibility * np.asarray(out["areas"], np.float32)
        return joined._replace(class_ids=np.where(is_rest, IGNORED_ID, joined.class_ids))


def _in_tiles(sample: Sample) -> Sample:
    """Cut each region that says nothing into tiles of some pixels, behind the boxes.

    What keeps too little of its area is dropped: of a region that leaves the picture a seam, instead of all of it, so
    that the rest would be background.
    """
    is_region = sample.class_ids == IGNORED_ID
    if not is_region.any():
        return sample
    tiles = np.concatenate([_tiles(region) for region in sample.boxes_xyxy[is_region]])
    return Sample(
        sample.image_rgb,
        np.concatenate([sample.boxes_xyxy[~is_region], tiles]),
        np.append(sample.class_ids[~is_region], np.full(len(tiles), IGNORED_ID)),
    )


def _tiles(region_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return tiles of equal size, at most `_TILE_PX` a side, that fill a region, float32 (N, 4)."""
    x1, y1, x2, y2 = region_xyxy
    xs = np.linspace(x1, x2, 1 + max(1, int(np.ceil((x2 - x1) / _TILE_PX))))
    ys = np.linspace(y1, y2, 1 + max(1, int(np.ceil((y2 - y1) / _TILE_PX))))
    left, top = np.meshgrid(xs[:-1], ys[:-1])
    right, bottom = np.meshgrid(xs[1:], ys[1:])
    return np.stack([left, top, right, bottom], -1).reshape(-1, 4).astype(np.float32)


def _to_sample(out: dict[str, Any]) -> Sample:
    return Sample(
        np.ascontiguousarray(out["image"]),
        np.asarray(out["bboxes"], dtype=np.float32).reshape(-1, 4),
        np.asarray(out["class_ids"], dtype=np.int64).reshape(-1),
    )


def _bbox_params(min_visibility: float, *more: str) -> A.BboxParams:
    return A.BboxParams(
        format="pascal_voc",
        label_fields=["class_ids", *more],
        min_visibility=min_visibility,
        min_width=_MIN_SIDE_PX,
        min_height=_MIN_SIDE_PX,
        clip=True,
        filter_invalid_bboxes=True,
    )


def _with_areas(sample: Sample) -> dict[str, Any]:
    return {
        "image": sample.image_rgb,
        "bboxes": sample.boxes_xyxy,
        "class_ids": sample.class_ids,
        "areas": area(sample.boxes_xyxy),
    }


def _changes(params: AugmentParams) -> A.Compose:
    scale = {"x": params.scale, "y": params.scale}
    shift = (-params.translate, params.translate)
    turn = (-params.rotate_degrees, params.rotate_degrees)
    shear = (-params.shear_degrees, params.shear_degrees)
    degrade = [
        A.OneOf([A.MotionBlur(blur_limit=(3, 7), p=1), A.GaussianBlur(sigma_limit=(0.5, 2.0), p=1)], p=1),
        A.GaussNoise(std_range=(0.01, 0.06), p=1),
        A.ImageCompression(quality_range=(30, 85), p=1),
    ]
    return A.Compose(
        [
            # a box around the turned corners would be wider than what is in it, and teach so: a box of 1 to 4 by 15 %
            A.Affine(scale=scale, translate_percent=shift, rotate=turn, shear=shear, rotate_method="ellipse", p=1),
            A.HorizontalFlip(p=params.flip_probability),
            A.RandomBrightnessContrast(0.3, 0.3, p=params.colour_probability),
            A.HueSaturationValue(12, 30, 15, p=params.colour_probability),
            A.OneOf(degrade, p=params.degrade_probability),
        ],
        bbox_params=_bbox_params(params.min_visibility),
    )
