from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import shelfgap_edge
from shelfgap_edge import geometry

EMPTY = np.empty((0, 4), dtype=np.float32)


def random_boxes(rng, count):
    corners = rng.uniform(-20, 120, (count, 2, 2)).astype(np.float32)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def naive_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


@pytest.mark.parametrize("seed", range(10))
def test_iou_is_that_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, 7), random_boxes(rng, 5)
    got = geometry.iou_matrix(a, b)
    expected = [[naive_iou(x.astype(float), y.astype(float)) for y in b] for x in a]
    assert got == pytest.approx(np.array(expected), abs=1e-5)
    assert got.dtype == np.float32
    assert pytest.approx(got) == geometry.iou_matrix(b, a).T
    assert np.diag(geometry.iou_matrix(a, a)) == pytest.approx(1)


def test_empty_input_gives_empty_output():
    one = np.array([[0, 0, 1, 1]], dtype=np.float32)
    assert geometry.area(EMPTY).shape == (0,)
    assert geometry.iou_matrix(EMPTY, one).shape == (0, 1)
    assert geometry.iou_matrix(one, EMPTY).shape == (1, 0)
    assert geometry.iou_matrix(EMPTY, EMPTY).shape == (0, 0)
    assert geometry.clip(EMPTY, (5, 5)).shape == (0, 4)
    assert geometry.scale(EMPTY, (1, 1), (5, 5)).shape == (0, 4)


def test_boxes_without_area_share_nothing():
    point = np.array([[3, 3, 3, 3]], dtype=np.float32)
    assert geometry.iou_matrix(point, point).tolist() == [[0.0]]


@pytest.mark.parametrize("seed", range(5))
def test_clip_stays_inside_and_changes_nothing_inside(seed):
    boxes = random_boxes(np.random.default_rng(seed), 20)
    before = boxes.copy()
    clipped = geometry.clip(boxes, (50, 80))
    assert (boxes == before).all()
    assert (clipped >= 0).all()
    assert (clipped[:, [0, 2]] <= 80).all()
    assert (clipped[:, [1, 3]] <= 50).all()
    assert (geometry.clip(clipped, (50, 80)) == clipped).all()
    assert (geometry.area(clipped) <= geometry.area(boxes) + 1e-3).all()


def test_scale_there_and_back():
    boxes = random_boxes(np.random.default_rng(3), 20)
    there = geometry.scale(boxes, (100, 200), (33, 77))
    assert there.dtype == np.float32
    assert geometry.scale(there, (33, 77), (100, 200)) == pytest.approx(boxes, abs=1e-3)


def test_doctests_of_the_package():
    attempted = 0
    for info in pkgutil.walk_packages(shelfgap_edge.__path__, "shelfgap_edge."):
        failures, tests = doctest.testmod(importlib.import_module(info.name))
        assert failures == 0, info.name
        attempted += tests
    assert attempted >= 10
