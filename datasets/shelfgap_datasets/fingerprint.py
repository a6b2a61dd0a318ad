"""Perceptual fingerprints of pictures: alike for copies that were mirrored, rescaled, recompressed or turned."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.frames import load_picture
from shelfgap_datasets.schema import ImageRecord

HASH_BITS = 64
_LOADED = 128  # pictures are squeezed to a square of this side first
_SIDE = 32  # and to this one before the transform
_KEEP = 8  # lowest frequencies of each axis, without the mean
_CENTRE_SHARE = 0.6  # of width and height: what every turn leaves inside the frame
_MASK = 64  # side of the grid on which black corners are looked for
_BLACK = 20  # level below which a pixel may be filling
_ANGLES = tuple(a for a in range(-45, 46) if abs(a) >= 2)  # degrees


class Fingerprints(NamedTuple):
    """Fingerprints of N pictures; of each hash, the second column is that of the mirror image."""

    whole: NDArray[np.uint64]  # (N, 2)
    centre: NDArray[np.uint64]  # (N, 2), of the upright middle
    is_turned: NDArray[np.bool_]  # (N,), black corners show that the picture was turned

    def of(self, chosen: NDArray[np.bool_]) -> Fingerprints:
        """Return those of some of the pictures, bool (N,)."""
        return Fingerprints(self.whole[chosen], self.centre[chosen], self.is_turned[chosen])


class Turn(NamedTuple):
    """How a picture was turned: degrees, and (height, width) of its upright frame in canvas heights."""

    degrees: float
    frame: tuple[float, float]


def fingerprint_images(
    root: Path, records: Sequence[ImageRecord], progress: Callable[[int, int], None] | None = None
) -> Fingerprints:
    """Take the fingerprints of pictures of a dataset, on all cores.

    Raises:
        DatasetError: a picture cannot be read.
    """

    def take(record: ImageRecord) -> tuple[tuple[int, int], tuple[int, int], bool]:
        image = load_picture(root, record.file_name, (_LOADED, _LOADED))
        return fingerprint(image, record.width / record.height)

    whole, centre = np.zeros((2, len(records), 2), np.uint64)
    is_turned = np.zeros(len(records), np.bool_)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for row, found in enumerate(pool.map(take, records)):
            whole[row], centre[row], is_turned[row] = found
            if progress is not None:
                progress(row + 1, len(records))
    return Fingerprints(whole, centre, is_turned)


def fingerprint(image_rgb: NDArray[np.uint8], aspect: float) -> tuple[tuple[int, int], tuple[int, int], bool]:
    """Return the hash of a picture and of its mirror image, the same of its upright middle, and if it was turned.

    Args:
        image_rgb: uint8 (S, S, 3), squeezed to a square.
        aspect: width by height of the picture itself.
    """
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    turn = find_turn(image_rgb, aspect)
    return _hash(grey), _hash(_middle(grey, aspect, turn or Turn(0.0, (1.0, aspect)))), turn is not None


def find_turn(image_rgb: NDArray[np.uint8], aspect: float) -> Turn | None:
    """Find out from black corners how a picture was turned about its middle, or return None.

    The canvas may have kept its size, so that corners were cut off, or have grown to hold all of the picture.

    Args:
        image_rgb: uint8 (S, S, 3), squeezed to a square.
        aspect: width by height of the picture itself.
    """
    small = cv2.resize(image_rgb, (_MASK, _MASK), interpolation=cv2.INTER_AREA)
    black = np.asarray(small.max(2) < _BLACK)
    if np.count_nonzero(black[[0, 0, -1, -1], [0, -1, 0, -1]]) < 3:
        return None
    filling = black.ravel().astype(np.float32)
    best: tuple[float, Turn | None] = (0.4, None)
    for grown in (False, True):
        outside, rim, turns = _corner_masks(round(aspect, 2), grown)
        share_outside = (outside @ filling) / np.maximum(outside.sum(1), 1)
        share_rim = (rim @ filling) / np.maximum(rim.sum(1), 1)
        clear = (outside.sum(1) > 12) & (share_outside > 0.95)
        contrast = np.where(clear, share_outside - share_rim, -1)
        if (score := float(contrast.max())) > best[0]:
            best = score, turns[int(contrast.argmax())]
    return best[1]


def _hash(grey: NDArray[np.float32]) -> tuple[int, int]:
    """Return the hash of a grey picture and of its mirror image.

    Signs of the 8x8 lowest frequencies of a DCT, the constant row and column left out, against their median.

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010), DCT hash.
    """
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = np.asarray(cv2.dct(small)[1 : _KEEP + 1, 1 : _KEEP + 1], np.float32)
    # Mirroring a picture negates every odd horizontal frequency.
    mirrored = low * np.where(np.arange(1, _KEEP + 1) % 2 == 1, -1, 1).astype(np.float32)
    return _pack(low), _pack(mirrored)


def _middle(grey: NDArray[np.float32], aspect: float, turn: Turn) -> NDArray[np.float32]:
    """Cut the middle out of a picture, turned back upright; float32 (64, 64)."""
    height, width = turn.frame
    steps = ((np.arange(2 * _SIDE) + 0.5) / (2 * _SIDE) - 0.5) * _CENTRE_SHARE
    u, v = np.meshgrid(steps * width, steps * height)
    cos, sin = np.cos(np.radians(turn.degrees)), np.sin(np.radians(turn.degrees))
    x, y = (u * cos - v * sin) / aspect + 0.5, u * sin + v * cos + 0.5
    side = len(grey)
    columns, rows = (x * side - 0.5).astype(np.float32), (y * side - 0.5).astype(np.float32)
    return np.asarray(cv2.remap(grey, columns, rows, cv2.INTER_LINEAR), np.float32)


@lru_cache(maxsize=64)
def _corner_masks(aspect: float, grown: bool) -> tuple[NDArray[np.float32], NDArray[np.float32], list[Turn]]:
    """Tabulate, for each angle, which cells of the grid lie outside the turned picture and which on its rim.

    Returns:
        Two float32 (A, 64 * 64) of zeros and ones, and the A turns.
    """
    cells = (np.arange(_MASK) + 0.5) / _MASK - 0.5
    x, y = np.meshgrid(cells * aspect, cells)
    outside, rim, turns = [], [], []
    cell = 1 / _MASK
    for degrees in _ANGLES:
        height, width = _upright_frame(aspect, degrees) if grown else (1.0, aspect)
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        u, v = np.abs(x * cos + y * sin) - width / 2, np.abs(-x * sin + y * cos) - height / 2
        beyond = np.maximum(u, v)  # how far outside the turned picture a cell lies
        if min(height, width) < 0.1:  # no picture has this canvas at this angle
            beyond[:] = -1
        outside.append((beyond > 0.75 * cell).ravel())
        rim.append(((beyond > -2.25 * cell) & (beyond <= -0.75 * cell)).ravel())
        turns.append(Turn(float(degrees), (height, width)))
    return np.array(outside, np.float32), np.array(rim, np.float32), turns


def _upright_frame(aspect: float, degrees: float) -> tuple[float, float]:
    """Return (height, width) of the picture whose turned outline just fits a canvas 1 high and `aspect` wide."""
    cos, sin = np.cos(np.radians(abs(degrees))), np.sin(np.radians(abs(degrees)))
    spread = cos * cos - sin * sin
    if spread < 0.05:
        return 1.0, aspect
    return float((cos - aspect * sin) / spread), float((aspect * cos - sin) / spread)


def _pack(values: NDArray[np.float32]) -> int:
    bits = (values > np.median(values)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
