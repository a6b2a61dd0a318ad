"""Near-duplicate pictures: a perceptual hash, with its mirror image, and a search that does not compare all pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.coco import IMAGES_DIR
from shelfgap_datasets.frames import load_resized
from shelfgap_datasets.schema import ImageRecord

HASH_BITS = 64
_SIDE = 32  # the picture is shrunk to this before the transform
_KEEP = 8  # lowest frequencies of each axis, without the mean


def perceptual_hash(image_rgb: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the 64-bit perceptual hash of a picture and of its mirror image.

    Signs of the 8x8 lowest frequencies of a DCT, the constant row and column left out, against their median.

    Args:
        image_rgb: uint8 (H, W, 3).

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010), DCT hash.
    """
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = np.asarray(cv2.dct(small)[1 : _KEEP + 1, 1 : _KEEP + 1], np.float32)
    # Mirroring a picture negates every odd horizontal frequency.
    mirrored = low * np.where(np.arange(1, _KEEP + 1) % 2 == 1, -1, 1).astype(np.float32)
    return _pack(low), _pack(mirrored)


def hash_images(
    root: Path, records: Sequence[ImageRecord], progress: Callable[[int, int], None] | None = None
) -> NDArray[np.uint64]:
    """Hash the pictures of a dataset.

    Returns:
        uint64 (N, 2): hash, and hash of the mirror image.

    Raises:
        OSError: a picture cannot be read.
        FrameError: a JPEG is damaged.
    """
    hashes = np.zeros((len(records), 2), np.uint64)
    for row, record in enumerate(records):
        hashes[row] = perceptual_hash(load_resized(root / IMAGES_DIR / record.file_name, (4 * _SIDE, 4 * _SIDE)))
        if progress is not None:
            progress(row + 1, len(records))
    return hashes


def near_pairs(hashes: NDArray[np.uint64], max_distance: int) -> list[tuple[int, int]]:
    """Return the pairs (i < j) whose hashes, one of them mirrored or not, differ in few bits.

    Two hashes that differ in at most d bits agree in at least one of d + 1 bands, so only pictures that share
    a band are compared.

    Args:
        hashes: uint64 (N, 2) from `hash_images`.
        max_distance: bits that may differ, 0 to 63.

    Source: Manku, Jain, Das Sarma, "Detecting near-duplicates for web crawling" (WWW 2007).
    """
    edges = np.linspace(0, HASH_BITS, max_distance + 2).round().astype(int)
    found: set[tuple[int, int]] = set()
    for low, high in pairwise(edges):
        bands = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        buckets: dict[int, list[int]] = defaultdict(list)
        for index, band in enumerate(bands[:, 0].tolist()):
            buckets[band].append(index)
        members = {band: np.array(rows) for band, rows in buckets.items()}
        for index, both in enumerate(bands.tolist()):
            for side in (0, 1):
                others = members.get(both[side])
                if others is None:
                    continue
                distance = np.bitwise_count(hashes[others, 0] ^ hashes[index, side])
                for other in others[(distance <= max_distance) & (others != index)].tolist():
                    found.add((min(index, other), max(index, other)))
    return sorted(found)


def join_groups(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each of `count` items the lowest number among the items it is linked to, directly or not.

    >>> join_groups(4, [(1, 2), (2, 3)])
    [0, 1, 1, 1]
    """
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for one, two in pairs:
        low, high = sorted((root(one), root(two)))
        parent[high] = low
    return [root(item) for item in range(count)]


def _pack(values: NDArray[np.float32]) -> int:
    bits = (values > np.median(values)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
