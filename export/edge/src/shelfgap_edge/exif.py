"""The orientation tag of a JPEG, read by a small bounded parser: no other metadata is looked at."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_ORIENTATION_TAG = 0x0112
_SHORT = 3
_MAX_TAGS = 1024


def orientation(jpeg: bytes | bytearray) -> int:
    """Return the EXIF orientation of a JPEG, 1 to 8; 1 where the tag is absent, damaged or out of range.

    Source: JEITA CP-3451 (Exif 2.32), section 4.6.4, tag 0x0112; TIFF 6.0 for the directory.
    """
    exif = _exif_segment(jpeg)
    try:
        value = _tag_from_tiff(exif)
    except struct.error:  # the directory points outside the segment
        return 1
    return value if 1 <= value <= 8 else 1


def is_transposed(value: int) -> bool:
    """Say whether an orientation swaps height and width.

    >>> [value for value in range(1, 9) if is_transposed(value)]
    [5, 6, 7, 8]
    """
    return value >= 5


def upright(pixels: NDArray[np.uint8], value: int) -> NDArray[np.uint8]:
    """Return the pixels as they are meant to be seen.

    Args:
        pixels: uint8 (height, width, 3), as stored.
        value: EXIF orientation, 1 to 8.

    Returns:
        uint8, C-contiguous; (width, height, 3) for the values 5 to 8.
    """
    if is_transposed(value):
        pixels = pixels.transpose(1, 0, 2)
    # After the transpose of 5 to 8, what is left is a mirror in x, in y, in both or in none.
    if value in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if value in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def upright_box(
    box_xyxy: tuple[float, float, float, float], stored_size: tuple[int, int], value: int
) -> tuple[float, float, float, float]:
    """Return a box of the stored picture as it lies in the upright one (see `upright`).

    >>> upright_box((0, 0, 30, 10), (20, 40), 6)  # stored 20 high, 40 wide; shown turned to the right
    (10, 0, 20, 30)
    """
    x1, y1, x2, y2 = box_xyxy
    height, width = stored_size
    if is_transposed(value):
        x1, y1, x2, y2 = y1, x1, y2, x2
        height, width = width, height
    if value in (2, 3, 6, 7):
        x1, x2 = width - x2, width - x1
    if value in (3, 4, 7, 8):
        y1, y2 = height - y2, height - y1
    return x1, y1, x2, y2


def _exif_segment(jpeg: bytes | bytearray) -> memoryview:
    """Return the TIFF structure inside the Exif segment, empty when there is none before the first scan.

    It is a view: a copy of a part of the picture would outlive its buffer.
    """
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xDA or marker == 0xD9:  # start of scan, end of image
            break
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if length < 2:
            break
        if marker == 0xE1 and jpeg[at + 4 : at + 10] == b"Exif\0\0":
            return memoryview(jpeg)[at + 10 : at + 2 + length]
        at += 2 + length
    return memoryview(b"")


def _tag_from_tiff(tiff: memoryview) -> int:
    """Return the orientation in the first directory of a TIFF structure, 0 when it is not there."""
    mark = bytes(tiff[:2])
    if mark == b"II":
        order = "<"
    elif mark == b"MM":
        order = ">"
    else:
        return 0
    magic, directory = struct.unpack_from(order + "HI", tiff, 2)
    if magic != 42:
        return 0
    (tags,) = struct.unpack_from(order + "H", tiff, directory)
    for index in range(min(tags, _MAX_TAGS)):
        at = directory + 2 + 12 * index
        tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, at)
        if tag == _ORIENTATION_TAG:
            return int(value) if kind == _SHORT and count == 1 else 0
    return 0
