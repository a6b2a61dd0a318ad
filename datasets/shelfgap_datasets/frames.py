"""Pictures of a dataset as the device would see them."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from shelfgap_edge.errors import FrameError
from shelfgap_edge.image import decode_jpeg, frame_from_array, reduce_frame

from shelfgap_datasets.pictures import read_picture
from shelfgap_datasets.schema import DatasetError

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
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError:  # its text names an address in memory
        raise OSError("not a picture") from None
    except (SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:  # what Pillow says of damage
        raise OSError(f"damaged, or too large ({error})") from None


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


def load_picture(root: Path, file_name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Do the same with a picture of a dataset directory, and name it if it cannot be read.

    Raises:
        DatasetError: it cannot.
    """
    try:
        return load_resized(read_picture(root, file_name), size)
    except (FrameError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DatasetError(
            f"{root}: the picture {file_name} cannot be read ({reason}); run: shelfgap data check {root}"
        ) from None
