"""The front of a fixture: price rails with labels, hanging cards, wires and side panels."""

from __future__ import annotations

import cv2
import numpy as np

from shelfgap_datasets.synthetic.camera import Camera
from shelfgap_datasets.synthetic.products import Colour
from shelfgap_datasets.synthetic.scene import PANEL_M, Fixture
from shelfgap_datasets.synthetic.warp import Image, lay, quad_of, seen_range

_CARD_M = 0.075  # size of a hanging price card
_TINTS: tuple[Colour, ...] = ((250, 225, 60), (240, 60, 50), (250, 250, 250))


def paint_front(image: Image, fixture: Fixture, camera: Camera) -> None:
    """Paint what stands in the front plane of a fixture over its cells, in place."""
    edges = fixture.bays_m if fixture.walls else (fixture.bays_m[0], fixture.bays_m[-1])
    for x in edges:
        sides = (x - PANEL_M / 2, x + PANEL_M / 2)
        quad = quad_of(camera, sides, (0.02, fixture.top_m), (0.0, 0.0))
        if quad is not None:
            colour = tuple(int(0.75 * c) for c in fixture.style.board_rgb)
            points = np.round(np.clip(quad - 0.5, -30000, 30000) * 16).astype(np.int32)
            cv2.fillConvexPoly(image, points, colour, cv2.LINE_AA, shift=4)
    for shelf in range(len(fixture.boards_m)):
        if fixture.style.front_wire:
            _paint_wire(image, fixture, camera, shelf)
        _paint_rail(image, fixture, camera, shelf)


def _paint_rail(image: Image, fixture: Fixture, camera: Camera, shelf: int) -> None:
    """Paint one rail as a flat strip with its labels, then lay it in perspective, metre by metre."""
    board = fixture.boards_m[shelf]
    rng = np.random.default_rng((fixture.style.seed, shelf))
    marks = np.arange(fixture.bays_m[0] + 0.04, fixture.bays_m[-1] - 0.05, fixture.style.label_every_m)
    marks = marks + rng.uniform(-0.3, 0.3, len(marks)) * fixture.style.label_every_m
    kept = rng.random(len(marks)) < 0.9
    cards = (rng.random(len(marks)) < 0.16) & fixture.style.flags
    tints = rng.integers(len(_TINTS), size=len(marks))
    for x1, x2 in zip(fixture.bays_m[:-1], fixture.bays_m[1:], strict=True):
        span = seen_range(camera, (x1, x2), board, 0.0)
        if span is None or span[1] - span[0] < 0.01:
            continue
        drop = _CARD_M if cards.any() else 0.0
        low = board - fixture.rail_m - drop
        quad = quad_of(camera, span, (low, board), (0.0, 0.0))
        if quad is None:
            continue
        longest = float(np.hypot(*(quad[1] - quad[0])))
        tallest = max(float(np.hypot(*(quad[3] - quad[0]))), float(np.hypot(*(quad[2] - quad[1]))))
        columns, rows = int(np.clip(longest, 2, 1600)), int(np.clip(tallest, 2, 300))
        across, along = rows / (board - low), columns / (span[1] - span[0])
        strip = np.zeros((rows, columns, 4), np.uint8)
        rail_rows = max(1, round(fixture.rail_m * across))
        shade = np.interp(np.arange(rail_rows), [0, 0.12 * rail_rows, rail_rows], [1.12, 0.97, 0.86])
        strip[:rail_rows, :, :3] = np.clip(np.array(fixture.style.rail_rgb) * shade[:, None, None], 0, 255)
        strip[:rail_rows, :, 3] = 255
        strip[:rail_rows, [0, -1], :3] //= 2  # the joint between two rails
        for x, keep, card, tint in zip(marks, kept, cards, tints, strict=True):
            left = int((x - span[0]) * along)
            if not keep or not -columns < left < columns:
                continue
            if card:
                size = (int(_CARD_M * along), int((_CARD_M + 0.6 * fixture.rail_m) * across))
                _paint_label(strip, (left, rows - size[1]), size, _TINTS[int(tint)])
            else:
                size = (int(0.055 * along), int(0.76 * rail_rows))
                _paint_label(strip, (left, int(0.12 * rail_rows)), size, fixture.style.label_rgb)
        lay(image, strip, quad)


def _paint_label(strip: Image, corner: tuple[int, int], size: tuple[int, int], colour: Colour) -> None:
    """Paint a price label: ground, edge, a large price and a line of small print."""
    (x, y), (wide, high) = corner, size
    cv2.rectangle(strip, (x, y), (x + wide, y + high), (*colour, 255), -1)
    if high < 4:
        return
    cv2.line(strip, (x + wide, y), (x + wide, y + high), (130, 130, 130, 255), 1)
    ink = (60, 60, 70, 255) if sum(colour) > 400 else (250, 250, 250, 255)
    cv2.line(strip, (x + wide // 8, y + high // 4), (x + wide * 2 // 3, y + high // 4), ink, 1)
    digits = "159"[(wide + x) % 3] + "." + "2479"[x % 4] + "9"
    if high >= 9:
        scale = min(0.42 * high / 21, 0.6 * wide / 62)
        origin = (x + wide // 3, y + high * 5 // 6)
        cv2.putText(strip, digits, origin, cv2.FONT_HERSHEY_DUPLEX, scale, ink, max(1, round(2 * scale)), cv2.LINE_AA)
    else:
        pale = tuple((i + c) // 2 for i, c in zip(ink, (*colour, 255), strict=True))
        cv2.rectangle(strip, (x + wide // 2, y + high // 2), (x + wide - wide // 6, y + high - 2), pale, -1)


def _paint_wire(image: Image, fixture: Fixture, camera: Camera, shelf: int) -> None:
    """Paint the low wire fence that keeps products on the board."""
    board = fixture.boards_m[shelf]
    span = seen_range(camera, (fixture.bays_m[0], fixture.bays_m[-1]), board, 0.0)
    if span is None:
        return
    height = min(0.06, 0.3 * (fixture.ceiling_m(shelf) - board))
    x = np.arange(span[0], span[1], 0.045)
    feet = np.stack([x, np.full_like(x, board), np.zeros_like(x)], -1).astype(np.float32)
    heads = feet + np.array([0, height, 0], np.float32)
    colour = (205, 207, 210)
    low, high = (np.round(np.clip(camera.project(p) - 0.5, -9000, 9000) * 16).astype(np.int32) for p in (feet, heads))
    for foot, head in zip(low, high, strict=True):
        cv2.line(image, tuple(foot.tolist()), tuple(head.tolist()), colour, 1, cv2.LINE_AA, shift=4)
    cv2.polylines(image, [high.reshape(-1, 1, 2)], False, colour, 1, cv2.LINE_AA, shift=4)
