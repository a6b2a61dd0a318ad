"""The network: folding keeps its function, the grid keeps its geometry, decoding gives back what was drawn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_training.decode import decode
from shelfgap_training.losses import build_targets, detection_losses, generalised_iou
from shelfgap_training.model import STRIDE, GapDetector, RawOutput, RepBlock, count_macs
from shelfgap_training.params import LossParams
from small_network import MODEL
from torch import nn


def stirred(module: nn.Module) -> nn.Module:
    """Give batch norms statistics that matter."""
    generator = torch.Generator().manual_seed(3)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            for values, low in ((child.weight, 0.5), (child.bias, -0.5), (child.running_mean, -0.5)):
                values.data.copy_(torch.rand(values.shape, generator=generator) + low)
            child.running_var.copy_(torch.rand(child.running_var.shape, generator=generator) + 0.5)
    return module.eval()


@pytest.mark.parametrize(("channels", "stride"), [((8, 8), 1), ((8, 12), 1), ((8, 12), 2)])
def test_a_folded_block_is_the_same_function(channels, stride):
    block = stirred(RepBlock(*channels, stride=stride))
    x = torch.randn(2, channels[0], 10, 12)
    with torch.no_grad():
        # the branches one by one, as RepVGG writes them
        summed = nn.functional.conv2d(x, block.conv3, stride=stride, padding=1)
        summed = summed + nn.functional.conv2d(x, block.conv1, stride=stride)
        if block.identity is not None:
            summed = summed + x * block.identity.reshape(1, -1, 1, 1)
        expected = block.bn(summed).relu()
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(block.fold()(x), expected, rtol=1e-4, atol=1e-5)


def test_a_folded_network_is_the_same_function_in_plain_convolutions():
    torch.manual_seed(0)
    model = stirred(GapDetector(MODEL, 2))
    folded = model.fold()
    pixels = torch.rand(2, 3, 96, 128)
    with torch.no_grad():
        for ours, theirs in zip(folded(pixels), model(pixels), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    kinds = {type(m) for m in folded.modules() if not list(m.children())}
    assert kinds == {nn.Conv2d, nn.ReLU}
    assert model(pixels).ltrb.shape == (2, 4, 12, 16)
    assert (model(pixels).ltrb > 0).all()


def test_macs_are_counted_as_by_hand():
    model = GapDetector(MODEL, 1)
    h, w = MODEL.input_size
    cells = {s: (h // s) * (w // s) for s in (4, 8, 16, 32)}
    expected = cells[4] * (3 * 16 * 8 + 9 * 8 * 8)  # stem, stage 4
    expected += cells[8] * (9 * 8 * 16 + 9 * 16 * 16)  # stage 8
    expected += cells[16] * 9 * 16 * 16 + cells[32] * 9 * 16 * 16
    expected += sum(cells[s] * 16 * 16 for s in (8, 16, 32))  # laterals
    expected += (cells[16] + 2 * cells[8]) * 9 * 16 * 16 + cells[8] * 16 * 5  # smooth, head
    assert count_macs(model) == expected


boxes = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(8, 30), st.integers(8, 22)),
    min_size=1,
    max_size=6,
    unique_by=lambda b: b[:2],
)


@settings(deadline=None)
@given(boxes)
def test_targets_decode_to_the_boxes_that_were_drawn(drawn):
    """A perfect network says exactly the targets: decoding them must give the labelled boxes back."""
    truth = torch.tensor([[32 * c + 1, 24 * r + 1, 32 * c + 1 + w, 24 * r + 1 + h] for c, r, w, h in drawn]).float()
    targets = build_targets([truth], [torch.zeros(len(truth), dtype=torch.long)], 1, (96, 128), 0.54)
    centres = (torch.stack(torch.meshgrid(torch.arange(16), torch.arange(12), indexing="xy")) + 0.5) * STRIDE
    near, far = targets.boxes_xyxy[0, :2], targets.boxes_xyxy[0, 2:]
    ltrb = torch.cat([centres - near, far - centres])[None]
    decoded = decode(RawOutput(torch.logit(targets.heatmap, eps=1e-6), ltrb), 20)
    kept = decoded.scores[0] > 0.99
    found = decoded.boxes_xyxy_norm[0][kept] * torch.tensor([128, 96, 128, 96])
    assert len(found) == len(truth)

    def order(b):
        return b[(b[:, 0] * 1000 + b[:, 1]).argsort()]

    torch.testing.assert_close(order(found), order(truth), atol=1e-3, rtol=0)


def test_losses_fall_to_nothing_at_the_targets_and_stay_finite_without_boxes():
    params = LossParams(gaussian_alpha=0.54, box_weight=1.0)
    truth = torch.tensor([[20.0, 20, 60, 52]])
    targets = build_targets([truth], [torch.zeros(1, dtype=torch.long)], 1, (96, 128), 0.54)
    centres = (torch.stack(torch.meshgrid(torch.arange(16), torch.arange(12), indexing="xy")) + 0.5) * STRIDE
    right = torch.cat([centres - truth[0, :2, None, None], truth[0, 2:, None, None] - centres])[None]
    peak = torch.where(targets.heatmap == 1, 12.0, -12.0)
    wrong = torch.full_like(right, 4.0)
    good = detection_losses(RawOutput(peak, right), targets, params)
    bad = detection_losses(RawOutput(-peak, wrong), targets, params)
    assert good.box < 1e-4
    assert good.total < 0.01 * bad.total
    empty = build_targets([torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.long)], 1, (96, 128), 0.54)
    loss = detection_losses(RawOutput(peak, wrong), empty, params)
    assert torch.isfinite(loss.total)
    assert loss.box == 0


def test_generalised_iou_by_hand():
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])
    expected = torch.tensor([1.0, 50 / 150, 0 - 100 / 300])
    torch.testing.assert_close(generalised_iou(a, b), expected)


def test_decode_refuses_more_candidates_than_cells():
    raw = RawOutput(torch.zeros(1, 1, 2, 2), torch.ones(1, 4, 2, 2))
    with pytest.raises(ValueError, match="a 2x2 grid of 1 classes cannot give 5 candidates"):
        decode(raw, 5)
