from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps
from shelfgap_edge import exif
from shelfgap_edge.errors import FrameError
from shelfgap_edge.image import decode_jpeg, frame_from_array, reduce_frame
from shelfgap_edge.overwrite import overwrite


def scene(height, width):
    """Smooth and without symmetry, so that a wrong turn shows and decoders agree."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 255 / width, y * 255 / height
    return np.stack([red, green, (red + 2 * green) / 3], axis=2).astype(np.uint8)


def bright_centre(frame):
    """The centre of the bright square in pixels of the displayed frame."""
    grey = frame.pixels.astype(np.float64).mean(axis=2)
    weights = grey - np.median(grey)  # linear, so that averaging pixels moves nothing
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]] + 0.5
    x1, y1, x2, y2 = frame.covered_xyxy
    return (
        x1 + (x2 - x1) * (weights * x).sum() / weights.sum() / grey.shape[1],
        y1 + (y2 - y1) * (weights * y).sum() / weights.sum() / grey.shape[0],
    )


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("size", [(48, 80), (97, 61)])
def test_orientation_is_that_of_pillow(to_jpeg, orientation, size):
    jpeg = to_jpeg(scene(*size), orientation, subsampling=0)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))))
    frame = decode_jpeg(jpeg)
    assert frame.pixels.shape == expected.shape
    assert frame.full_size == expected.shape[:2]
    assert frame.pixels.flags.c_contiguous
    assert frame.pixels.dtype == np.uint8
    assert np.abs(frame.pixels.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("orientation", [2, 6])
def test_what_a_turned_picture_was_made_of_is_overwritten(to_jpeg, orientation, monkeypatch):
    wiped = []
    monkeypatch.setattr("shelfgap_edge.image.overwrite", lambda pixels: wiped.append((pixels, overwrite(pixels))))
    frame = decode_jpeg(to_jpeg(scene(40, 60), orientation))
    ((stored, _),) = wiped
    assert stored.shape == (40, 60, 3)
    assert not stored.any()
    assert frame.pixels.any()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_in_both_byte_orders(orientation, order):
    mark = b"II" if order == "<" else b"MM"
    entries = struct.pack(order + "HHIHH", 0x010F, 2, 1, 65, 0)  # another tag first
    entries += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = mark + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", 2) + entries
    body = b"Exif\0\0" + tiff
    xmp = b"\xff\xe1" + struct.pack(">H", 6) + b"http"
    jpeg = b"\xff\xd8" + xmp + b"\xff\xff\xe1" + struct.pack(">H", len(body) + 2) + body + b"\xff\xda"
    assert exif.orientation(jpeg) == orientation


@pytest.mark.parametrize(
    "tiff",
    [
        b"",
        b"II",
        b"XX*\0\x08\0\0\0",
        b"II+\0\x08\0\0\0\0\0",
        b"II*\0\xff\xff\xff\x7f",  # a directory far outside
        b"II*\0\x08\0\0\0\xff\xff" + bytes(20),  # more tags than bytes
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 9, 0),  # out of range
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 2, 1, 6, 0),  # not a number
    ],
)
def test_damaged_exif_counts_as_upright(tiff):
    body = b"Exif\0\0" + tiff
    jpeg = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(body) + 2) + body + b"\xff\xda"
    assert exif.orientation(jpeg) == 1
    assert exif.orientation(jpeg[: len(jpeg) // 2]) == 1


def test_grey_becomes_rgb():
    buffer = io.BytesIO()
    Image.fromarray(scene(40, 50)[..., 0]).save(buffer, "JPEG")
    pixels = decode_jpeg(buffer.getvalue()).pixels
    assert pixels.shape == (40, 50, 3)
    assert (pixels[..., 0] == pixels[..., 2]).all()


@pytest.mark.parametrize(
    ("size", "min_size", "expected"),
    [
        ((480, 640), (320, 320), (480, 640)),
        ((640, 640), (320, 320), (320, 320)),
        ((639, 640), (320, 320), (639, 640)),
        ((1000, 1300), (100, 150), (125, 163)),
        ((1001, 1301), (100, 100), (126, 163)),
        ((200, 3000), (100, 100), (100, 1500)),
        ((50, 60), (320, 320), (50, 60)),
        ((3, 5), (1, 1), (2, 3)),
        ((1, 1), (1, 1), (1, 1)),
    ],
)
def test_reduced_decode_is_never_below_the_minimum(to_jpeg, size, min_size, expected):
    frame = decode_jpeg(to_jpeg(scene(*size)), min_size)
    assert frame.pixels.shape[:2] == expected
    assert frame.full_size == size
    assert all(got >= min(n, low) for got, n, low in zip(expected, size, min_size, strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduced_and_turned_frames_keep_positions(to_jpeg, bright_square, orientation):
    stored = bright_square((403, 613), (301, 83, 397, 127))
    jpeg = to_jpeg(stored, orientation, quality=100, subsampling=0)
    full = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))))
    min_size = (40, 60) if full.shape[0] < full.shape[1] else (60, 40)
    decoded = decode_jpeg(jpeg, min_size)
    assert max(decoded.pixels.shape) == 77  # 613 / 8
    reduced = reduce_frame(decode_jpeg(jpeg, (100, 100)), (50, 50))
    assert reduced.pixels.shape[0] < 101
    truth = bright_centre(decode_jpeg(jpeg))
    expected_truth = frame_from_array(full)
    assert truth == pytest.approx(bright_centre(expected_truth), abs=0.05)
    for frame in (decoded, reduced):
        assert frame.full_size == full.shape[:2]
        assert bright_centre(frame) == pytest.approx(truth, abs=0.1)


@pytest.mark.parametrize("fraction", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("min_size", [None, (32, 32)])
def test_truncated_is_refused(to_jpeg, fraction, min_size):
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    jpeg = to_jpeg(noise)
    with pytest.raises(FrameError, match="truncated"):
        decode_jpeg(jpeg[: int(len(jpeg) * fraction)], min_size)


def png_16_bit():
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 20), 40_000, dtype=np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg_12_bit(to_jpeg):
    jpeg = bytearray(to_jpeg(scene(32, 32)))
    jpeg[jpeg.index(b"\xff\xc0") + 4] = 12  # bits a sample in the frame header
    return bytes(jpeg)


def jpeg_cmyk():
    buffer = io.BytesIO()
    Image.new("CMYK", (32, 32), (10, 20, 30, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"this is a text file named .jpg", "not a JPEG: starts with 74 68 69 73"),
        (b"\xff\xd8", "not a JPEG"),
        (b"\xff\xd8\xff\xd9", "header is truncated or damaged"),
        (b"\xff\xd8\xff" + bytes(200), "truncated or damaged|cannot be decoded"),
        (png_16_bit(), "not a JPEG: starts with 89 50 4e 47"),
        (jpeg_cmyk(), "is CMYK, expected RGB or grey"),
    ],
)
def test_what_is_no_rgb_jpeg_is_refused_in_one_line(data, reason):
    with pytest.raises(FrameError, match=reason) as caught:
        decode_jpeg(data)
    assert "\n" not in str(caught.value)


def test_twelve_bits_are_refused(to_jpeg):
    with pytest.raises(FrameError, match="data precision 12"):
        decode_jpeg(jpeg_12_bit(to_jpeg))


def test_limits_hold_before_decoding(to_jpeg):
    jpeg = to_jpeg(scene(100, 100))
    with pytest.raises(FrameError, match=r"100x100 pixels, at most 0\.009 megapixels"):
        decode_jpeg(jpeg, max_pixels=9_000)
    with pytest.raises(FrameError, match="at most 100 are accepted"):
        decode_jpeg(jpeg, max_body_bytes=100)
    bomb = bytearray(to_jpeg(scene(16, 16)))
    at = bomb.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = struct.pack(">HH", 65_000, 65_000)  # claims four gigapixels
    with pytest.raises(FrameError, match="65000x65000 pixels, at most 50 megapixels"):
        decode_jpeg(bytes(bomb))
    with pytest.raises(FrameError, match="more than 500 scans"):
        decode_jpeg(jpeg + b"\xff\xda" * 500)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4, 3), np.float32), "got dtype float32"),
        (np.zeros((4, 4, 3), np.uint16), "got dtype uint16"),
        (np.zeros((4, 4), np.uint8), r"got shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"got shape \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        ("shelf.jpg", "got str"),
        (None, "got NoneType"),
    ],
)
def test_arrays_that_are_no_frame_are_refused(array, reason):
    with pytest.raises(FrameError, match=reason):
        frame_from_array(array)


def test_a_strided_array_becomes_contiguous():
    array = scene(40, 60)[::2, ::-1]
    frame = frame_from_array(array)
    assert frame.pixels.flags.c_contiguous
    assert (frame.pixels == array).all()


@pytest.mark.parametrize(
    ("size", "expected", "covered"),
    [
        ((64, 64), (64, 64), (0, 0, 64, 64)),
        ((128, 128), (128, 128), (0, 0, 128, 128)),  # exactly twice: bilinear is the average already
        ((129, 100), (64, 100), (0, 0, 100, 128)),  # the last row is cut off
        ((200, 330), (66, 66), (0, 0, 330, 198)),
        ((30, 700), (30, 70), (0, 0, 700, 30)),
    ],
)
def test_reduce_frame_sizes(size, expected, covered):
    frame = reduce_frame(frame_from_array(scene(*size)), (64, 64))
    assert frame.pixels.shape[:2] == expected
    assert frame.covered_xyxy == pytest.approx(covered)
    assert frame.full_size == size
    assert frame.pixels.flags.c_contiguous


@pytest.mark.parametrize("factors", [(3, 1), (1, 4), (3, 5), (17, 16)])
def test_reduce_frame_averages(factors):
    noise = np.random.default_rng(1).integers(0, 256, (16 * factors[0], 16 * factors[1], 3), dtype=np.uint8)
    expected = noise.reshape(16, factors[0], 16, factors[1], 3).mean(axis=(1, 3))
    got = reduce_frame(frame_from_array(noise), (16, 16)).pixels
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 0.5


def test_a_fine_grid_does_not_alias(to_jpeg):
    grid = np.zeros((640, 640, 3), np.uint8)
    grid[:, ::2] = 255
    reduced = reduce_frame(frame_from_array(grid), (64, 64)).pixels
    assert reduced.std() < 1
