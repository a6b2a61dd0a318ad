"""The multipart parser: the same frames for any split, whatever the camera's habits, and never an exception."""

from __future__ import annotations

import doctest
import importlib
import itertools
import pkgutil
from collections import Counter

import pytest
import shelfgap_edge.sources
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shelfgap_edge.sources.multipart import MultipartParser

MOST = 700


def jpeg(size: int, seed: int = 0) -> bytes:
    body = bytes((seed + i * 7) % 251 for i in range(size))  # 251 values: no FF among them
    return b"\xff\xd8\xff" + body + b"\xff\xd9"


def parse(stream: bytes, boundary: str | None = "b", cuts: list[int] | None = None) -> tuple[list[bytes], Counter[str]]:
    rejected: Counter[str] = Counter()
    parser = MultipartParser(boundary, MOST, lambda reason: rejected.update([reason]))
    frames: list[bytes] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts or ()), len(stream)]
    for start, end in itertools.pairwise(edges):
        frames += [bytes(frame) for frame in parser.feed(stream[start:end])]
    return frames, rejected


def part(
    picture: bytes,
    *,
    delimiter: bytes = b"--b",
    length: int | None = None,
    end: bytes = b"\r\n",
    extra: bytes = b"",
    after: bytes | None = None,
) -> bytes:
    stated = b"" if length is None else b"Content-Length: %d%b" % (length, end)
    tail = end if after is None else after
    return delimiter + end + b"Content-Type: image/jpeg" + end + extra + stated + end + picture + tail


HABITS = {
    "with a length": {"length": True},
    "without a length": {},
    "lines that end in LF": {"end": b"\n", "length": True},
    "no length, LF": {"end": b"\n"},
    "no line end after the picture": {"length": True, "after": b""},
    "padding after the picture": {"after": b"\0\0\0\r\n"},
    "more headers": {"extra": b"X-Timestamp: 1\r\nX-Empty:\r\n", "length": True},
    "a blank line too many": {"extra": b"\r\n"},
}


@pytest.mark.parametrize("habit", HABITS.values(), ids=HABITS.keys())
def test_each_habit_gives_every_frame(habit):
    pictures = [jpeg(size, size) for size in (0, 10, 500, MOST - 5)]
    stream = b"".join(
        part(picture, **{**habit, "length": len(picture) if habit.get("length") else None}) for picture in pictures
    )
    assert parse(stream + b"--b--") == (pictures, Counter())
    assert parse(stream + b"--b--", cuts=list(range(len(stream)))) == (pictures, Counter())


@pytest.mark.parametrize(
    ("named", "sent"),
    [
        ("b", b"--b"),
        ("--b", b"--b"),  # the dashes are counted in
        ("--b", b"----b"),  # as RFC 2046 has it
        ("b", b"b"),  # none at all
        (None, b"--any thing"),  # the server names no boundary
        ("----", b"------"),
        ("a+b(c)?", b"--a+b(c)?"),
    ],
)
def test_boundaries_as_cameras_name_them(named, sent):
    pictures = [jpeg(50, 1), jpeg(60, 2), jpeg(70, 3)]
    with_length = b"".join(part(p, delimiter=sent, length=len(p)) for p in pictures)
    without = b"".join(part(p, delimiter=sent) for p in pictures)
    assert parse(with_length + sent, named)[0] == pictures
    assert parse(b"\r\npreamble\r\n" + without + sent, named)[0] == pictures


def test_a_frame_with_a_length_does_not_wait_for_the_next():
    assert parse(part(jpeg(40), length=45))[0] == [jpeg(40)]
    assert parse(part(jpeg(40)))[0] == []


@pytest.mark.parametrize("wrong", [-20, -1, 1, 2, 3, 4, 5, 6, 20, 400])
def test_lengths_that_are_wrong_are_no_longer_believed(wrong):
    pictures = [jpeg(100 + size, size) for size in range(8)]
    stream = b"".join(part(p, length=len(p) + wrong) for p in pictures) + b"--b"
    frames, rejected = parse(stream)
    assert frames == pictures
    assert not rejected


def test_what_is_no_frame_is_rejected_by_reason_and_the_next_one_is_found():
    stream = (
        part(b"<html>busy</html>")
        + part(jpeg(100)[:60])
        + part(jpeg(MOST + 500))
        + part(jpeg(MOST + 500), length=MOST + 505)
        + b"--b\r\n"
        + b"X-Long: " + b"x" * 9_000 + b"\r\n\r\n" + jpeg(3) + b"\r\n"
        + part(jpeg(30), length=35)
    )  # fmt: skip
    frames, rejected = parse(stream)
    assert frames == [jpeg(30)]
    assert rejected == {"not-jpeg": 1, "truncated": 1, "too-large": 2, "bad-part": 1}


def test_memory_is_bounded_by_the_largest_frame():
    parser = MultipartParser("b", 100_000, lambda reason: None)
    sizes = set()
    for _ in range(200):
        parser.feed(b"--b\r\n\r\n" + b"\xff\xd8\xff" * 50_000)
        sizes.add(len(parser._buffer))
    assert max(sizes) <= 2 * (100_000 + 4 * 64 * 1024)


def test_nothing_of_a_picture_stays_in_the_parser():
    picture = b"\xff\xd8\xff" + b"CANARY" * 100 + b"\xff\xd9"
    parser = MultipartParser("b", MOST, lambda reason: None)
    (frame,) = parser.feed(part(picture) + part(picture)[:300] + b"\r\n--b")[:1]
    assert frame == picture
    assert b"CANARY" not in parser._buffer[: parser._from]
    parser.feed(b"\r\n\r\nCANARY")
    parser.close()
    assert b"CANARY" not in parser._buffer


lengths = st.one_of(st.none(), st.just("right"), st.integers(0, 4_000))
blocks = st.one_of(
    st.builds(
        lambda size, seed, length, end, delimiter: part(
            jpeg(size, seed), length=size + 5 if length == "right" else length, end=end, delimiter=delimiter
        ),
        st.integers(0, MOST + 200),
        st.integers(0, 250),
        lengths,
        st.sampled_from([b"\r\n", b"\n"]),
        st.sampled_from([b"--b", b"----b", b"b"]),
    ),
    st.binary(max_size=300),
    st.sampled_from([b"\r\n--b", b"\n", b"--b--\r\n", b"\xff\xd9", b"\xff\xd8\xff", b"content-length: 9\r\n\r\n"]),
)


@settings(deadline=None)
@example(part(jpeg(1_500), delimiter=b"b") + part(jpeg(2_000)) + part(jpeg(5)), [1024])
@given(st.lists(blocks, max_size=8).map(b"".join), st.lists(st.integers(0, 40_000), max_size=30))
def test_any_split_gives_the_same_frames_and_nothing_raises(stream, cuts):
    whole = parse(stream)
    assert parse(stream, cuts=cuts) == whole
    assert parse(stream, None, cuts) == parse(stream, None)
    for frame in whole[0]:
        assert frame.startswith(b"\xff\xd8\xff")
        assert frame.endswith(b"\xff\xd9")
        assert len(frame) <= MOST + 2


@settings(deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=6), st.lists(st.integers(0, 9_000), max_size=20))
def test_good_frames_are_all_found_whatever_the_split(sizes, cuts):
    pictures = [jpeg(size, size) for size in sizes]
    stream = b"".join(part(p, length=len(p) if i % 2 else None) for i, p in enumerate(pictures)) + b"--b"
    assert parse(stream, cuts=cuts) == (pictures, Counter())


@settings(deadline=None)
@given(st.binary(max_size=5_000), st.text(max_size=90) | st.none())
def test_garbage_never_raises(stream, boundary):
    parse(stream, boundary, [100, 200])


@pytest.mark.parametrize("module", [info.name for info in pkgutil.iter_modules(shelfgap_edge.sources.__path__)])
def test_examples_in_the_documentation(module):
    failures, _ = doctest.testmod(importlib.import_module(f"shelfgap_edge.sources.{module}"))
    assert failures == 0
