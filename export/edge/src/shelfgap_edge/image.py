"""From JPEG bytes or an array to a frame the model can take.

The resize to the network's input lies inside the model; here a frame is decoded no larger than useful, turned
upright, and averaged down where it is so large that the resize (bilinear, no antialias) would alias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from shelfgap_edge import exif
from shelfgap_edge.errors import FrameError
from shelfgap_edge.overwrite import overwrite

MAX_BODY_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000
_MAX_SCANS = 500  # a progressive JPEG of many empty scans costs minutes; libjpeg-turbo's own limit for tests
_DECODE_DIVISORS = (8, 4, 2)  # libjpeg-turbo has fast code for these; 6/8 or 3/8 is slower than full size


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """Pixels, and which part of the displayed frame they show.

    Attributes:
        pixels: uint8 (height, width, 3), RGB, C-contiguous, upright; may be smaller than the frame.
        full_size: (height, width) of the frame as displayed, in pixels.
        covered_xyxy: the area of the frame that `pixels` shows, in frame pixels. Reduced pixels do not always
            end at the border: it lies up to one reduced pixel beyond (decoding) or before it (averaging).
    """

    pixels: NDArray[np.uint8]
    full_size: tuple[int, int]
    covered_xyxy: tuple[float, float, float, float]


def read_jpeg_size(
    data: bytes | bytearray, *, max_pixels: int = MAX_PIXELS, max_body_bytes: int = MAX_BODY_BYTES
) -> tuple[int, int]:
    """Return (height, width) of a JPEG as stored, by its header; nothing is decoded.

    Args:
        data: the whole file.
        max_pixels: refuse frames of more pixels.
        max_body_bytes: refuse longer files.

    Raises:
        FrameError: not a JPEG, its header truncated, CMYK, too many pixels, scans or bytes.
    """
    if len(data) > max_body_bytes:
        raise FrameError(f"the JPEG has {len(data)} bytes, at most {max_body_bytes} are accepted", "too-large")
    height, width = _read_header(data)
    if height * width > max_pixels:
        raise FrameError(
            f"the JPEG has {width}x{height} pixels, at most {max_pixels / 1e6:g} megapixels are accepted",
            "too-many-pixels",
        )
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise FrameError(
            f"the JPEG has more than {_MAX_SCANS} scans; save it again as a baseline JPEG", "too-many-scans"
        )
    return height, width


def decode_jpeg(
    data: bytes | bytearray,
    min_size: tuple[int, int] | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> DecodedFrame:
    """Decode a JPEG, upright, at the smallest power-of-two fraction that is not below `min_size`.

    Args:
        data: the whole file. Grey becomes RGB; the EXIF orientation is applied.
        min_size: (height, width) that the displayed result must not fall below; None for full size. A frame
            that is smaller itself stays as it is.
        max_pixels: refuse frames of more pixels, by their header, before anything is decoded.
        max_body_bytes: refuse longer files.

    Returns:
        The frame, at 1, 1/2, 1/4 or 1/8 of its size.

    Raises:
        FrameError: not a JPEG, truncated, CMYK, not 8 bits a channel, too many pixels or bytes.
    """
    height, width = read_jpeg_size(data, max_pixels=max_pixels, max_body_bytes=max_body_bytes)
    turn = exif.orientation(data)
    divisor = 1
    if min_size is not None:
        min_height, min_width = min_size[::-1] if exif.is_transposed(turn) else min_size
        fitting = (n for n in _DECODE_DIVISORS if height >= n * min_height and width >= n * min_width)
        divisor = next(fitting, 1)
    reduced = (math.ceil(height / divisor), math.ceil(width / divisor))
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=reduced[0], min_width=reduced[1])
    except ValueError as error:
        raise _decode_problem(error) from None
    if pixels.shape[:2] != reduced:  # a frame of a few pixels: two scales give the same size
        divisor = 1
        overwrite(pixels)
        pixels = simplejpeg.decode_jpeg(data, "RGB")
    covered = (0.0, 0.0, float(pixels.shape[1] * divisor), float(pixels.shape[0] * divisor))
    turned = exif.upright(pixels, turn)
    if not np.shares_memory(turned, pixels):
        overwrite(pixels)
    return DecodedFrame(
        pixels=turned,
        full_size=(width, height) if exif.is_transposed(turn) else (height, width),
        covered_xyxy=exif.upright_box(covered, (height, width), turn),
    )


def frame_from_array(pixels: Any) -> DecodedFrame:
    """Take an array as a frame.

    Args:
        pixels: uint8 (height, width, 3), RGB; any strides.

    Raises:
        FrameError: not such an array, or without pixels.
    """
    expected = "expected a uint8 array (height, width, 3) in RGB"
    if not isinstance(pixels, np.ndarray):
        raise FrameError(f"{expected} or the bytes of a JPEG, got {type(pixels).__name__}")
    if pixels.dtype != np.uint8:
        raise FrameError(f"{expected}, got dtype {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise FrameError(f"{expected}, got shape {pixels.shape}")
    height, width, _ = pixels.shape
    if height == 0 or width == 0:
        raise FrameError(f"the frame has no pixels: shape {pixels.shape}")
    return DecodedFrame(
        pixels=np.ascontiguousarray(pixels),
        full_size=(height, width),
        covered_xyxy=(0.0, 0.0, float(width), float(height)),
    )


def reduce_frame(frame: DecodedFrame, input_size: tuple[int, int]) -> DecodedFrame:
    """Average a frame down by a whole factor in each axis where it is over twice the network's input.

    Bilinear resizing reads two pixels an axis, so up to a factor of 2 it sees every pixel and beyond that it
    skips some. A remainder of fewer pixels than the factor is cut off at the right and the bottom.

    Args:
        frame: any frame.
        input_size: (height, width) of the network's input.

    Returns:
        The same frame where nothing is to do; else one of at least `input_size`, with its `covered_xyxy`.
    """
    height, width = frame.pixels.shape[:2]
    factor_y, factor_x = averaging_factor(height, input_size[0]), averaging_factor(width, input_size[1])
    if factor_y == factor_x == 1:
        return frame
    reduced_height, reduced_width = height // factor_y, width // factor_x
    x1, y1, x2, y2 = frame.covered_xyxy
    return DecodedFrame(
        pixels=_box_average(frame.pixels, factor_y, factor_x),
        full_size=frame.full_size,
        covered_xyxy=(
            x1,
            y1,
            x1 + (x2 - x1) * (reduced_width * factor_x / width),
            y1 + (y2 - y1) * (reduced_height * factor_y / height),
        ),
    )


def averaging_factor(before: int, after: int) -> int:
    """Return how many pixels of an axis are averaged to one before a bilinear resize: 1 up to twice the length.

    >>> averaging_factor(640, 320), averaging_factor(960, 320)
    (1, 3)
    """
    return before // after if before > 2 * after else 1


def _box_average(pixels: NDArray[np.uint8], factor_y: int, factor_x: int) -> NDArray[np.uint8]:
    # Strided sums, rows first: 10 times faster than a reshape to five axes and a mean.
    height = pixels.shape[0] // factor_y * factor_y
    width = pixels.shape[1] // factor_x * factor_x
    cells = factor_y * factor_x
    # 16 bits hold 256 cells and are faster.
    dtype: type[np.uint16 | np.uint32] = np.uint16 if cells <= 256 else np.uint32
    rows: NDArray[Any] = pixels[0:height:factor_y].astype(dtype)
    for offset in range(1, factor_y):
        rows += pixels[offset:height:factor_y]
    total = rows[:, 0:width:factor_x].copy()
    for offset in range(1, factor_x):
        total += rows[:, offset:width:factor_x]
    total += dtype(cells // 2)  # round to nearest
    total //= dtype(cells)
    return total.astype(np.uint8)


def _read_header(data: bytes | bytearray) -> tuple[int, int]:
    if not data:
        raise FrameError("the file is empty, expected a JPEG", "empty")
    if not data.startswith(b"\xff\xd8\xff"):
        raise FrameError(f"not a JPEG: starts with {data[:4].hex(' ')}, expected ff d8 ff", "not-jpeg")
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        if b"\xff\xd9" not in data:  # no end of image: cut within the header
            raise FrameError("the JPEG cannot be decoded: truncated within its header", "truncated") from None
        raise _decode_problem(error) from None
    if colorspace in ("CMYK", "YCCK"):
        raise FrameError(f"the JPEG is {colorspace}, expected RGB or grey; convert it first", "cmyk")
    return height, width


def _decode_problem(error: ValueError) -> FrameError:
    text = str(error)
    if "Premature end" in text:
        return FrameError("the JPEG is truncated: its data end before the picture does", "truncated")
    if "Could not determine subsampling" in text:  # what libjpeg-turbo says of any header it cannot follow
        return FrameError("the JPEG's header is truncated or damaged")
    return FrameError(f"the JPEG cannot be decoded: {' '.join(text.split())}")
