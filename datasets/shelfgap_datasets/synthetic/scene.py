"""The scene of a synthetic still: one fixture, its facings and camera, and how well it is stocked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.synthetic.camera import Camera, aim
from shelfgap_datasets.synthetic.faces import Face
from shelfgap_datasets.synthetic.products import KINDS, Brand, Colour, Kind, Product, draw_brand, draw_product

Panel = Literal["plain", "pegboard", "mesh", "dark", "slats"]
PANELS: tuple[Panel, ...] = ("plain", "pegboard", "mesh", "dark", "slats")
PANEL_M = 0.024  # width of a wall or an end panel seen from the front
EMPTY = np.inf  # setback of a facing with nothing left in it
_SPACE_M = 0.004  # between two packages side by side
_FULL_SHARE = 0.15  # of the views, wholly stocked
_LEAST_SETBACK = 0.4  # a front this far back, as a fraction of the depth, counts as low
_MOST_SETBACK = 0.16  # and one no farther than this as stocked; nothing is drawn in between


@dataclass(frozen=True)
class Style:
    """The look of a fixture: colours are RGB."""

    panel: Panel
    panel_rgb: Colour
    board_rgb: Colour
    rail_rgb: Colour
    label_rgb: Colour
    floor_rgb: Colour
    label_every_m: float
    flags: bool  # price cards that hang below the rail
    front_wire: bool
    gloom: float  # share of the light that is lost in the depth of the shelf
    seed: int  # of the small print on the labels


@dataclass(frozen=True)
class Facing:
    """One place on a board: the article that belongs there and its sides, metres along the fixture."""

    shelf: int
    bay: int
    run: int  # facings of one run hold the same article side by side
    x1_m: float
    x2_m: float
    product: Product


@dataclass(frozen=True)
class Fixture:
    """A shelf fixture: boards from below, bays from left, facings in shelf order from left to right.

    The front edges of the boards lie at z = 0, the back panel at z = -depth_m.
    """

    boards_m: tuple[float, ...]  # height of the upper side of each board
    top_m: float  # height where the back panel ends
    board_m: float  # thickness of a board
    rail_m: float  # height of the price rail, which hangs from the upper side of a board
    depth_m: float
    setback_m: float  # of the front row from the board edge
    bays_m: tuple[float, ...]  # x of the uprights
    walls: bool  # panels between the bays
    style: Style
    facings: tuple[Facing, ...]

    def ceiling_m(self, shelf: int) -> float:
        """Return how high one sees into a shelf from the front: the rail above, or the end of the panel."""
        if shelf + 1 < len(self.boards_m):
            return self.boards_m[shelf + 1] - self.rail_m
        return self.top_m


@dataclass(frozen=True)
class Stock:
    """How the facings of a fixture are stocked at one time, in their order.

    Attributes:
        setback_m: float (N,), how far behind the board edge the first piece stands; `EMPTY` if none is left.
        layers: int (N,), pieces on top of each other.
    """

    setback_m: NDArray[np.float64]
    layers: NDArray[np.int64]


@dataclass(frozen=True)
class Opening:
    """An upright rectangle in a shelf's front where stock is missing: class name, sides in metres, its facings."""

    class_name: str
    shelf: int
    x_m: tuple[float, float]
    y_m: tuple[float, float]
    facings: slice


@dataclass(frozen=True)
class Scene:
    """A fixture and the camera opposite."""

    fixture: Fixture
    camera: Camera


def build_scene(rng: np.random.Generator, size: tuple[int, int], faces: Sequence[Face] = ()) -> Scene:
    """Invent a fixture and place a camera so that 2 to 8 of its shelves fill a frame of `size` (h, w).

    Products are procedural, or show one of `faces` each when there are any.
    """
    wanted = int(rng.choice([2, 3, 4, 5, 6, 7, 8], p=[0.07, 0.12, 0.16, 0.19, 0.19, 0.16, 0.11]))
    count = max(wanted, int(rng.integers(4, 8)))
    pitch = rng.uniform(1.45, 2.1) / count * rng.uniform(0.85, 1.25, count)
    plinth = rng.uniform(0.08, 0.2)
    boards = tuple(float(b) for b in plinth + np.concatenate([[0], np.cumsum(pitch[:-1])]))
    camera = _place_camera(rng, size, boards, float(pitch.mean()), wanted)
    x_low, x_high = _seen_range(camera)
    bay = rng.uniform(0.9, 1.4)
    first = int(np.floor((x_low - 0.1) / bay))
    last = int(np.ceil((x_high + 0.1) / bay))
    ends = rng.random(2) < 0.1  # the fixture ends inside the frame
    if last - first >= 2:
        first, last = first + int(ends[0]), last - int(ends[1] and last - first >= 3)
    bays = tuple(float(b) for b in np.arange(first, last + 1) * bay)
    fixture = Fixture(
        boards_m=boards,
        top_m=float(boards[-1] + pitch[-1] * rng.uniform(0.95, 1.2)),
        board_m=float(rng.uniform(0.018, 0.035)),
        rail_m=float(rng.uniform(0.032, 0.05)),
        depth_m=float(rng.uniform(0.34, 0.55)),
        setback_m=float(rng.uniform(0.004, 0.025)),
        bays_m=bays,
        walls=bool(rng.random() < 0.25),
        style=_draw_style(rng),
        facings=(),
    )
    # A little finer than the middle of the frame shows it, for what stands nearer.
    px_per_m = 1.3 * camera.focal_px / float(camera.position[2])
    return Scene(replace(fixture, facings=_fill(rng, fixture, px_per_m, faces)), camera)


def nudge(rng: np.random.Generator, camera: Camera) -> Camera:
    """Shift a camera by a few centimetres and half a degree, as between two visits."""
    turn = rng.normal(0, 0.006, 3)
    skew = np.array([[0, -turn[2], turn[1]], [turn[2], 0, -turn[0]], [-turn[1], turn[0], 0]])
    left, _, right = np.linalg.svd(camera.rotation @ (np.eye(3) + skew))
    position = camera.position + rng.normal(0, 0.015, 3).astype(np.float32)
    return replace(camera, position=position, rotation=(left @ right).astype(np.float32))


def draw_stock(rng: np.random.Generator, fixture: Fixture, camera: Camera) -> Stock:
    """Stock a fixture: mostly full, with facings emptied or gone low where the camera can see it."""
    facings = fixture.facings
    count = len(facings)
    setback = np.full(count, fixture.setback_m)
    layers = np.array([f.product.layers for f in facings], np.int64)
    runs = np.array([f.run for f in facings])
    for run in np.unique(runs):
        members = np.flatnonzero(runs == run)
        if rng.random() < 0.3:
            setback[members] += rng.uniform(0, _MOST_SETBACK) * fixture.depth_m
        if layers[members[0]] > 1 and rng.random() < 0.2:
            layers[members[int(rng.integers(len(members))) :]] -= 1
    clear, width_norm = _visible(fixture, camera)
    if rng.random() < _FULL_SHARE or not clear.any():
        return Stock(setback, layers)
    candidates = np.flatnonzero(clear)
    for _ in range(int(rng.poisson(rng.gamma(1.0, 2.4)))):
        seed = int(rng.choice(candidates))
        emptied = _stretch(facings, width_norm, seed, 0.1 * rng.lognormal(0, 0.6), same_run=True)
        room = fixture.depth_m - facings[seed].product.depth_m
        if room > _LEAST_SETBACK * fixture.depth_m:
            setback[emptied] = rng.uniform(_LEAST_SETBACK, min(0.75, room / fixture.depth_m)) * fixture.depth_m
    ravaged = rng.random() < 0.06
    for _ in range(int(rng.integers(10, 16)) if ravaged else 1 + int(rng.poisson(rng.gamma(1.1, 3.7)))):
        seed = int(rng.choice(candidates))
        width = 0.065 * rng.lognormal(0, 0.75) * (2 if ravaged else 1)
        setback[_stretch(facings, width_norm, seed, width, same_run=False)] = EMPTY
    return Stock(setback, layers)


def find_openings(fixture: Fixture, stock: Stock) -> tuple[Opening, ...]:
    """Find where stock is missing: adjacent facings that are both empty, or both low, make one opening.

    An opening lies in the plane of the front row, z = -setback_m. It reaches from side to side of the
    neighbours, and from the board up to the highest stack in or beside it, or to the rail above if that
    is near.
    """
    found = []
    names = [stock_state(fixture, s) for s in stock.setback_m]
    start = 0
    facings = fixture.facings
    while start < len(facings):
        stop = start + 1
        while stop < len(facings) and names[stop] == names[start] and _beside(fixture, facings, stop - 1):
            stop += 1
        if names[start] != "full":
            first, last = facings[start], facings[stop - 1]
            has_left = start > 0 and _beside(fixture, facings, start - 1)
            has_right = stop < len(facings) and _beside(fixture, facings, stop - 1)
            if names[start] == "gap":
                x1 = facings[start - 1].x2_m if has_left else fixture.bays_m[first.bay] + PANEL_M / 2
                x2 = facings[stop].x1_m if has_right else fixture.bays_m[last.bay + 1] - PANEL_M / 2
                around = facings[start - has_left : stop + has_right]
            else:
                x1, x2, around = first.x1_m, last.x2_m, facings[start:stop]
            board, limit = fixture.boards_m[first.shelf], fixture.ceiling_m(first.shelf)
            height = max(f.product.stack_m for f in around)
            if height > 0.72 * (limit - board) and first.shelf + 1 < len(fixture.boards_m):
                height = limit - board
            y2 = min(board + height, limit)
            found.append(Opening(names[start], first.shelf, (x1, x2), (board, y2), slice(start, stop)))
        start = stop
    return tuple(found)


def stock_state(fixture: Fixture, setback_m: float) -> Literal["full", "low", "gap"]:
    """Return how a facing is stocked whose first piece stands `setback_m` behind the board edge."""
    if setback_m == EMPTY:
        return "gap"
    return "low" if setback_m >= _LEAST_SETBACK * fixture.depth_m else "full"


def _beside(fixture: Fixture, facings: tuple[Facing, ...], index: int) -> bool:
    """Say whether the facing at `index` and the next stand side by side with nothing between."""
    one, two = facings[index], facings[index + 1]
    return one.shelf == two.shelf and (one.bay == two.bay or not fixture.walls)


def _place_camera(
    rng: np.random.Generator, size: tuple[int, int], boards: tuple[float, ...], pitch_m: float, wanted: int
) -> Camera:
    height, width = size
    focal = rng.uniform(0.72, 1.1) * max(height, width)
    distance = float(np.clip((wanted + 0.1) * pitch_m * focal / height, 0.75, 4.2))
    half = 0.5 * distance * height / focal
    low, high = boards[0] - 0.1 + half, boards[-1] + pitch_m - half
    middle = rng.uniform(min(low, high), max(low, high)) if wanted < len(boards) else (low + high) / 2
    yaw = rng.normal(0, 0.13) if rng.random() < 0.72 else rng.choice([-1, 1]) * rng.uniform(0.3, 0.8)
    elevation = float(np.clip(rng.normal(0.06, 0.12), -0.25, 0.42))
    if middle + distance * np.sin(elevation) < 0.35:
        elevation = 0.1
    position, rotation = aim((0.0, middle, 0.0), distance, yaw, elevation, rng.normal(0, 0.015))
    barrel = float(rng.choice([0.0, rng.uniform(0.01, 0.09)], p=[0.4, 0.6]))
    return Camera(position, rotation, float(focal), size, barrel)


def _seen_range(camera: Camera) -> tuple[float, float]:
    """Return the part of the front plane, x in metres, that the frame can show."""
    x, _, z = camera.rays()
    reach = 2.2 * float(camera.position[2]) + 1.5  # farther along a slanted view facings become slivers
    edges = [
        float(camera.position[2] * x[r, c] / -z[r, c]) if z[r, c] < -0.05 else np.sign(x[r, c]) * 99
        for r in (0, -1)
        for c in (0, -1)
    ]
    centre = float(camera.position[0])
    return centre + max(min(edges), -reach), centre + min(max(edges), reach)


def _visible(fixture: Fixture, camera: Camera) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Say which facings stand clear in the frame, and how wide each appears as a fraction of the width."""
    height, width = camera.size
    corners = np.array(
        [
            [[f.x1_m, y, -fixture.setback_m], [f.x2_m, y, -fixture.setback_m]]
            for f in fixture.facings
            for y in [fixture.boards_m[f.shelf] + 0.5 * f.product.stack_m]
        ],
        np.float32,
    ).reshape(-1, 2, 3)
    heights = np.array([f.product.stack_m for f in fixture.facings])
    depth = camera.depth_m(corners).min(1)
    pixels = camera.project(corners)
    middle = pixels.mean(1)
    wide = np.abs(pixels[:, 1, 0] - pixels[:, 0, 0]) / width
    tall = heights * camera.focal_px / np.maximum(depth, 0.05) / height
    inside = (middle > 0.02 * np.array([width, height])) & (middle < 0.98 * np.array([width, height]))
    wide[depth <= 0.35] = np.inf
    return (depth > 0.35) & inside.all(1) & (wide > 0.014) & (tall > 0.035), wide


def _stretch(
    facings: tuple[Facing, ...], width_norm: NDArray[np.float64], seed: int, wanted: float, *, same_run: bool
) -> list[int]:
    """Collect facings from `seed` to the right until they appear `wanted` wide, within shelf and bay."""
    members = [seed]
    seen = width_norm[seed]
    for index in range(seed + 1, len(facings)):
        one, two = facings[seed], facings[index]
        if seen + 0.5 * width_norm[index] > wanted or (one.shelf, one.bay) != (two.shelf, two.bay):
            break
        if same_run and one.run != two.run:
            break
        members.append(index)
        seen += width_norm[index]
    return members


def _fill(rng: np.random.Generator, fixture: Fixture, px_per_m: float, faces: Sequence[Face]) -> tuple[Facing, ...]:
    """Give every board its articles, run by run."""
    favourite = KINDS[int(rng.integers(len(KINDS)))]
    scene_tone = str(rng.choice(["any", "dark", "white"], p=[0.86, 0.08, 0.06]))
    facings: list[Facing] = []
    run = 0
    for shelf, board in enumerate(fixture.boards_m):
        clearance = fixture.ceiling_m(shelf) - board
        brands = []
        for _ in range(int(rng.integers(2, 6))):
            kind: Kind = favourite if rng.random() < 0.55 else KINDS[int(rng.integers(len(KINDS)))]
            tone = scene_tone if rng.random() < 0.6 else str(rng.choice(["any", "dark", "white"], p=[0.84, 0.1, 0.06]))
            brands.append(draw_brand(rng, kind, clearance, tone, faces))
        for bay in range(len(fixture.bays_m) - 1):
            start, end = (fixture.bays_m[bay] + PANEL_M / 2, fixture.bays_m[bay + 1] - PANEL_M / 2)
            slots, run = _draw_slots(rng, brands, end - start, run, px_per_m)
            # Stretch the packages a little so that the bay is full: no space is left that looks like a gap.
            stretch = (end - start - _SPACE_M * len(slots)) / sum(p.width_m for _, p in slots)
            fitted = {index: replace(p, width_m=p.width_m * stretch) for index, p in slots}
            x = start
            for index, _ in slots:
                product = fitted[index]
                left = x + _SPACE_M / 2
                facings.append(Facing(shelf, bay, index, left, left + product.width_m, product))
                x += product.width_m + _SPACE_M
    return tuple(facings)


def _draw_slots(
    rng: np.random.Generator, brands: list[Brand], width_m: float, run: int, px_per_m: float
) -> tuple[list[tuple[int, Product]], int]:
    """Draw articles side by side until a bay is nearly full.

    Returns:
        (run, article) for each facing, and the next free number of a run.
    """
    slots: list[tuple[int, Product]] = []
    room = width_m
    brand = brands[int(rng.integers(len(brands)))]
    misses = 0
    while misses < 3:
        if misses or rng.random() < 0.4:
            brand = brands[int(rng.integers(len(brands)))]
        fitting = int(room / (brand.width_m + _SPACE_M))
        if fitting == 0:
            misses += 1
            continue
        count = min(fitting, int(rng.integers(1, 5)) + (2 if brand.width_m < 0.08 else 0))
        slots += [(run, draw_product(rng, brand, px_per_m))] * count
        room -= count * (brand.width_m + _SPACE_M)
        run += 1
        misses = 0
    return slots, run


def _draw_style(rng: np.random.Generator) -> Style:
    panel = PANELS[int(rng.choice(len(PANELS), p=[0.3, 0.25, 0.12, 0.2, 0.13]))]
    grey = rng.uniform(25, 60) if panel == "dark" else rng.choice([rng.uniform(190, 240), rng.uniform(80, 170)])
    warmth = rng.uniform(-6, 16)

    def tint(value: float, by: float) -> Colour:
        return int(min(255, value + by)), int(value), int(max(0, value - by))

    rails: list[Colour] = [
        (228, 226, 220),
        (205, 208, 210),
        (245, 245, 242),
        (40, 42, 46),
        (60, 90, 150),
        (170, 40, 40),
        (60, 130, 70),
    ]
    labels: list[Colour] = [(250, 250, 246), (252, 226, 70), (250, 245, 215), (255, 255, 255)]
    board = float(rng.choice([rng.uniform(195, 240), rng.uniform(110, 180), rng.uniform(35, 70)], p=[0.6, 0.28, 0.12]))
    return Style(
        panel=panel,
        panel_rgb=tint(float(grey), warmth),
        board_rgb=tint(board, warmth / 2),
        rail_rgb=rails[int(rng.choice(len(rails), p=[0.27, 0.2, 0.23, 0.12, 0.08, 0.05, 0.05]))],
        label_rgb=labels[int(rng.integers(len(labels)))],
        floor_rgb=tint(rng.uniform(110, 215), rng.uniform(-4, 20)),
        label_every_m=float(rng.uniform(0.09, 0.28)),
        flags=bool(rng.random() < 0.25),
        front_wire=bool(rng.random() < 0.1),
        gloom=float(rng.uniform(0.3, 0.85)),
        seed=int(rng.integers(2**31)),
    )
