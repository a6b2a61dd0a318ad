"""Which cells answer for a box: against a slow account of the rule, and by its promises."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_edge.geometry import iou_matrix
from shelfgap_training.assignment import assign, cell_centres, pairwise_iou
from shelfgap_training.model import STRIDE
from shelfgap_training.params import AssignmentParams

HEIGHT, WIDTH, CLASSES = 6, 8, 2
PARAMS = AssignmentParams(cells_per_box=4, score_power=1.0, iou_power=6.0)

box = st.tuples(st.floats(0, 50), st.floats(0, 36), st.floats(3, 40), st.floats(3, 30))
images = st.lists(st.lists(st.tuples(box, st.integers(0, CLASSES - 1)), max_size=5), min_size=1, max_size=3)


def network(count, seed):
    """Return scores and boxes as an untrained network might say them."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.rand(count, CLASSES, HEIGHT, WIDTH, generator=random) * 0.9 + 0.05
    ltrb = torch.rand(count, 4, HEIGHT, WIDTH, generator=random) * 20 + 2
    xs, ys = cell_centres(HEIGHT, WIDTH)
    left, top, right, bottom = ltrb.unbind(1)
    return scores, torch.stack([xs - left, ys - top, xs + right, ys + bottom], dim=1)


def truth_of(image):
    corners = [(x, y, x + w, y + h) for (x, y, w, h), _ in image]
    return torch.tensor(corners).reshape(-1, 4), torch.tensor([c for _, c in image], dtype=torch.long)


def slowly(scores, boxes, truth, ids):
    """Assign the boxes of one image cell by cell: a dict cell -> (box, score that is taught)."""
    p, cells = scores.flatten(1).numpy(), boxes.flatten(1).T.numpy()
    iou = iou_matrix(truth.numpy().astype(np.float32), cells.astype(np.float32)).astype(float)
    xs, ys = (axis.reshape(-1).numpy() for axis in cell_centres(HEIGHT, WIDTH))
    wants = {}
    for row, (x1, y1, x2, y2) in enumerate(truth.tolist()):
        away = np.abs(xs - (x1 + x2) / 2), np.abs(ys - (y1 + y2) / 2)
        near = [max(half, 0.75 * STRIDE) for half in ((x2 - x1) / 2, (y2 - y1) / 2)]
        inside = [c for c in range(len(xs)) if away[0][c] <= near[0] and away[1][c] <= near[1]]
        worth = {c: p[ids[row], c] * iou[row, c] ** 6 for c in inside}
        best = sorted((c for c in worth if worth[c] > 1e-12), key=lambda c: -worth[c])[: PARAMS.cells_per_box]
        wants[row] = best or [int(np.argmin(away[0] ** 2 + away[1] ** 2))]
    owner = {}
    for cell in {c for cells_of in wants.values() for c in cells_of}:
        owner[cell] = max((row for row in wants if cell in wants[row]), key=lambda row: iou[row, cell])
    taught = {}
    for row in wants:
        mine = [c for c in wants[row] if owner[c] == row]
        if not mine:
            continue
        worth = np.array([p[ids[row], c] * iou[row, c] ** 6 for c in mine])
        overlap = max(iou[row, c] for c in mine)
        for c, w in zip(mine, worth, strict=True):
            taught[c] = (row, w / worth.max() * overlap if worth.max() > 1e-9 else max(overlap, 0.1))
    return taught


@settings(deadline=None, max_examples=60)
@given(images, st.integers(0, 10_000))
def test_it_does_what_a_slow_account_of_the_rule_does(batch, seed):
    scores, boxes = network(len(batch), seed)
    truths = [truth_of(image) for image in batch]
    targets = assign(scores, boxes, [t for t, _ in truths], [i for _, i in truths], PARAMS)
    assert targets.scores.shape == (len(batch), CLASSES, HEIGHT, WIDTH)
    for i, (truth, ids) in enumerate(truths):
        expected = slowly(scores[i], boxes[i], truth, ids)
        weight = torch.zeros(HEIGHT * WIDTH)
        per_class = torch.zeros(CLASSES, HEIGHT * WIDTH)
        for cell, (row, value) in expected.items():
            weight[cell] = per_class[ids[row], cell] = value
            torch.testing.assert_close(targets.boxes_xyxy[i].flatten(1)[:, cell], truth[row])
        torch.testing.assert_close(targets.weight[i].flatten(), weight, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(targets.scores[i].flatten(1), per_class, atol=1e-4, rtol=1e-3)


def test_a_cell_that_has_the_box_right_is_taught_a_score_of_one():
    truth = torch.tensor([[8.0, 8, 40, 40]])
    boxes = truth.reshape(1, 4, 1, 1).expand(1, 4, HEIGHT, WIDTH)
    scores = torch.full((1, 1, HEIGHT, WIDTH), 0.2)
    scores[0, 0, 2, 3] = 0.8
    targets = assign(scores, boxes, [truth], [torch.zeros(1, dtype=torch.long)], PARAMS)
    assert targets.scores.max() == targets.scores[0, 0, 2, 3] == 1
    assert (targets.weight > 0).sum() == PARAMS.cells_per_box


def test_a_box_between_the_cells_still_finds_one():
    speck = torch.tensor([[7.5, 7.5, 8.5, 8.5]])
    scores, boxes = network(1, 0)
    targets = assign(scores, boxes, [speck], [torch.ones(1, dtype=torch.long)], PARAMS)
    assert (targets.weight > 0).any()
    assert not targets.scores[0, 0].any()


def test_images_without_boxes_are_taught_nothing_alone_and_beside_others():
    scores, boxes = network(2, 1)
    none = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    one = truth_of([((5.0, 5.0, 20.0, 20.0), 1)])
    for truths in ([none, none], [one, none]):
        targets = assign(scores, boxes, [t for t, _ in truths], [i for _, i in truths], PARAMS)
        assert not targets.weight[1].any()
        assert not targets.scores[1].any()


@given(box, box)
def test_overlap_is_that_of_the_edge_runtime(one, two):
    a, b = (torch.tensor([[x, y, x + w, y + h]]) for x, y, w, h in (one, two))
    expected = iou_matrix(a.numpy().astype(np.float32), b.numpy().astype(np.float32))[0, 0]
    assert abs(float(pairwise_iou(a[None], b.T[None])[0, 0, 0]) - expected) < 1e-4
