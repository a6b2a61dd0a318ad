"""Pictures are small first and whole at the end, with their boxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_training.imitation import Imitation
from shelfgap_training.model import GapDetector
from shelfgap_training.params import ImitationParams, ProgressiveParams
from shelfgap_training.progressive import shrink
from shelfgap_training.train import train
from small_network import MODEL, TRAIN, dark_patches


@settings(deadline=None, max_examples=30)
@given(
    size=st.tuples(st.sampled_from([64, 96, 320]), st.sampled_from([64, 128, 416])),
    scale=st.floats(0.05, 1.0),
    box=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0.5, 1), st.floats(0.5, 1)),
)
def test_boxes_keep_their_place_and_sides_fit_the_strides(size, scale, box):
    sides = torch.tensor([size[1], size[0]] * 2)
    pixels, (boxes, none) = shrink(torch.zeros(2, 3, *size), [torch.tensor([box]) * sides, torch.zeros(0, 4)], scale)
    small = torch.tensor([pixels.shape[3], pixels.shape[2]] * 2)
    assert all(side % 32 == 0 and 32 <= side <= before for side, before in zip(pixels.shape[2:], size, strict=True))
    torch.testing.assert_close(boxes / small, torch.tensor([box]), atol=1e-5, rtol=0)
    assert none.shape == (0, 4)


def test_pixels_are_those_of_an_independent_resize():
    image = np.random.default_rng(0).random((128, 64, 3), np.float32)
    pixels, _ = shrink(torch.from_numpy(image.transpose(2, 0, 1))[None], [torch.zeros(0, 4)], 0.5)
    # an antialiased bilinear at one half weighs four pixels an axis 1 3 3 1
    blurred = cv2.sepFilter2D(image, -1, np.array([1, 3, 3, 1]) / 8, np.array([1, 3, 3, 1]) / 8, anchor=(1, 1))
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(pixels[0].permute(1, 2, 0).numpy()[inner], blurred[::2, ::2][inner], atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")
def test_a_training_begins_small_and_ends_whole(tmp_path, monkeypatch):
    dataset = dark_patches(tmp_path / "data")
    seen = []

    def watch(self, pixels, real=GapDetector.backbone):
        if self.training:
            seen.append(tuple(pixels.shape[2:]))
        return real(self, pixels)

    monkeypatch.setattr(GapDetector, "backbone", watch)
    recipe = TRAIN.model_copy(
        update={
            "epochs": 4,
            "imitation": ImitationParams(epochs=1, size_px=64),
            "progressive": ProgressiveParams(share=0.5, scale=0.7),
        }
    )
    result = train(tmp_path / "data", dataset, MODEL, recipe, scratch=tmp_path / "scratch", workers=0)
    steps = len(seen) // 5
    assert len(seen) == 5 * steps
    assert seen == [(64, 96)] * (3 * steps) + [MODEL.input_size] * (2 * steps)
    assert result.model.params.input_size == MODEL.input_size


def test_an_imitation_takes_pictures_of_any_size():
    imitation = Imitation(MODEL.stage_channels[1:], 64)
    model = GapDetector(MODEL, 1)
    for size in ((64, 96), MODEL.input_size):
        pixels = torch.rand(2, 3, *size)
        assert imitation(model.backbone(pixels), pixels).isfinite()
