"""Augmentation keeps boxes true: a white patch stays inside its box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation
from shelfgap_datasets.datamodule import ShelfImages, collate
from shelfgap_datasets.params import AugmentParams
from shelfgap_datasets.schema import Box, ImageRecord
from shelfgap_datasets.transforms import IGNORED_ID, Sample, TrainTransform

PARAMS = AugmentParams(
    gap_growth_epochs=0,
    gap_growth_probability=0.0,
    mosaic_probability=0.5,
    flip_probability=0.5,
    scale=(0.7, 1.4),
    translate=0.15,
    rotate_degrees=4,
    shear_degrees=3,
    colour_probability=0.0,
    degrade_probability=0.0,
    min_visibility=0.35,
)


def patch(box, size=(96, 128)) -> Sample:
    x1, y1, x2, y2 = box
    image = np.zeros((*size, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    return Sample(image, np.array([box], np.float32), np.array([0]))


@pytest.mark.parametrize("with_neighbours", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_white_patches_lie_in_their_boxes(seed, with_neighbours):
    rng = np.random.default_rng(seed)

    def draw():
        x, y = int(rng.integers(4, 80)), int(rng.integers(4, 56))
        return patch((x, y, x + 36, y + 28))

    neighbours = [draw() for _ in range(3)] if with_neighbours else []
    out = TrainTransform(PARAMS, (96, 128))(draw(), seed, neighbours)
    assert out.image_rgb.shape == (96, 128, 3)
    assert out.image_rgb.dtype == np.uint8
    white = out.image_rgb[..., 0] > 127
    covered = np.zeros_like(white)
    for x1, y1, x2, y2 in out.boxes_xyxy:
        assert 0 <= x1 < x2 <= 128
        assert 0 <= y1 < y2 <= 96
        inner = white[round(y1) : round(y2), round(x1) : round(x2)]
        assert inner.mean() > 0.55  # a turned patch does not fill the corners of its box
        covered[max(0, int(y1) - 1) : int(y2) + 2, max(0, int(x1) - 1) : int(x2) + 2] = True
    # What lies outside belongs to boxes of which too little was left.
    assert (white & ~covered).sum() <= 0.36 * 36 * 28 * 1.4**2 * (4 if with_neighbours else 1)


def test_the_seed_decides_and_samples_without_boxes_stay_so():
    transform = TrainTransform(PARAMS, (96, 128))
    sample = patch((10, 10, 50, 40))
    first, again, other = transform(sample, 1), transform(sample, 1), transform(sample, 2)
    np.testing.assert_array_equal(first.image_rgb, again.image_rgb)
    assert not np.array_equal(first.image_rgb, other.image_rgb)
    empty = Sample(sample.image_rgb, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    out = transform(empty, 5)
    assert out.boxes_xyxy.shape == (0, 4)
    assert out.class_ids.shape == (0,)


def test_a_box_stays_as_tight_as_it_was_when_pictures_are_turned_and_sheared():
    """Around its turned corners a tall box would be a sixth wider, and a detector that learns it draws such boxes."""
    tall = Sample(np.zeros((320, 320, 3), np.uint8), np.array([[140, 100, 160, 180]], np.float32), np.array([0]))
    params = PARAMS.model_copy(update={"scale": (1.0, 1.0), "translate": 0.0})
    transform = TrainTransform(params, (320, 320))
    sides = [out[2:] - out[:2] for seed in range(60) for out in transform(tall, seed).boxes_xyxy]
    width, height = np.log(np.array(sides) / [20, 80]).mean(0)
    assert abs(width) < 0.04
    assert abs(height) < 0.04


def test_what_a_seam_of_the_mosaic_leaves_of_a_box_says_nothing_where_it_is_too_little():
    still = {"scale": (1.0, 1.0), "translate": 0.0, "rotate_degrees": 0, "shear_degrees": 0, "flip_probability": 0.0}
    transform = TrainTransform(PARAMS.model_copy(update=still), (96, 128))
    four = [patch((34, 28, 94, 68))] * 4
    shares, rests = [], 0
    for seed in range(40):
        out = transform(four[0], seed, four[1:])
        is_rest = out.class_ids == IGNORED_ID
        areas = (out.boxes_xyxy[:, 2:] - out.boxes_xyxy[:, :2]).prod(1) / (60 * 40)
        assert (areas[~is_rest] >= PARAMS.min_visibility).all()
        assert (areas[is_rest] < PARAMS.min_visibility).all()
        assert not ((out.image_rgb[..., 0] > 127) & ~covered_by(out.boxes_xyxy))[2:-2, 2:-2].any()
        shares += areas[~is_rest].tolist()
        rests += int(is_rest.sum())
    assert rests > 20
    assert min(shares) < 0.5


def test_a_box_without_area_at_the_precision_of_pictures_is_left_out():
    sample = patch((10, 10, 50, 40))
    thin = np.array([[60, 20, 60, 40], [10, 10, 50, 40]], np.float32)
    out = TrainTransform(PARAMS, (96, 128))(Sample(sample.image_rgb, thin, np.array([0, 0])), 3)
    assert len(out.boxes_xyxy) <= 1


def region(sample: Sample) -> Sample:
    return sample._replace(class_ids=np.array([IGNORED_ID]))


def covered_by(boxes_xyxy, size=(96, 128)):
    covered = np.zeros(size, np.bool_)
    for x1, y1, x2, y2 in boxes_xyxy:
        covered[max(0, int(y1) - 1) : int(y2) + 2, max(0, int(x1) - 1) : int(x2) + 2] = True
    return covered


@pytest.mark.parametrize("seed", range(25))
def test_a_region_that_says_nothing_stays_but_for_a_seam_however_little_is_left_of_it(seed):
    x, y = np.random.default_rng(seed).integers((-60, -40), (100, 76))
    sample = patch((max(0, x), max(0, y), min(128, x + 90), min(96, y + 70)))
    params = PARAMS.model_copy(update={"translate": 0.6})
    out = TrainTransform(params, (96, 128))(region(sample), seed)
    plain = TrainTransform(params, (96, 128))(sample, seed)
    np.testing.assert_array_equal(out.image_rgb, plain.image_rgb)
    assert (out.class_ids == IGNORED_ID).all()
    white, covered = out.image_rgb[..., 0] > 127, covered_by(out.boxes_xyxy)
    assert not (white & ~covered)[9:-9, 9:-9].any()
    assert not (covered & ~binary_dilation(white, iterations=5)).any()


def test_boxes_keep_to_their_measure_beside_regions():
    box, other = patch((66, 44, 126, 94)), patch((10, 10, 90, 80))
    dropped = 0
    for seed in range(20):
        alone = TrainTransform(PARAMS, (96, 128))(box, seed, [box] * 3)
        beside = TrainTransform(PARAMS, (96, 128))(box, seed, [box, region(other), box])
        is_box = beside.class_ids == 0
        kept = alone.boxes_xyxy.tolist()
        assert all(one in kept for one in beside.boxes_xyxy[is_box].tolist())
        dropped += 4 - len(kept)
    assert dropped


def test_batches_tell_boxes_from_regions_that_say_nothing(tmp_path):
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "images" / "a.png")
    boxes = (Box("ignore", (0, 0, 32, 48)), Box("product", (0, 0, 8, 8)), Box("gap", (8, 8, 16, 16)))
    record = ImageRecord(
        file_name="a.png",
        width=64,
        height=48,
        sha256="",
        license="CC0",
        consent="synthetic",
        source="a.png",
        boxes=boxes,
    )
    images = ShelfImages(tmp_path, [record, replace(record, boxes=())], ("gap", "low"), (96, 128))
    batch = collate([images[0], images[1]])
    assert [b.tolist() for b in batch.boxes_xyxy] == [[[16, 16, 32, 32]], []]
    assert [b.tolist() for b in batch.class_ids] == [[0], []]
    assert [b.tolist() for b in batch.ignored_xyxy] == [[[0, 0, 64, 96]], []]
