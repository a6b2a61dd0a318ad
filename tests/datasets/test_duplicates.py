"""Copies of a picture are found whatever was done to them, and the search finds what comparing all pairs would."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_datasets.duplicates import join_groups, near_pairs
from shelfgap_datasets.fingerprint import Fingerprints, find_turn, fingerprint
from shelfgap_datasets.params import DuplicateParams, SynthParams
from shelfgap_datasets.synthetic.stills import render_still

PARAMS = DuplicateParams(max_hash_distance=6, max_turned_distance=10)
SIZE = (240, 320)
SYNTH = SynthParams(count=1, seed=5, height=SIZE[0], width=SIZE[1], shelves_per_scene=1, products=None)


@pytest.fixture(scope="module")
def pictures():
    return [render_still(SYNTH.seed, scene, 0, SIZE).image_rgb for scene in range(12)]


def take(image):
    squeezed = cv2.resize(np.ascontiguousarray(image), (128, 128), interpolation=cv2.INTER_AREA)
    return fingerprint(squeezed, image.shape[1] / image.shape[0])


def prints_of(images) -> Fingerprints:
    whole, centre, turned = zip(*map(take, images), strict=True)
    return Fingerprints(np.array(whole, np.uint64), np.array(centre, np.uint64), np.array(turned))


def groups_of(images):
    return join_groups(len(images), near_pairs(prints_of(images), PARAMS)).tolist()


def recompress(image, quality=30):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def turn(image, degrees, grow=False):
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), degrees, 1)
    if not grow:
        return cv2.warpAffine(image, matrix, (width, height))
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    wide, high = int(height * sin + width * cos), int(height * cos + width * sin)
    matrix[:, 2] += (wide - width) / 2, (high - height) / 2
    return cv2.warpAffine(image, matrix, (wide, high))


COPIES = {
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "rescaled": lambda image: cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA),
    "recompressed": recompress,
    "squeezed": lambda image: cv2.resize(image, (200, 200), interpolation=cv2.INTER_AREA),
    "darkened": lambda image: (image * 0.7).astype(np.uint8),
    **{f"turned by {d}": lambda image, d=d: turn(image, d) for d in (3, -5, 10, -15)},
    "turned on a larger canvas": lambda image: turn(image, 12, grow=True),
    "turned, mirrored and recompressed": lambda image: recompress(turn(np.ascontiguousarray(image[:, ::-1]), 8), 60),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_and_no_stranger(pictures, kind):
    copies = [COPIES[kind](image) for image in pictures]
    groups = groups_of([*pictures, *copies])
    assert groups[: len(pictures)] == list(range(len(pictures)))
    found = sum(a == b for a, b in zip(groups, groups[len(pictures) :], strict=False))
    assert found >= len(pictures) - 1


@pytest.mark.parametrize("grow", [False, True])
@pytest.mark.parametrize("degrees", [-25, -9, -3, 4, 17, 38])
def test_the_angle_is_read_from_black_corners(pictures, degrees, grow):
    for image in pictures[:6]:
        bright = np.maximum(image, 40)  # no black inside
        turned = turn(bright, degrees, grow)
        small = cv2.resize(turned, (128, 128), interpolation=cv2.INTER_AREA)
        found = find_turn(small, turned.shape[1] / turned.shape[0])
        assert found is not None
        assert found.degrees == pytest.approx(-degrees, abs=2)  # OpenCV turns the other way round
        assert find_turn(cv2.resize(bright, (128, 128)), 4 / 3) is None


def test_a_black_picture_was_not_turned():
    assert find_turn(np.zeros((128, 128, 3), np.uint8), 4 / 3) is None


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30), st.integers(0, 30))
def test_join_groups_is_the_transitive_closure(pairs, cut):
    reach = np.eye(20, dtype=bool)
    for one, two in pairs:
        reach[one, two] = reach[two, one] = True
    for _ in range(20):
        reach = reach @ reach
    links = np.array(pairs, np.int64).reshape(-1, 2)
    assert join_groups(20, [links[:cut], links[cut:]]).tolist() == [int(row.argmax()) for row in reach]


@settings(deadline=None)
@given(st.data(), st.integers(0, 12), st.integers(0, 12))
def test_the_search_joins_what_comparing_all_pairs_would(data, whole_distance, turned_distance):
    flips = st.lists(st.integers(0, 63), max_size=14)

    def draw_hashes(count: int) -> np.ndarray:
        base = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=count, max_size=count))
        values = list(base) + [b ^ sum(1 << f for f in set(data.draw(flips))) for b in base for _ in range(3)]
        return np.array([[v, v ^ 0xAAAA_AAAA_AAAA_AAAA] for v in values], np.uint64)

    whole, centre = draw_hashes(3), draw_hashes(3)
    count = len(whole)
    turned = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))

    def is_near(hashes: np.ndarray, i: int, j: int, distance: int) -> bool:
        ways = [hashes[a, side] ^ hashes[b, 0] for a, b in ((i, j), (j, i)) for side in (0, 1)]
        return min(int(v).bit_count() for v in ways) <= distance

    expected = [
        (i, j)
        for i in range(count)
        for j in range(i)
        if is_near(whole, i, j, whole_distance) or ((turned[i] or turned[j]) and is_near(centre, i, j, turned_distance))
    ]
    params = DuplicateParams(max_hash_distance=whole_distance, max_turned_distance=turned_distance)
    found = join_groups(count, near_pairs(Fingerprints(whole, centre, turned), params))
    assert found.tolist() == join_groups(count, [np.array(expected, np.int64).reshape(-1, 2)]).tolist()


def test_ten_thousand_equal_pictures_are_one_group_without_all_their_pairs():
    whole = np.zeros((10_000, 2), np.uint64)
    prints = Fingerprints(whole, whole, np.zeros(len(whole), np.bool_))
    assert sum(len(pairs) for pairs in near_pairs(prints, PARAMS)) < 20_000
    assert not join_groups(len(whole), near_pairs(prints, PARAMS)).any()
