"""The network: folding keeps its function, the grid keeps its geometry, decoding gives back what was drawn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_training.assignment import assign, cell_centres
from shelfgap_training.decode import decode
from shelfgap_training.losses import detection_losses, generalised_iou, to_boxes
from shelfgap_training.model import STRIDE, GapDetector, RawOutput, RepBlock, count_macs
from shelfgap_training.params import LossParams
from small_network import ASSIGNMENT, MODEL
from torch import nn

NOWHERE = [torch.zeros(0, 4)]
LABELLED = torch.tensor([[True]])
LOSS = LossParams(assignment=ASSIGNMENT, box_weight=1.0)


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
    expected += (cells[16] + cells[8]) * 9 * 16 * 16  # smooth
    expected += cells[8] * (9 * 16 * 24 + 24 * 5)  # head
    assert count_macs(model) == expected


boxes = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(8, 30), st.integers(8, 22)),
    min_size=1,
    max_size=6,
    unique_by=lambda b: b[:2],
)


def exact(truth: torch.Tensor) -> torch.Tensor:
    """Return distances (1, 4, 12, 16) with which each cell says the box whose centre is nearest."""
    xs, ys = cell_centres(12, 16)
    centres = (truth[:, :2] + truth[:, 2:]) / 2
    nearest = ((xs[None] - centres[:, 0, None, None]) ** 2 + (ys[None] - centres[:, 1, None, None]) ** 2).argmin(0)
    x1, y1, x2, y2 = truth[nearest].unbind(-1)
    return torch.stack([xs - x1, ys - y1, x2 - xs, y2 - ys])[None]


@settings(deadline=None)
@given(boxes)
def test_peaks_decode_to_the_boxes_that_were_drawn(drawn):
    truth = torch.tensor([[32 * c + 1, 24 * r + 1, 32 * c + 1 + w, 24 * r + 1 + h] for c, r, w, h in drawn]).float()
    logits = torch.full((1, 1, 12, 16), -12.0)
    for x, y in ((truth[:, :2] + truth[:, 2:]) / 2 / STRIDE).long():
        logits[0, 0, y, x] = 6.0
    decoded = decode(RawOutput(logits, exact(truth)), 20)
    kept = decoded.scores[0] > 0.99
    found = decoded.boxes_xyxy_norm[0][kept] * torch.tensor([128, 96, 128, 96])
    assert len(found) == len(truth)

    def order(b):
        return b[(b[:, 0] * 1000 + b[:, 1]).argsort()]

    torch.testing.assert_close(order(found), order(truth), atol=1e-3, rtol=0)


def test_the_cells_around_a_peak_vote_for_its_box_class_by_class():
    logits = torch.full((1, 2, 12, 16), -12.0)
    logits[0, 0, 5, 5], logits[0, 0, 5, 6] = 2.0, 1.99
    logits[0, 1, 5, 6] = 1.0
    ltrb = torch.full((1, 4, 12, 16), 10.0)
    ltrb[0, :, 5, 6] = torch.tensor([18.0, 14.0, 2.0, 6.0])  # x 34 to 54, y 30 to 50
    first, second = decode(RawOutput(logits, ltrb), 5).boxes_xyxy_norm[0, :2] * torch.tensor([128, 96, 128, 96])
    one, other = torch.tensor([34.0, 34, 54, 54]), torch.tensor([34.0, 30, 54, 50])
    weights = torch.tensor([2.0, 1.99]).sigmoid() ** 4
    torch.testing.assert_close(first, (weights[0] * one + weights[1] * other) / weights.sum(), atol=1e-3, rtol=0)
    torch.testing.assert_close(second, other, atol=1e-3, rtol=0)


def test_losses_fall_to_nothing_at_the_targets_and_stay_finite_without_boxes():
    truth, ids = [torch.tensor([[20.0, 20, 60, 52]])], [torch.zeros(1, dtype=torch.long)]
    ltrb = exact(truth[0])
    targets = assign(torch.full((1, 1, 12, 16), 0.5), to_boxes(ltrb), truth, ids, LOSS.assignment)
    right = RawOutput(torch.where(targets.scores > 0.99, 12.0, -12.0), ltrb)
    wrong = RawOutput(-right.logits, torch.full_like(ltrb, 4.0))
    good = detection_losses(right, truth, ids, NOWHERE, LABELLED, LOSS)
    bad = detection_losses(wrong, truth, ids, NOWHERE, LABELLED, LOSS)
    assert good.box < 1e-4
    assert good.total < 0.01 * bad.total
    loss = detection_losses(wrong, NOWHERE, [torch.zeros(0, dtype=torch.long)], NOWHERE, LABELLED, LOSS)
    assert torch.isfinite(loss.total)
    assert loss.box == 0


ONE_BOX = [torch.tensor([[20.0, 20, 60, 52]])], [torch.zeros(1, dtype=torch.long)]


@pytest.fixture
def raw():
    torch.manual_seed(0)
    return RawOutput(torch.randn(1, 2, 12, 16, requires_grad=True), torch.full((1, 4, 12, 16), 14.0))


def gradient(raw, ignored=NOWHERE, labelled=LABELLED):
    loss = detection_losses(raw, *ONE_BOX, ignored, labelled, LOSS).total
    return torch.autograd.grad(loss, raw.logits)[0]


def test_a_class_that_nobody_looked_for_teaches_nothing_and_the_others_as_before(raw):
    masked, whole = (gradient(raw, labelled=torch.tensor([[True, low]])) for low in (False, True))
    assert not masked[:, 1].any()
    assert whole[:, 1].any()
    torch.testing.assert_close(masked[:, 0], whole[:, 0])


def test_a_region_that_says_nothing_is_no_background_and_a_box_in_it_is_taught_as_before(raw):
    whole, masked = gradient(raw), gradient(raw, ignored=[torch.tensor([[0.0, 0, 64, 64], [96, 32, 128, 96]])])
    targets = assign(raw.logits.sigmoid(), to_boxes(raw.ltrb), *ONE_BOX, LOSS.assignment)
    silent = torch.zeros(12, 16, dtype=torch.bool)
    silent[:8, :8], silent[4:, 12:] = True, True
    silent &= targets.weight[0] == 0
    assert 0 < silent.sum() < silent.numel()
    assert not masked[0, :, silent].any()
    torch.testing.assert_close(masked[0, :, ~silent], whole[0, :, ~silent])
    assert whole[0, :, silent].all()


def test_a_region_smaller_than_the_grid_is_no_background_either():
    speck = torch.tensor([[37.0, 37.0, 43.0, 43.0]])  # a corner of four cells, the centre of none
    logits = torch.zeros(1, 1, 12, 16, requires_grad=True)
    nothing = [torch.zeros(0, dtype=torch.long)]
    raw = RawOutput(logits, torch.full((1, 4, 12, 16), 14.0))
    loss = detection_losses(raw, NOWHERE, nothing, [speck], LABELLED, LOSS).total
    taught = torch.autograd.grad(loss, logits)[0][0, 0] != 0
    assert not taught[4:6, 4:6].any()
    assert (~taught).sum() == 4


def test_generalised_iou_by_hand():
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])
    expected = torch.tensor([1.0, 50 / 150, 0 - 100 / 300])
    torch.testing.assert_close(generalised_iou(a, b), expected)


def test_decode_refuses_more_candidates_than_cells():
    raw = RawOutput(torch.zeros(1, 1, 2, 2), torch.ones(1, 4, 2, 2))
    with pytest.raises(ValueError, match="a 2x2 grid of 1 classes cannot give 5 candidates"):
        decode(raw, 5)
