"""Paint a stocked fixture: products cell by cell from the depth to the front, then rails and labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.synthetic.backdrop import paint_backdrop
from shelfgap_datasets.synthetic.camera import Array, Camera
from shelfgap_datasets.synthetic.products import Product
from shelfgap_datasets.synthetic.rails import paint_front
from shelfgap_datasets.synthetic.scene import EMPTY, Facing, Fixture, Stock
from shelfgap_datasets.synthetic.warp import Image, cell_mask, lay, quad_of

_ROWS_DRAWN = 3  # rows behind each other drawn of round packages; more would hide behind these
_LID_KINDS = ("can", "jar", "tub")


@dataclass(frozen=True)
class _Block:
    """Neighbouring facings of one article in the same state of stock."""

    product: Product
    x1_m: float
    x2_m: float
    count: int
    setback_m: float
    layers: int
    gains: NDArray[np.float64]  # (rows drawn, count), small differences in light between pieces


def paint_scene(fixture: Fixture, stock: Stock, camera: Camera, rng: np.random.Generator) -> Image:
    """Paint a fixture and its stock as the camera sees it in even light, without lens distortion.

    Args:
        fixture: boards, bays and facings.
        stock: state of each facing.
        camera: where it is seen from.
        rng: small differences between pieces; they belong to the facing, whatever its stock.

    Returns:
        RGB, uint8 (height, width, 3).
    """
    image = paint_backdrop(fixture, camera)
    # A ray enters the fixture through one cell and sees nothing of the others: paint each cell alone.
    desk = image.copy()
    gains = rng.uniform(0.9, 1.06, (_ROWS_DRAWN, len(fixture.facings)))
    for shelf in range(len(fixture.boards_m)):
        facings = [(f, i) for i, f in enumerate(fixture.facings) if f.shelf == shelf]
        if not fixture.walls:
            _paint_cell(image, desk, fixture, stock, camera, gains, facings, (fixture.bays_m[0], fixture.bays_m[-1]))
            continue
        for bay in range(len(fixture.bays_m) - 1):
            members = [(f, i) for f, i in facings if f.bay == bay]
            _paint_cell(image, desk, fixture, stock, camera, gains, members, fixture.bays_m[bay : bay + 2])
    paint_front(image, fixture, camera)
    return image


def _paint_cell(
    image: Image,
    desk: Image,
    fixture: Fixture,
    stock: Stock,
    camera: Camera,
    gains: NDArray[np.float64],
    facings: list[tuple[Facing, int]],
    x_m: tuple[float, ...],
) -> None:
    """Paint one cell on the desk, then copy what shows through its front opening to the image."""
    if not facings:
        return
    shelf = facings[0][0].shelf
    board = fixture.boards_m[shelf]
    top = fixture.ceiling_m(shelf) + (0.3 if shelf + 1 == len(fixture.boards_m) else 0)
    found = cell_mask(camera, (x_m[0], x_m[-1]), (board, top), 0.0)
    if found is None:
        return
    rows, columns, mask = found
    desk[rows, columns] = image[rows, columns]
    centre = float(camera.position[0])
    # Farther from the camera first: what stands nearer hides what stands beyond.
    blocks = sorted(_blocks(facings, stock, gains), key=lambda b: -abs((b.x1_m + b.x2_m) / 2 - centre))
    for block in blocks:
        _paint_block(desk, fixture, camera, block, board, fixture.ceiling_m(shelf))
    np.copyto(image[rows, columns], desk[rows, columns], where=mask[..., None])


def _blocks(facings: list[tuple[Facing, int]], stock: Stock, gains: NDArray[np.float64]) -> Iterator[_Block]:
    start = 0
    while start < len(facings):
        first, index = facings[start]
        stop = start + 1
        while stop < len(facings):
            other, at = facings[stop]
            same = (other.run, stock.setback_m[at], stock.layers[at]) == (
                first.run,
                stock.setback_m[index],
                stock.layers[index],
            )
            if not same:
                break
            stop += 1
        if stock.setback_m[index] != EMPTY:
            last = facings[stop - 1][0]
            yield _Block(
                first.product,
                first.x1_m,
                last.x2_m,
                stop - start,
                float(stock.setback_m[index]),
                int(stock.layers[index]),
                gains[:, index : index + stop - start],
            )
        start = stop


def _paint_block(
    desk: Image,
    fixture: Fixture,
    camera: Camera,
    block: _Block,
    board_m: float,
    ceiling_m: float,
) -> None:
    """Paint a block of pieces: what shows of its sides, tops and rows, the front row last."""
    product = block.product
    cx, cy, _ = (float(v) for v in camera.position)
    rows = max(1, int((fixture.depth_m - block.setback_m) / product.depth_m))
    top = board_m + block.layers * product.height_m
    depth = rows * product.depth_m
    z = -block.setback_m
    gains = _light(fixture, z - product.depth_m * np.arange(rows, dtype=np.float64))
    if quad_of(camera, (block.x1_m, block.x2_m), (board_m, top), (z, z)) is None:
        return
    if product.kind == "box":
        if not block.x1_m < cx < block.x2_m:
            x = block.x1_m if cx < block.x1_m else block.x2_m
            _lay_pieces(
                desk,
                camera,
                product,
                (x, x),
                (board_m, top),
                (z, z - depth),
                rows,
                block.layers,
                gains * 0.74,
            )
        if cy > top:
            _lay_tops(desk, camera, block, top, z, rows, gains)
    else:
        for row in range(min(rows, _ROWS_DRAWN) - 1, 0, -1):
            back = z - row * product.depth_m
            pieces = gains[row] * 0.85 * block.gains[row]
            _lay_pieces(
                desk,
                camera,
                product,
                (block.x1_m, block.x2_m),
                (board_m, top),
                (back, back),
                block.count,
                block.layers,
                pieces,
            )
        if cy > top and product.kind in _LID_KINDS:
            _lay_tops(desk, camera, block, top, z + product.depth_m / 2, rows, gains)
    front = gains[0] * block.gains[0]
    shadow = 0.5 * float(np.clip(block.setback_m / fixture.depth_m, 0, 1)) * float(ceiling_m - top < 0.12)
    _lay_pieces(
        desk,
        camera,
        product,
        (block.x1_m, block.x2_m),
        (board_m, top),
        (z, z),
        block.count,
        block.layers,
        front,
        shadow,
    )


def _light(fixture: Fixture, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much light reaches what stands at depth z: the deeper, the darker."""
    inward = np.clip(-z / fixture.depth_m, 0, 1)
    return np.asarray(1.02 - (0.25 + 0.6 * fixture.style.gloom) * inward**0.8)


def _lay_pieces(
    desk: Image,
    camera: Camera,
    product: Product,
    x_m: tuple[float, float],
    y_m: tuple[float, float],
    z_m: tuple[float, float],
    count: int,
    layers: int,
    gains: NDArray[np.float64],
    shadow: float = 0.0,
) -> None:
    """Lay a row of pieces on an upright rectangle from (x[0], z[0]) to (x[1], z[1])."""
    quad = quad_of(camera, x_m, y_m, z_m)
    if quad is None:
        return
    width, height = _extent(quad)
    wide, high = max(1, min(400, round(width / count))), max(1, min(400, round(height / layers)))
    piece = cv2.resize(product.sprite, (wide, high), interpolation=cv2.INTER_AREA)
    strip = np.empty((high * layers, wide * count, 4), np.uint8)
    for index, gain in enumerate(gains[:count]):
        tinted = cv2.multiply(piece, np.array([gain, gain, gain, 1.0]))
        for layer in range(layers):
            strip[layer * high : (layer + 1) * high, index * wide : (index + 1) * wide] = tinted
    if len(strip) > 8:  # a soft contact shadow at the foot, and the board's shadow at the top
        foot, head = max(1, len(strip) // 14), max(2, len(strip) // 4)
        _darken(strip[-foot:], np.linspace(1, 0.6, foot))
        if shadow > 0.02:
            _darken(strip[:head], np.linspace(1 - shadow, 1, head))
    lay(desk, strip, quad)


def _lay_tops(
    desk: Image, camera: Camera, block: _Block, y_m: float, z_m: float, rows: int, gains: NDArray[np.float64]
) -> None:
    """Lay the upper faces of all rows of a block, seen from above."""
    product = block.product
    quad = quad_of(camera, (block.x1_m, block.x2_m), (y_m, y_m), (z_m - rows * product.depth_m, z_m))
    if quad is None:
        return
    cell = 12
    canvas = np.zeros((rows * cell, block.count * cell, 4), np.uint8)
    for row in range(rows):
        gain = float(gains[rows - 1 - row])
        colour = tuple(float(min(255, c * gain)) for c in product.top_rgb)
        dim = tuple(0.7 * c for c in colour)
        for column in range(block.count):
            x, y = column * cell, row * cell
            if product.kind == "box":
                cv2.rectangle(canvas, (x, y), (x + cell - 1, y + cell - 1), (*dim, 255), -1)
                cv2.rectangle(canvas, (x + 1, y + 1), (x + cell - 2, y + cell - 2), (*colour, 255), -1)
            else:
                cv2.circle(canvas, (x + cell // 2, y + cell // 2), cell // 2 - 1, (*dim, 255), -1)
                cv2.circle(canvas, (x + cell // 2, y + cell // 2), cell // 2 - 3, (*colour, 255), -1)
    lay(desk, canvas, quad)


def _darken(part: Image, gains: NDArray[np.float64]) -> None:
    part[..., :3] = (part[..., :3] * gains[:, None, None].astype(np.float32)).astype(np.uint8)


def _extent(quad: Array) -> tuple[float, float]:
    """Return the longer of each pair of opposite sides of a quad: width and height in pixels."""
    sides = np.hypot(*(np.roll(quad, -1, axis=0) - quad).T)
    return float(max(sides[0], sides[2])), float(max(sides[1], sides[3]))
