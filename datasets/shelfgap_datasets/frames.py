"""Pictures of a dataset as the device would see them."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from shelfgap_edge.image import decode_jpeg, frame_from_array, reduce_frame

_JPEG_START = b"\xff\xd8\xff"


def read_frame(source: Path | bytes) -> bytes | NDArray[np.uint8]:
    """Read a picture, a path or the bytes of a file, in the form that `Detector.detect` takes.

    Returns:
        The bytes of a JPEG, else uint8 (H, W, 3) RGB.

    Raises:
        OSError: the file cannot be read, or is no picture.
    """
    data = source.read_bytes() if isinstance(source, Path) else source
    if data.startswith(_JPEG_START):
        return data
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def load_resized(source: Path | bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a picture through the device's own code and resize it to `size` (height, width).

    The device resizes inside the model; OpenCV's bilinear resize differs from that by at most one level.

    Returns:
        uint8 (height, width, 3) RGB.

    Raises:
        FrameError: a JPEG that the device would refuse.
        OSError: the file cannot be read, or is no picture.
    """
    frame = read_frame(source)
    decoded = decode_jpeg(frame, size) if isinstance(frame, bytes) else frame_from_array(frame)
    pixels = reduce_frame(decoded, size).pixels
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
