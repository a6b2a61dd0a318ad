"""Cut a multipart/x-mixed-replace stream into JPEGs, chunk by chunk, in bounded memory.

Cameras bend the format: boundaries whose dashes are already counted in, lines that end in LF, parts without a
length or with a wrong one, padding after the picture. What cannot be a whole JPEG is rejected and the parser goes on
at the next boundary. The same bytes give the same frames however they are split.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from shelfgap_edge.overwrite import overwrite

_LINE_BYTES = 1024
_PADDING_BYTES = 768  # allowed around a picture; with the longest boundary it stays below _LINE_BYTES
_LINE_END_BYTES = 4
_HEADER_BYTES = 8 * 1024
_PIECE_BYTES = 64 * 1024
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_MARGIN_BYTES = 4096  # searched for the start of the picture before it, and for its end after it
_LINE_END = re.compile(rb"\n")
_HEADER_END = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?\n", re.IGNORECASE)
_ANY_BOUNDARY = re.compile(rb"\n--(?=[^\r\n]{1,200}\r?\n)")  # where the server names none: the first that looks like it


class MultipartParser:
    r"""A parser for one connection.

    Args:
        boundary: as the Content-Type names it; None where it does not.
        max_frame_bytes: larger parts are rejected.
        reject: called with the reason for each part that is no frame: "bad-part", "not-jpeg", "too-large", "truncated".

    >>> parser = MultipartParser("b", 100, print)
    >>> parser.feed(b"--b\r\n\r\n\xff\xd8\xff pict")
    []
    >>> parser.feed(b"ure \xff\xd9\r\n--b\r\n\r\ntext\r\n--b")
    not-jpeg
    [bytearray(b'\xff\xd8\xff picture \xff\xd9')]
    """

    def __init__(self, boundary: str | None, max_frame_bytes: int, reject: Callable[[str], None]) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._reject = reject
        self._boundary = _boundary_pattern(boundary.encode("latin-1", "replace")) if boundary else None
        self._overlap = _LINE_BYTES  # bytes at the end that may be the beginning of a boundary
        self._buffer = bytearray(_PIECE_BYTES)
        self._buffer[0] = ord("\n")  # a boundary stands at the start of a line, and so may the first byte
        self._from, self._to = 0, 1
        self._searched = 0
        self._lengths_hold = True
        self._length = 0
        self._gap: int | None = None  # bytes since the end of a part that stated its length
        self._frames: list[bytearray] = []
        self._step: Callable[[], bool] = self._seek

    def feed(self, chunk: bytes) -> list[bytearray]:
        """Take the next bytes and return the JPEGs that are complete with them, oldest first."""
        for at in range(0, len(chunk), _PIECE_BYTES):
            self._append(memoryview(chunk)[at : at + _PIECE_BYTES])
            while self._step():
                pass
        frames, self._frames = self._frames, []
        return frames

    def close(self) -> None:
        """Overwrite what is left."""
        overwrite(self._buffer)
        self._from = self._to = self._searched = 0

    # Each step looks at the bytes from `_from` to `_to`; it returns False when it needs more of them.

    def _seek(self) -> bool:
        pattern = self._boundary or _ANY_BOUNDARY
        found = pattern.search(self._buffer, self._searched, self._to)
        self._note_gap(self._to - self._overlap if found is None else found.start())
        if found is None:
            self._drop(max(self._from, self._to - self._overlap))
            return False
        if self._boundary is None:
            end = self._buffer.index(b"\n", found.end(), self._to)
            self._boundary = _boundary_pattern(bytes(self._buffer[found.end() : end]).rstrip())
            self._drop(found.start())  # one without dashes before it may be gone already, or not
            return True
        self._gap = None
        self._drop(found.end())
        self._step = self._read_boundary_line
        return True

    def _read_boundary_line(self) -> bool:
        found = self._find(_LINE_END, _LINE_BYTES)
        if found is None:
            return self._wait_for_more(_LINE_BYTES)
        is_last = self._buffer[self._from : self._from + 2] == b"--"
        self._drop(found.start())  # the line end stays: headers may be none
        self._step = self._seek if is_last else self._read_headers
        return True

    def _read_headers(self) -> bool:
        found = self._find(_HEADER_END, _HEADER_BYTES)
        if found is None:
            return self._wait_for_more(_HEADER_BYTES)
        stated = _LENGTH.search(self._buffer, self._from, found.end())
        length = int(stated[1]) if stated is not None and self._lengths_hold else 0
        self._drop(found.end())
        self._length = length
        if length > self._max_frame_bytes:
            self._skip("too-large")
        else:
            self._step = self._read_stated if length else self._read_open
        return True

    def _read_stated(self) -> bool:
        end = self._from + self._length
        if self._to < end:
            return False
        assert self._boundary is not None
        is_whole = _whole_jpeg(self._buffer, self._from, end) is not None
        if not is_whole or self._boundary.search(self._buffer, self._from, end):
            self._lengths_hold = False  # or it is no picture: that is found out by reading up to the boundary
            self._step = self._read_open
            return True
        self._take(end)
        self._buffer[end - 1] = ord("\n")  # some cameras put no line end before the boundary
        self._drop(end - 1)
        self._gap = 0
        self._step = self._seek
        return True

    def _read_open(self) -> bool:
        assert self._boundary is not None
        found = self._boundary.search(self._buffer, max(self._from, self._searched), self._to)
        if found is not None:
            self._take(found.start())
            self._drop(found.start())
            self._step = self._seek
            return True
        if self._to - self._from > self._max_frame_bytes + self._overlap:
            self._skip("too-large")
            return True
        self._searched = max(self._from, self._to - self._overlap)
        return False

    def _take(self, end: int) -> None:
        if end - self._from > self._max_frame_bytes + _PADDING_BYTES:
            self._reject("too-large")
            return
        picture = _whole_jpeg(self._buffer, self._from, end)
        if picture is None:
            starts = self._buffer.find(_START, self._from, min(end, self._from + _MARGIN_BYTES)) >= 0
            self._reject("truncated" if starts else "not-jpeg")
            return
        if picture[1] - picture[0] > self._max_frame_bytes:
            self._reject("too-large")
            return
        with memoryview(self._buffer) as whole:
            self._frames.append(bytearray(whole[picture[0] : picture[1]]))

    def _note_gap(self, end: int) -> None:
        """Stop believing in lengths where after one of them something else than a boundary follows."""
        if self._gap is not None:
            self._gap += max(0, end - self._from)
            self._lengths_hold &= self._gap <= _LINE_END_BYTES

    def _find(self, pattern: re.Pattern[bytes], limit: int) -> re.Match[bytes] | None:
        return pattern.search(self._buffer, self._from, min(self._to, self._from + limit))

    def _wait_for_more(self, limit: int) -> bool:
        if self._to - self._from < limit:
            return False
        self._skip("bad-part")
        return True

    def _skip(self, reason: str) -> None:
        self._reject(reason)
        self._searched = self._from
        self._step = self._seek

    def _drop(self, end: int) -> None:
        with memoryview(self._buffer) as whole:
            whole[self._from : end] = bytes(end - self._from)
        self._from = self._searched = end

    def _append(self, piece: memoryview) -> None:
        if self._to + len(piece) > len(self._buffer):
            self._make_room(len(piece))
        with memoryview(self._buffer) as room:
            room[self._to : self._to + len(piece)] = piece
        self._to += len(piece)

    def _make_room(self, size: int) -> None:
        """Move what is kept to the front, of a larger buffer if it must be, and overwrite where it was."""
        kept, old = self._to - self._from, self._buffer
        fits = kept + size <= len(old)
        new = old if fits else bytearray(2 * (kept + size))
        with memoryview(old) as source, memoryview(new) as target:
            target[:kept] = source[self._from : self._to]
            stale = source[kept if fits else 0 : self._to]
            stale[:] = bytes(len(stale))
            stale.release()
        self._buffer = new
        self._searched -= self._from
        self._from, self._to = 0, kept


def _boundary_pattern(boundary: bytes) -> re.Pattern[bytes]:
    # RFC 2046 puts two dashes before the boundary; many cameras count them in, some leave them out.
    core = boundary.lstrip(b"-") or boundary
    return re.compile(rb"\n-{0,8}" + re.escape(core[:200]))


def _whole_jpeg(data: bytearray, start: int, end: int) -> tuple[int, int] | None:
    """Return from where to where a JPEG reaches in a part, without what stands before and after it."""
    first = data.find(_START, start, min(end, start + _MARGIN_BYTES))
    if first < 0:
        return None
    last = data.rfind(_END, max(first, end - _MARGIN_BYTES), end)
    return None if last < 0 else (first, last + len(_END))
