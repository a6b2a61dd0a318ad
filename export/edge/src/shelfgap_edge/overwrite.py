"""Overwrite pixels that nobody needs any more, so that they are not left in freed memory."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray


def overwrite(buffer: bytearray | NDArray[np.uint8] | None) -> None:
    """Fill a buffer with zeros; None and an empty one are left as they are.

    >>> frame = bytearray(b"pixels")
    >>> overwrite(frame)
    >>> frame == bytes(6)
    True
    """
    if isinstance(buffer, bytearray):
        memoryview(buffer)[:] = bytes(len(buffer))
    elif buffer is not None:
        buffer.fill(0)


def overwrite_bytes(data: bytes | bytearray) -> None:
    """Fill bytes that a library made and that the caller alone holds.

    Python has no other way to wipe them. Bytes of length 0 and 1 are left: the interpreter shares those.
    """
    if isinstance(data, bytearray):
        overwrite(data)
    elif len(data) > 1:
        ctypes.memset(ctypes.c_char_p(data), 0, len(data))
