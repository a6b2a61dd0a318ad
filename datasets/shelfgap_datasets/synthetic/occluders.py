"""What stands between camera and shelf: a shopper, a trolley, a reaching arm, a carton."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.synthetic.products import Colour
from shelfgap_datasets.synthetic.warp import Image

Occluder = Literal["shopper", "trolley", "arm", "carton"]
OCCLUDERS: tuple[Occluder, ...] = ("shopper", "trolley", "arm", "carton")
_SKIN: tuple[Colour, ...] = ((236, 200, 178), (214, 168, 138), (172, 122, 92), (112, 76, 56), (78, 54, 42))
_HAIR: tuple[Colour, ...] = ((30, 24, 22), (72, 48, 32), (140, 104, 66), (190, 186, 182))


def paint_occluder(image: Image, rng: np.random.Generator, what: Occluder | None = None) -> NDArray[np.bool_]:
    """Paint one occluder over a picture, in place.

    Args:
        image: RGB, uint8 (H, W, 3).
        rng: decides what it is, where it stands and how it looks.
        what: kind of the occluder; None leaves it to chance.

    Returns:
        Mask (H, W) of the pixels of which it covers at least half.
    """
    height, width = image.shape[:2]
    layer = np.zeros((height, width, 4), np.uint8)
    kind = OCCLUDERS[int(rng.choice(len(OCCLUDERS), p=[0.45, 0.2, 0.2, 0.15]))]
    painters = {"shopper": _shopper, "trolley": _trolley, "arm": _arm, "carton": _carton}
    painters[what or kind](layer, rng)
    folds = rng.uniform(0.62, 1.12, (9, 12)).astype(np.float32)
    gain = cv2.resize(folds, (width, height), interpolation=cv2.INTER_CUBIC)
    colours = np.clip(layer[..., :3] * gain[..., None], 0, 255)
    alpha = layer[..., 3].astype(np.float32) / 255
    blur = float(rng.uniform(0.3, 1.1)) * max(height, width) / 640  # it stands out of focus
    colours = cv2.GaussianBlur(colours * alpha[..., None], (0, 0), blur)
    cover = cv2.GaussianBlur(alpha, (0, 0), blur)
    image[:] = np.clip(image * (1 - cover[..., None]) + colours, 0, 255).astype(np.uint8)
    return np.asarray(cover >= 0.5)


def _fill(layer: Image, points: list[tuple[float, float]] | NDArray[np.float64], colour: Colour) -> None:
    outline = np.round(np.asarray(points, np.float64) * 16).astype(np.int32)
    cv2.fillPoly(layer, [outline], (*colour, 255), cv2.LINE_AA, shift=4)


def _stroke(layer: Image, points: list[tuple[float, float]], widths: list[float], colour: Colour) -> None:
    """Paint a limb: a chain of thick segments that widen or narrow, with round joints."""
    for (start, end), (first, second) in zip(pairwise(points), pairwise(widths), strict=True):
        along = np.array(end) - np.array(start)
        across = np.array([-along[1], along[0]]) / max(1e-6, float(np.hypot(*along)))
        a, b = np.array(start), np.array(end)
        _fill(
            layer,
            np.array(
                [
                    a + across * first / 2,
                    b + across * second / 2,
                    b - across * second / 2,
                    a - across * first / 2,
                ]
            ),
            colour,
        )
        for centre, wide in ((a, first), (b, second)):
            cv2.circle(
                layer,
                tuple(np.round(centre).astype(int).tolist()),
                max(1, round(wide / 2)),
                (*colour, 255),
                -1,
                cv2.LINE_AA,
            )


def _cloth(rng: np.random.Generator) -> Colour:
    if rng.random() < 0.5:
        grey = int(rng.uniform(25, 190))
        return grey, grey, min(255, int(grey * rng.uniform(0.95, 1.25)))
    red, green, blue = (int(v) for v in rng.uniform(30, 215, 3))
    return red, green, blue


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _shopper(layer: Image, rng: np.random.Generator) -> None:
    """Paint a person seen from behind or aside, cut by the frame as it comes."""
    height, width = layer.shape[:2]
    head = rng.uniform(0.055, 0.1) * height  # radius
    x, y = rng.uniform(0.02, 0.98) * width, rng.uniform(0.08, 0.45) * height
    skin, shirt, trousers, hair = _pick(rng, _SKIN), _cloth(rng), _cloth(rng), _pick(rng, _HAIR)
    half = head * rng.uniform(1.7, 2.3)  # half of the shoulders
    shoulder, hip = y + 1.75 * head, y + 6.2 * head
    for side in (-1, 1):
        _stroke(
            layer,
            [(x + side * 0.5 * half, hip), (x + side * 0.55 * half, hip + 7 * head)],
            [1.25 * head, 0.9 * head],
            trousers,
        )
    _stroke(layer, [(x, y), (x, shoulder)], [0.95 * head, 1.1 * head], skin)
    lean = rng.uniform(-0.15, 0.15) * half
    torso = [
        (x - 0.45 * half, shoulder - 0.35 * head),
        (x + 0.45 * half, shoulder - 0.35 * head),
        (x + 0.95 * half, shoulder + 0.15 * head),
        (x + 0.86 * half + lean, shoulder + 2.4 * head),
        (x + 0.9 * half + lean, hip + 0.4 * head),
        (x - 0.9 * half + lean, hip + 0.4 * head),
        (x - 0.86 * half + lean, shoulder + 2.4 * head),
        (x - 0.95 * half, shoulder + 0.15 * head),
    ]
    _fill(layer, torso, shirt)
    sleeve: Colour = (int(shirt[0] * 0.85), int(shirt[1] * 0.85), int(shirt[2] * 0.85))
    for side in (-1, 1):
        start = (x + side * 0.85 * half, shoulder + 0.3 * head)
        raised = rng.random() < 0.35
        elbow = (start[0] + side * rng.uniform(0.2, 0.9) * head, start[1] + rng.uniform(1.4, 2.4) * head)
        wrist = (elbow[0] + side * rng.uniform(-0.3, 2.0) * head, elbow[1] + (-1.6 if raised else 1.9) * head)
        _stroke(layer, [start, elbow, wrist], [0.95 * head, 0.75 * head, 0.5 * head], sleeve)
        _stroke(
            layer,
            [wrist, (wrist[0] + side * 0.3 * head, wrist[1] + 0.3 * head)],
            [0.5 * head, 0.4 * head],
            skin,
        )
    centre = (round(x), round(y))
    cv2.ellipse(layer, centre, (round(0.8 * head), round(head)), 0, 0, 360, (*skin, 255), -1, cv2.LINE_AA)
    turn = rng.uniform(-40, 40)
    cap = (round(0.86 * head), round(1.05 * head))
    if rng.random() < 0.6:
        cv2.ellipse(layer, centre, cap, turn / 3, 0, 360, (*hair, 255), -1, cv2.LINE_AA)
    else:
        cv2.ellipse(layer, centre, cap, turn, 180, 360, (*hair, 255), -1, cv2.LINE_AA)


def _trolley(layer: Image, rng: np.random.Generator) -> None:
    """Paint a shopping trolley: a wire basket one sees through, a handle, and something in it."""
    height, width = layer.shape[:2]
    wide, high = rng.uniform(0.3, 0.55) * width, rng.uniform(0.22, 0.4) * height
    left, top = rng.uniform(-0.1, 0.75) * width, rng.uniform(0.55, 0.8) * height
    slant = rng.uniform(0.08, 0.22) * wide
    corners = np.array(
        [
            (left, top),
            (left + wide, top + 0.12 * high),
            (left + wide - slant, top + high),
            (left + slant, top + high),
        ]
    )
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(1, 4))):
            x, y = left + rng.uniform(0.15, 0.6) * wide, top + rng.uniform(0.25, 0.6) * high
            w, h = rng.uniform(0.12, 0.28) * wide, rng.uniform(0.25, 0.4) * high
            _fill(layer, [(x, y), (x + w, y - 0.05 * h), (x + w, y + h), (x, y + h)], _cloth(rng))
    metal: Colour = (176, 180, 184) if rng.random() < 0.7 else (60, 62, 66)
    thick = max(1, round(height / 260))

    def wire(start: NDArray[np.float64], end: NDArray[np.float64], by: int = 1) -> None:
        points = np.round(np.stack([start, end])).astype(int).tolist()
        cv2.line(layer, tuple(points[0]), tuple(points[1]), (*metal, 255), thick * by, cv2.LINE_AA)

    for step in np.linspace(0, 1, int(rng.integers(12, 22))):
        wire(corners[0] + step * (corners[1] - corners[0]), corners[3] + step * (corners[2] - corners[3]))
    for step in np.linspace(0, 1, int(rng.integers(5, 9))):
        wire(corners[0] + step * (corners[3] - corners[0]), corners[1] + step * (corners[2] - corners[1]))
    for first in range(4):
        wire(corners[first], corners[(first + 1) % 4], 3)
    grip = _pick(rng, ((190, 40, 40), (40, 80, 160), (50, 130, 70), (40, 40, 40)))
    handle = [tuple(corners[0] + (-0.1 * wide, -0.12 * high)), tuple(corners[0] + (0.06 * wide, 0.1 * high))]
    _stroke(layer, [(float(x), float(y)) for x, y in handle], [thick * 6.0, thick * 6.0], grip)


def _arm(layer: Image, rng: np.random.Generator) -> None:
    """Paint an arm that reaches into the frame from a side or from below, with its hand."""
    height, width = layer.shape[:2]
    target = np.array([rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.7) * height])
    side = int(rng.integers(3))
    origin = np.array(
        [
            (-0.1 * width, rng.uniform(0.5, 1.1) * height),
            (1.1 * width, rng.uniform(0.5, 1.1) * height),
            (rng.uniform(0.1, 0.9) * width, 1.15 * height),
        ][side]
    )
    thick = rng.uniform(0.09, 0.15) * height
    skin, sleeve = _pick(rng, _SKIN), _cloth(rng)
    along = (target - origin) / float(np.hypot(*(target - origin)))
    across = np.array([-along[1], along[0]])
    bend = origin + 0.5 * (target - origin) + across * rng.uniform(-0.06, 0.06) * height
    wrist = target - along * 0.8 * thick

    def at(point: NDArray[np.float64]) -> tuple[float, float]:
        return float(point[0]), float(point[1])

    _stroke(layer, [at(bend), at(wrist), at(target)], [0.75 * thick, 0.5 * thick, 0.62 * thick], skin)
    for finger in (-0.3, -0.1, 0.1, 0.3):
        root = target + across * finger * thick * 0.8
        tip = root + along * thick * (0.75 - abs(finger)) + across * finger * thick * 0.5
        _stroke(layer, [at(root), at(tip)], [0.17 * thick, 0.12 * thick], skin)
    thumb = wrist + along * 0.4 * thick + across * 0.3 * thick
    _stroke(layer, [at(thumb), at(thumb + (along + across) * 0.35 * thick)], [0.2 * thick, 0.14 * thick], skin)
    cuff = bend + (wrist - bend) * rng.uniform(-0.2, 0.8)
    _stroke(layer, [at(origin), at(bend), at(cuff)], [1.35 * thick, 0.95 * thick, 0.8 * thick], sleeve)


def _carton(layer: Image, rng: np.random.Generator) -> None:
    """Paint a delivery carton that stands before the shelf, or two on each other."""
    height, width = layer.shape[:2]
    brown: Colour = (int(rng.uniform(150, 200)), int(rng.uniform(115, 150)), int(rng.uniform(75, 105)))
    wide, high = rng.uniform(0.18, 0.34) * width, rng.uniform(0.16, 0.28) * height
    left, foot = rng.uniform(-0.05, 0.8) * width, height * rng.uniform(0.9, 1.1)
    skew = rng.uniform(-0.3, 0.3) * wide
    for level in range(int(rng.integers(1, 3))):
        top = foot - (level + 1) * high
        tone = rng.uniform(0.9, 1.05)
        front: Colour = (int(brown[0] * tone), int(brown[1] * tone), int(brown[2] * tone))
        lid: Colour = (min(255, int(brown[0] * 1.15)), int(brown[1] * 1.15), int(brown[2] * 1.15))
        lift = 0.18 * high
        _fill(
            layer,
            [(left, top), (left + wide, top), (left + wide + skew, top - lift), (left + skew, top - lift)],
            lid,
        )
        edge = left + wide if skew > 0 else left
        flank: Colour = (int(brown[0] * 0.7), int(brown[1] * 0.7), int(brown[2] * 0.7))
        _fill(
            layer,
            [(edge, top), (edge + skew, top - lift), (edge + skew, top + high - lift), (edge, top + high)],
            flank,
        )
        _fill(layer, [(left, top), (left + wide, top), (left + wide, top + high), (left, top + high)], front)
        tape: Colour = (min(255, brown[0] + 30), brown[1] + 35, brown[2] + 35)
        _fill(
            layer,
            [
                (left + 0.45 * wide, top),
                (left + 0.55 * wide, top),
                (left + 0.55 * wide, top + 0.3 * high),
                (left + 0.45 * wide, top + 0.3 * high),
            ],
            tape,
        )
        _fill(
            layer,
            [
                (left + 0.1 * wide, top + 0.5 * high),
                (left + 0.38 * wide, top + 0.5 * high),
                (left + 0.38 * wide, top + 0.8 * high),
                (left + 0.1 * wide, top + 0.8 * high),
            ],
            (60, 50, 45),
        )
