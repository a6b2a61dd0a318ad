"""Grown gaps: the boxes cover exactly what was painted, and nothing else was touched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_datasets.datamodule import ShelfDataModule
from shelfgap_datasets.params import AugmentParams
from shelfgap_datasets.transforms import Sample, TrainTransform
from small_network import dark_patches
from test_transforms import PARAMS

SIZE = (96, 192)
GROW: AugmentParams = PARAMS.model_copy(update={"gap_growth_epochs": 1, "gap_growth_probability": 1.0})
GAP, LOW = 0, 1


def shelf(boxes, ids) -> Sample:
    """White products, black shelf back in the gaps, grey in what is low."""
    image = np.full((*SIZE, 3), 255, np.uint8)
    for (x1, y1, x2, y2), class_id in zip(boxes, ids, strict=True):
        image[y1:y2, x1:x2] = 0 if class_id == GAP else 128
    return Sample(image, np.array(boxes, np.float32).reshape(-1, 4), np.array(ids, np.int64))


def grow(sample: Sample, seed: int) -> Sample:
    return TrainTransform(GROW, SIZE, gap_id=GAP).grow(sample, seed)


cells = st.tuples(st.integers(0, 3), st.integers(4, 30), st.sampled_from([GAP, LOW]))
rows = st.lists(cells, min_size=1, max_size=4, unique_by=lambda cell: cell[0])


@settings(deadline=None, max_examples=60)
@given(rows, st.integers(0, 2**31 - 1))
def test_boxes_cover_what_was_painted_and_nothing_else(placed, seed):
    boxes = [(48 * cell + 8, 20, 48 * cell + 8 + width, 60) for cell, width, _ in placed]
    sample = shelf(boxes, [class_id for _, _, class_id in placed])
    out = grow(sample, seed)
    assert len(out.boxes_xyxy) >= len(sample.boxes_xyxy)
    inside = np.zeros(SIZE, bool)
    for (x1, y1, x2, y2), class_id in zip(out.boxes_xyxy.round().astype(int), out.class_ids, strict=True):
        assert 0 <= x1 < x2 <= SIZE[1]
        inside[y1:y2, x1:x2] = True
        if class_id == GAP:
            assert (out.image_rgb[y1:y2, x1:x2] < 200).mean() > 0.7  # soft edges
    np.testing.assert_array_equal(out.image_rgb[~inside], 255)
    for box, class_id in zip(sample.boxes_xyxy, sample.class_ids, strict=True):
        if class_id == LOW:  # what is not a gap stays where it was, as it was
            assert any(np.allclose(box, other) for other in out.boxes_xyxy)
            x1, y1, x2, y2 = box.astype(int)
            np.testing.assert_array_equal(out.image_rgb[y1:y2, x1:x2], 128)


def test_gaps_become_larger_or_more():
    sample = shelf([(80, 20, 110, 60)], [GAP])
    kinds = set()
    for seed in range(20):
        out = grow(sample, seed)
        area = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in out.boxes_xyxy)
        assert area > 30 * 40 * 1.3
        kinds.add(len(out.boxes_xyxy))
    assert kinds == {1, 2}


def test_the_copy_is_the_mirror_image_of_the_gap():
    sample = shelf([(80, 20, 110, 60)], [GAP])
    sample.image_rgb[20:60, 80:110] = np.arange(30, dtype=np.uint8)[None, :, None] * 4
    for seed in range(40):
        out = grow(sample, seed)
        if len(out.boxes_xyxy) == 2:
            x1, _, x2, _ = out.boxes_xyxy[1].round().astype(int)
            row = out.image_rgb[40, x1 + 3 : x2 - 3, 0].astype(int)
            assert (np.diff(row) == -4).all()
            return
    pytest.fail("no copy in 40 draws")


def test_the_seed_decides_and_what_has_no_gap_stays():
    sample = shelf([(80, 20, 110, 60)], [GAP])
    np.testing.assert_array_equal(grow(sample, 5).image_rgb, grow(sample, 5).image_rgb)
    for other in (shelf([(80, 20, 110, 60)], [LOW]), shelf([], [])):
        np.testing.assert_array_equal(grow(other, 1).image_rgb, other.image_rgb)
    plain = TrainTransform(PARAMS, SIZE, gap_id=GAP)
    assert plain.grow(sample, 1) is sample


def test_gaps_grow_in_the_first_epochs_with_labels(tmp_path):
    dataset = dark_patches(tmp_path / "data")

    def images(augment, label_epoch):
        data = ShelfDataModule(
            tmp_path / "data",
            dataset,
            input_size=(96, 128),
            batch_size=4,
            augment=augment,
            seed=1,
            workers=0,
            label_epoch=label_epoch,
        )
        return data.train_images

    plain, grown = images(PARAMS, 3), images(GROW.model_copy(update={"gap_growth_epochs": 2}), 3)
    changed = [
        any(not np.array_equal(plain[epoch, i].sample.image_rgb, grown[epoch, i].sample.image_rgb) for i in range(12))
        for epoch in range(7)
    ]
    assert changed == [False, False, False, True, True, False, False]
