"""What a picture shows of low stock: pieces hidden behind neighbours are not there for whoever looks at it."""

from __future__ import annotations

from copy import deepcopy

import cv2
import numpy as np

from shelfgap_datasets.synthetic.camera import Camera
from shelfgap_datasets.synthetic.labels import opening_mask
from shelfgap_datasets.synthetic.lens import bend
from shelfgap_datasets.synthetic.render import paint_scene
from shelfgap_datasets.synthetic.scene import EMPTY, Fixture, Opening, Stock, find_openings
from shelfgap_datasets.synthetic.warp import Image

_LEAST_SHOWN = 0.1  # of an opening's pixels; where less shows stock, everybody sees a gap
_LEAST_DIFFERENCE = 7  # of 255, from which a pixel shows stock


def paint_shown(fixture: Fixture, stock: Stock, camera: Camera, rng: np.random.Generator) -> tuple[Image, Stock]:
    """Paint a scene as the camera sees it, and return the stock that the picture shows.

    Stock shows where the picture differs from one of the same scene without its low stock. An opening of low stock
    that shows it on less than a tenth of its pixels looks empty: its facings count as empty.

    Args:
        fixture: boards, bays and facings.
        stock: state of each facing.
        camera: where it is seen from.
        rng: small differences between pieces.

    Returns:
        RGB, uint8 (height, width, 3), in even light; and the stock as it shows.
    """
    same_rng = deepcopy(rng)
    image = bend(paint_scene(fixture, stock, camera, rng), camera)
    low = [opening for opening in find_openings(fixture, stock) if opening.class_name == "low"]
    if not low:
        return image, stock
    without = bend(paint_scene(fixture, _emptied(stock, low), camera, same_rng), camera)
    shows = cv2.absdiff(image, without).max(axis=2) >= _LEAST_DIFFERENCE
    masks = [opening_mask(fixture, camera, opening) for opening in low]
    unseen = [o for o, mask in zip(low, masks, strict=True) if mask.any() and shows[mask].mean() < _LEAST_SHOWN]
    return image, _emptied(stock, unseen)


def _emptied(stock: Stock, openings: list[Opening]) -> Stock:
    setback_m = stock.setback_m.copy()
    for opening in openings:
        setback_m[opening.facings] = EMPTY
    return Stock(setback_m, stock.layers)
