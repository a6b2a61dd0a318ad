"""Pictures as the device sees them; what is none is refused in one way, whatever Pillow makes of it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from shelfgap_datasets.frames import load_picture, read_frame
from shelfgap_datasets.schema import DatasetError


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(height: int, width: int, pixels: bytes, *, second: bytes = b"IDAT") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(pixels)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data[:9]) + chunk(second, data[9:]) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


ROWS = b"\0" + bytes(range(24))  # of 8 pixels
SOUND = png(4, 8, ROWS * 4)


def test_a_sound_picture_is_read(tmp_path):
    frame = read_frame(SOUND)
    np.testing.assert_array_equal(frame[0].reshape(-1), np.arange(24))
    jpeg = io.BytesIO()
    Image.fromarray(frame).save(jpeg, "JPEG")
    assert read_frame(jpeg.getvalue()) == jpeg.getvalue()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(SOUND)
    assert load_picture(tmp_path, "a.png", (8, 16)).shape == (8, 16, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a picture"),
        (b"GIF, it says", "not a picture"),
        (SOUND[:60], "Truncated|damaged|truncated"),
        (png(4, 8, ROWS * 4, second=b"\x01\xe8vm"), "damaged, or too large .*broken PNG"),
        (png(20_000, 20_000, ROWS), "damaged, or too large .*400000000 pixels"),
    ],
)
def test_what_is_no_picture_is_an_oserror_and_named(tmp_path, content, reason):
    with pytest.raises(OSError, match=reason):
        read_frame(content)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"the picture a\.png cannot be read \(.*({reason})"):
        load_picture(tmp_path, "a.png", (8, 16))
