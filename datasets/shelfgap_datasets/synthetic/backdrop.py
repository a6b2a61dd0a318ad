"""The empty fixture: boards, back panel, walls, floor and ceiling, cast one ray a pixel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.synthetic.camera import Array, Camera
from shelfgap_datasets.synthetic.scene import Fixture

_FAR = np.float32(1e6)
_UPRIGHT_M = 0.035
_STOREY_M = 3.2  # height of the shop's ceiling


def paint_backdrop(fixture: Fixture, camera: Camera) -> NDArray[np.uint8]:
    """Paint a fixture with nothing on it, as the camera sees it without lens distortion.

    Returns:
        RGB, uint8 (height, width, 3).
    """
    dx, dy, dz = camera.rays()
    cx, cy, cz = (np.float32(v) for v in camera.position)
    dz = np.minimum(dz, np.float32(-1e-3))  # rays that never meet the fixture end far away
    down = np.minimum(dy, np.float32(-1e-6))
    up = np.maximum(dy, np.float32(1e-6))
    reach = -cz / dz
    x0, y0 = cx + reach * dx, cy + reach * dy
    floor_y, ceiling_y = _cell_limits(fixture, y0)
    behind = -(cz + np.float32(fixture.depth_m)) / dz
    on_board = np.where(dy < 0, (floor_y - cy) / down, _FAR)
    on_underside = np.where(dy > 0, (ceiling_y - cy) / up, _FAR)
    hit = np.minimum(np.minimum(behind, on_board), on_underside)
    on_wall = _wall_distance(fixture, x0, dx, cx)
    hit = np.minimum(hit, on_wall)
    x, y = cx + hit * dx, cy + hit * dy
    depth = np.clip(-(cz + hit * dz) / np.float32(fixture.depth_m), 0, 1)

    # Light comes from the aisle ceiling: it fades into the depth and under the board above.
    below = np.clip((ceiling_y - y) / np.float32(0.22), 0, 1)
    lit = 1 - depth * np.float32(fixture.style.gloom) * (np.float32(1) - np.float32(0.45) * below)
    panel, board = fixture.style.panel_rgb, fixture.style.board_rgb
    gain = np.where(hit == on_board, lit, np.where(hit == on_wall, lit * np.float32(0.8), np.float32(0.34) * lit))
    within = (x0 > fixture.bays_m[0]) & (x0 < fixture.bays_m[-1])
    base = np.float32(fixture.boards_m[0] - fixture.rail_m)
    inside = within & (y0 > base) & ~((hit == behind) & (y > fixture.top_m))
    kick = within & (y0 <= base) & (y0 > 0)
    picture = np.empty((*x.shape, 3), np.uint8)
    panel_share = np.zeros_like(lit)
    on_panel = inside & (hit == behind)
    spots = hit[on_panel] / np.float32(camera.focal_px)
    panel_share[on_panel] = lit[on_panel] * _panel_pattern(fixture, x[on_panel], y[on_panel], spots)
    board_share = np.where(hit == behind, np.float32(0), gain)
    for c in range(3):
        shelf = np.float32(panel[c]) * panel_share + np.float32(board[c]) * board_share
        picture[..., c] = np.minimum(shelf, np.float32(255))
    picture[kick] = tuple(int(0.42 * c) for c in fixture.style.rail_rgb)
    outside = ~(inside | kick)
    if outside.any():
        rows, columns = np.nonzero(outside)
        picture[rows, columns] = _surroundings(fixture, camera, dx[outside], dy[outside], dz[outside], rows, columns)
    return picture


def _cell_limits(fixture: Fixture, y0: Array) -> tuple[Array, Array]:
    """Return for each ray the board below and the underside above the cell it enters, by its height y0."""
    step = np.float32(0.002)
    heights = np.arange(0, fixture.top_m + 1, step, dtype=np.float32)
    shelf = np.clip(np.searchsorted(np.array(fixture.boards_m), heights, side="right") - 1, 0, None)
    floors = np.array(fixture.boards_m, np.float32)
    ceilings = np.append(floors[1:] - np.float32(fixture.board_m), np.float32(99))
    index = np.clip(y0 / step, 0, len(heights) - 1).astype(np.int32)
    return floors[shelf][index], ceilings[shelf][index]


def _wall_distance(fixture: Fixture, x0: Array, dx: Array, cx: np.float32) -> Array:
    """Return how far along each ray the next wall across the shelf stands; far where there is none."""
    edges = fixture.bays_m if fixture.walls else (fixture.bays_m[0], fixture.bays_m[-1])
    steps = np.array(edges, np.float32)
    if len(steps) > 2:
        spacing = (steps[-1] - steps[0]) / (len(steps) - 1)
        bay = np.floor((x0 - steps[0]) / spacing)
        left, right = steps[0] + bay * spacing, steps[0] + (bay + 1) * spacing
    else:
        left, right = steps[0], steps[-1]
    side = np.where(dx > 0, right, left)
    safe = np.where(np.abs(dx) < 1e-6, np.float32(1e-6), dx)
    distance = (side - cx) / safe
    return np.where(np.abs(dx) < 1e-6, _FAR, distance).astype(np.float32)


def _panel_pattern(fixture: Fixture, x: Array, y: Array, pixel_m: Array) -> Array:
    """Return the gain of the back panel's holes, wires or slats and of the uprights at (x, y) on it.

    Args:
        fixture: its style names the panel.
        x: where the rays meet the panel, metres along the fixture.
        y: the same, metres above the floor.
        pixel_m: size of a pixel there, metres; finer detail fades into its mean.
    """

    def cover(distance: Array, half_m: float) -> Array:
        pixels_inside = (np.float32(half_m) - distance) / np.maximum(pixel_m, np.float32(1e-4))
        return np.clip(pixels_inside + np.float32(0.5), 0, 1)

    def to_line(value: Array, pitch_m: float) -> Array:
        phase = value / np.float32(pitch_m)
        return np.asarray(np.abs(phase - np.rint(phase)) * np.float32(pitch_m), np.float32)

    panel = fixture.style.panel
    gain = np.ones_like(x)
    if panel == "pegboard":
        distance = np.hypot(to_line(x, 0.026), to_line(y, 0.026))
        gain = 1 - np.float32(0.55) * cover(distance, 0.0042)
    elif panel == "mesh":
        wires = np.maximum(cover(to_line(x, 0.05), 0.0022), cover(to_line(y, 0.05), 0.0022))
        behind = 0.28 + 0.12 * np.sin(x * 17) * np.sin(y * 11 + x * 5)  # the next aisle, dim
        gain = behind + (1 - behind) * wires
    elif panel == "slats":
        gain = 1 - np.float32(0.5) * cover(to_line(y, 0.1), 0.005)
    bay_m = fixture.bays_m[1] - fixture.bays_m[0]
    upright = cover(to_line(x - np.float32(fixture.bays_m[0]), bay_m), _UPRIGHT_M / 2)
    slots = cover(to_line(y, 0.05), 0.012) * cover(to_line(x - np.float32(fixture.bays_m[0]), bay_m), 0.005)
    result: Array = (gain * (1 - upright) + upright * (np.float32(0.8) - np.float32(0.5) * slots)).astype(np.float32)
    return result


def _surroundings(
    fixture: Fixture,
    camera: Camera,
    dx: Array,
    dy: Array,
    dz: Array,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Paint the shop around the fixture for N rays: tiled floor, lit ceiling, other shelves far off.

    Returns:
        RGB, uint8 (N, 3).
    """
    cx, cy, cz = (np.float32(v) for v in camera.position)
    height, width = camera.size
    rng = np.random.default_rng(fixture.style.seed)
    far = rng.uniform(40, 200, (6, 9, 3)).astype(np.float32)
    colours = cv2.resize(far, (48, 36), interpolation=cv2.INTER_LINEAR)[rows * 36 // height, columns * 48 // width]

    def to_line(value: Array) -> Array:
        result: Array = np.abs(value - np.rint(value))
        return result

    distance = np.minimum(-cy / np.minimum(dy, np.float32(-1e-4)), np.float32(40))
    x, z = cx + distance * dx, cz + distance * dz
    tile = np.float32(rng.choice([0.3, 0.4, 0.6]))
    joint = np.minimum(to_line(x / tile), to_line(z / tile)) < 0.012
    tone = np.float32(0.96) - np.float32(0.16) * joint - np.float32(0.3) * np.exp(-np.abs(z) * 4)
    on_floor = (dy < 0) & (distance < 12) & (z > -fixture.depth_m)
    floor = np.array(fixture.style.floor_rgb, np.float32)
    colours = np.where(on_floor[:, None], floor * tone[:, None], colours)
    distance = np.minimum((_STOREY_M - cy) / np.maximum(dy, np.float32(1e-4)), np.float32(60))
    x, z = cx + distance * dx, cz + distance * dz
    lamp = (to_line(z / np.float32(2.6)) < 0.05) & (to_line(x / np.float32(3)) < 0.4)
    haze = np.float32(150) + np.float32(40) * np.clip(1 - distance / 20, 0, 1)
    tone = np.where(lamp, np.float32(252), haze)
    on_ceiling = (dy > 0) & (distance < 25)
    colours = np.where(on_ceiling[:, None], tone[:, None], colours)
    result: NDArray[np.uint8] = np.clip(colours, 0, 255).astype(np.uint8)
    return result
