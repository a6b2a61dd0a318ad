"""Products on the shelf: procedural packages with printed faces, no real brand and no real picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.synthetic.faces import Face

Kind = Literal["box", "bottle", "can", "bag", "jar", "tub"]
KINDS: tuple[Kind, ...] = ("box", "bottle", "can", "bag", "jar", "tub")
Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

_SPRITE_PX = (20, 260)  # least and greatest side of a sprite
_FONTS = (
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
)

_HUES = (0.0, 0.035, 0.09, 0.14, 0.25, 0.36, 0.52, 0.6, 0.78, 0.92)
_HUE_SHARES = (0.22, 0.08, 0.12, 0.12, 0.06, 0.1, 0.06, 0.14, 0.04, 0.06)

# Half width of a package by height, both as fractions: (fraction from the top, fraction of the width).
_PROFILES: dict[str, tuple[tuple[float, float], ...]] = {
    "soda": (
        (0, 0.17),
        (0.07, 0.18),
        (0.08, 0.13),
        (0.17, 0.15),
        (0.36, 0.48),
        (0.5, 0.5),
        (0.6, 0.46),
        (0.96, 0.5),
        (1, 0.44),
    ),
    "shampoo": (
        (0, 0.26),
        (0.15, 0.28),
        (0.16, 0.24),
        (0.19, 0.36),
        (0.27, 0.48),
        (0.6, 0.5),
        (0.97, 0.45),
        (1, 0.41),
    ),
    "jug": ((0, 0.2), (0.09, 0.22), (0.1, 0.17), (0.15, 0.22), (0.32, 0.49), (0.97, 0.5), (1, 0.46)),
    "can": ((0, 0.44), (0.035, 0.5), (0.965, 0.5), (1, 0.45)),
    "jar": ((0, 0.43), (0.02, 0.45), (0.18, 0.45), (0.19, 0.4), (0.26, 0.5), (0.93, 0.5), (1, 0.43)),
    "tub": ((0, 0.49), (0.13, 0.5), (0.14, 0.46), (0.97, 0.38), (1, 0.36)),
}
_ASPECTS: dict[Kind, tuple[float, float]] = {  # width by height of one piece
    "box": (0.42, 1.5),
    "bottle": (0.3, 0.5),
    "can": (0.55, 1.0),
    "bag": (0.62, 0.95),
    "jar": (0.55, 0.9),
    "tub": (0.95, 1.6),
}


@dataclass(frozen=True)
class Product:
    """One article: its package and how it is stacked.

    Attributes:
        kind: form of the package.
        width_m, height_m, depth_m: size of one piece, metres.
        layers: pieces on top of each other in a full facing.
        sprite: front view of one piece, uint8 (h, w, 4): RGB already multiplied by alpha, and alpha.
        side_rgb, top_rgb: plain colours of the other faces.
    """

    kind: Kind
    width_m: float
    height_m: float
    depth_m: float
    layers: int
    sprite: Image
    side_rgb: Colour
    top_rgb: Colour

    @property
    def stack_m(self) -> float:
        """Height of a full stack, metres."""
        return self.height_m * self.layers


@dataclass(frozen=True)
class Brand:
    """What the articles of one maker share: form, print design, base colour and size."""

    kind: Kind
    design: int  # seed of the printed design
    base: Colour
    profile: str
    stack_m: float
    layers: int
    aspect: float
    face: Face | None = None  # a picture of the front, instead of a printed design

    @property
    def width_m(self) -> float:
        """Width of one piece, metres."""
        return float(np.clip(self.stack_m / self.layers * self.aspect, 0.035, 0.42))


def draw_brand(
    rng: np.random.Generator, kind: Kind, clearance_m: float, tone: str, faces: Sequence[Face] = ()
) -> Brand:
    """Invent a brand that fits under a board.

    Args:
        rng: source of chance.
        kind: form of its packages.
        clearance_m: free height between two boards.
        tone: "any", "dark" or "white": the leading colour.
        faces: pictures of fronts; when there are any, the brand shows one of them.
    """
    if faces:
        face = faces[int(rng.integers(len(faces)))]
        shape: Kind = "bottle" if face.is_cut_out else "box"
        stack = clearance_m * rng.uniform(0.6, 0.93)
        layers = int(np.clip(round(stack / (0.22 * rng.uniform(0.75, 1.4))), 1, 3)) if shape == "box" else 1
        rgb = face.sprite[..., :3].reshape(-1, 3)[face.sprite[..., 3].ravel() > 200]
        red, green, blue = (int(v) for v in (rgb.mean(0) if len(rgb) else (128, 128, 128)))
        return Brand(shape, 0, (red, green, blue), "jug", stack, layers, face.aspect, face)
    fill = rng.uniform(0.66, 0.93) if rng.random() < 0.82 else rng.uniform(0.38, 0.6)
    layers = 1
    if kind in ("box", "can", "tub", "jar"):
        wanted = {"box": 0.2, "can": 0.11, "tub": 0.09, "jar": 0.14}[kind]
        layers = int(np.clip(round(clearance_m * fill / (wanted * rng.uniform(0.75, 1.6))), 1, 4))
    low, high = _ASPECTS[kind]
    aspect = rng.uniform(low, high)
    if kind == "box" and rng.random() < 0.2:
        aspect = rng.uniform(1.6, 3.2)
    profile = str(rng.choice(["soda", "shampoo", "jug"])) if kind == "bottle" else kind
    return Brand(kind, int(rng.integers(2**31)), _colour(rng, tone), profile, clearance_m * fill, layers, aspect)


def draw_product(rng: np.random.Generator, brand: Brand, px_per_m: float) -> Product:
    """Paint one article of a brand: same design, own accent colour.

    Args:
        rng: source of chance.
        brand: what the article shares with others.
        px_per_m: how finely to paint, pixels per metre: about as large as the camera sees it.
    """
    height, width = brand.stack_m / brand.layers, brand.width_m
    rows = int(np.clip(height * px_per_m, *_SPRITE_PX))
    columns = int(np.clip(width * px_per_m, *_SPRITE_PX))
    if brand.face is not None:
        return _pictured(brand, brand.face, (rows, columns), width * rng.uniform(0.4, 0.9))
    base = brand.base if rng.random() < 0.7 else _colour(rng, "any")
    accent = _colour(rng, "vivid" if rng.random() < 0.75 else "any")
    design = np.random.default_rng(brand.design)
    face = _print_face(design, rng, (rows, columns), base, accent)
    if brand.kind == "bottle":
        face = _bottle_face(design, face, base, accent)
    elif brand.kind in ("jar", "tub", "can"):
        lid = accent if design.random() < 0.5 else _shade((225, 225, 228), design.uniform(0.75, 1))
        lid_rows = max(1, int(rows * {"jar": 0.18, "tub": 0.13, "can": 0.035}[brand.kind]))
        face[:lid_rows] = lid
    alpha = _silhouette(brand, (rows, columns), design)
    shaded = _shape_light(face, brand.kind, design)
    sprite = np.dstack([cv2.multiply(shaded, cv2.merge([alpha] * 3), scale=1 / 255), alpha])
    depth = width * rng.uniform(0.3, 0.8) if brand.kind == "box" else width * rng.uniform(0.8, 1.0)
    if brand.kind == "bag":
        depth = width * rng.uniform(0.25, 0.45)
    top = (215, 217, 220) if brand.kind == "can" else _shade(accent if brand.kind != "box" else base, 1.08)
    return Product(
        brand.kind,
        width,
        height,
        float(np.clip(depth, 0.03, 0.3)),
        brand.layers,
        sprite,
        _shade(base, 0.86),
        top,
    )


def _pictured(brand: Brand, face: Face, size: tuple[int, int], depth_m: float) -> Product:
    sprite = np.asarray(cv2.resize(face.sprite, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return Product(
        brand.kind,
        brand.width_m,
        brand.stack_m / brand.layers,
        float(np.clip(depth_m, 0.03, 0.3)),
        brand.layers,
        sprite,
        _shade(brand.base, 0.86),
        _shade(brand.base, 1.08),
    )


def _colour(rng: np.random.Generator, tone: str) -> Colour:
    """Draw a colour as printed packages have it."""
    chance = rng.random()
    if tone == "dark" or (tone == "any" and chance < 0.08):
        hsv = (rng.random(), rng.uniform(0, 0.6), rng.uniform(0.05, 0.2))
    elif tone == "white" or (tone == "any" and chance < 0.3):
        hsv = (rng.random(), rng.uniform(0, 0.1), rng.uniform(0.82, 0.98))
    elif tone == "any" and chance < 0.42:
        hsv = (rng.random(), rng.uniform(0.2, 0.45), rng.uniform(0.6, 0.9))
    else:  # red, orange, yellow and blue lead on real shelves
        hue = rng.choice(_HUES, p=_HUE_SHARES) + rng.normal(0, 0.018)
        hsv = (float(hue) % 1, rng.uniform(0.5, 0.95), rng.uniform(0.42, 0.95))
    red, green, blue = colorsys.hsv_to_rgb(*hsv)
    return int(red * 255), int(green * 255), int(blue * 255)


def _shade(colour: Colour, gain: float) -> Colour:
    red, green, blue = (int(min(255, c * gain)) for c in colour)
    return red, green, blue


def _print_face(
    design: np.random.Generator, own: np.random.Generator, size: tuple[int, int], base: Colour, accent: Colour
) -> Image:
    """Paint bands, blobs, a picture, a logo and text-like strokes on a plain ground."""
    rows, columns = size
    face = np.full((rows, columns, 3), base, np.uint8)
    light = sum(base) > 380
    ink: Colour = (25, 25, 40) if light else (245, 245, 240)
    second = _colour(design, "any")
    layout = design.random(8)
    if layout[0] < 0.45:  # band
        top = design.uniform(0, 0.7)
        cv2.rectangle(face, (0, int(top * rows)), (columns, int((top + design.uniform(0.15, 0.4)) * rows)), accent, -1)
    if layout[1] < 0.35:  # slanted or curved field
        slant = [int(v * rows) for v in design.uniform(0.3, 1, 2)]
        cv2.fillPoly(
            face,
            [np.array([[0, slant[0]], [columns, slant[1]], [columns, rows], [0, rows]])],
            accent,
            cv2.LINE_AA,
        )
    if layout[2] < 0.3:
        centre = (int(design.uniform(0.2, 0.8) * columns), int(design.uniform(0.2, 0.9) * rows))
        cv2.ellipse(
            face,
            centre,
            (int(0.45 * columns), int(0.22 * rows)),
            design.uniform(-30, 30),
            0,
            360,
            second,
            -1,
            cv2.LINE_AA,
        )
    if layout[3] < 0.18:  # stripes
        for x in range(0, columns, max(4, columns // 6)):
            cv2.line(face, (x, 0), (x, rows), accent, max(1, columns // 18))
    if layout[4] < 0.6:  # a picture of the content
        food = _colour(own, "vivid")
        cx, cy = design.uniform(0.3, 0.7) * columns, design.uniform(0.6, 0.82) * rows
        for _ in range(int(design.integers(3, 8))):
            px, py = cx + design.normal(0, 0.15) * columns, cy + design.normal(0, 0.06) * rows
            radius = max(1, int(design.uniform(0.06, 0.17) * columns))
            cv2.circle(face, (int(px), int(py)), radius, _shade(food, design.uniform(0.6, 1.35)), -1, cv2.LINE_AA)
            cv2.circle(
                face,
                (int(px - radius / 3), int(py - radius / 3)),
                radius // 3,
                _shade(food, 1.6),
                -1,
                cv2.LINE_AA,
            )
    logo_y = design.uniform(0.16, 0.45) * rows
    if layout[5] < 0.45:  # a plate under the logo
        half = int(design.uniform(0.1, 0.18) * rows)
        plate = second if design.random() < 0.5 else (250, 250, 248)
        cv2.ellipse(face, (columns // 2, int(logo_y)), (int(0.46 * columns), half), 0, 0, 360, plate, -1, cv2.LINE_AA)
        ink = (25, 25, 60) if sum(plate) > 380 else (245, 245, 240)
    if layout[6] < 0.9:
        _logo(face, design, logo_y, ink if layout[6] < 0.6 else second)
    for _ in range(int(design.integers(2, 6))):  # small print
        y = int(design.uniform(0.3, 0.97) * rows)
        x1 = int(design.uniform(0.05, 0.5) * columns)
        x2 = x1 + int(design.uniform(0.15, 0.45) * columns)
        for x in range(x1, x2, max(3, columns // 14)):
            cv2.line(face, (x, y), (min(x2, x + max(1, columns // 24)), y), ink, max(1, rows // 80))
    if layout[7] < 0.15:  # a price-off burst
        cv2.circle(
            face,
            (int(0.8 * columns), int(0.15 * rows)),
            max(2, columns // 8),
            (250, 225, 40),
            -1,
            cv2.LINE_AA,
        )
    return face


def _logo(face: Image, rng: np.random.Generator, centre_y: float, ink: Colour) -> None:
    rows, columns = face.shape[:2]
    consonants, vowels = "BCDFGKLMNPRSTVZ", "AEIOU"
    word = "".join(rng.choice(list(consonants)) + rng.choice(list(vowels)) for _ in range(int(rng.integers(1, 4))))
    word = word if rng.random() < 0.5 else word + str(rng.choice(list(consonants)))
    font = int(rng.choice(_FONTS))
    (text_width, text_height), _ = cv2.getTextSize(word, font, 1.0, 2)
    scale = min(columns * rng.uniform(0.42, 0.88) / text_width, rows * 0.24 / text_height)
    thickness = max(1, int(scale * 3.4))
    origin = (int((columns - text_width * scale) / 2), int(centre_y + text_height * scale / 2))
    cv2.putText(face, word, origin, font, scale, ink, thickness, cv2.LINE_AA)


def _bottle_face(rng: np.random.Generator, face: Image, base: Colour, accent: Colour) -> Image:
    """Keep the print as a label, and paint cap and content around it."""
    rows, columns = face.shape[:2]
    content = _shade(base, 0.9) if rng.random() < 0.5 else _colour(rng, "any")
    bottle = np.full_like(face, content)
    top, bottom = int(rng.uniform(0.38, 0.5) * rows), int(rng.uniform(0.8, 0.95) * rows)
    bottle[top:bottom] = cv2.resize(face, (columns, bottom - top), interpolation=cv2.INTER_AREA)
    bottle[: int(rng.uniform(0.07, 0.15) * rows)] = accent
    return bottle


def _silhouette(brand: Brand, size: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return the coverage of the package in its rectangle, uint8 (rows, columns)."""
    rows, columns = size
    alpha = np.zeros(size, np.uint8)
    if brand.kind == "box":
        alpha[:] = 255
        return alpha
    if brand.kind == "bag":
        profile = np.array(
            [(y, 0.5 - 0.05 * abs(np.sin(5 * y + 1)) - 0.04 * (y < 0.05)) for y in np.linspace(0, 1, 14)]
        )
        profile[:, 1] -= rng.uniform(0, 0.025, len(profile))
    else:
        profile = np.array(_PROFILES[brand.profile])
    ys = profile[:, 0] * rows
    left, right = (0.5 - profile[:, 1]) * columns, (0.5 + profile[:, 1]) * columns
    outline = np.concatenate([np.stack([left, ys], 1), np.stack([right, ys], 1)[::-1]]) - 0.5
    cv2.fillPoly(alpha, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return alpha


def _shape_light(face: Image, kind: Kind, rng: np.random.Generator) -> Image:
    """Shade a printed face as the form of its package does: round, creased or flat."""
    rows, columns = face.shape[:2]
    u = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    v = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    gloss = np.zeros((1, columns), np.float32)
    if kind == "box":
        gain = (1.04 - 0.12 * v) * np.ones_like(u)
        gain[:, :1] *= 0.72
        gain[:, -1:] *= 0.72
        gain[:1] *= 1.15
    elif kind == "bag":
        waves = cv2.resize(
            rng.uniform(0.72, 1.25, (5, 4)).astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC
        )
        gain = waves * (0.7 + 0.35 * np.sqrt(np.maximum(1 - u**2, 0)))
        gain[: max(1, rows // 20)] *= 1.2
    else:
        gain = (0.42 + 0.66 * np.sqrt(np.maximum(1 - (0.97 * u) ** 2, 0))) * (1.03 - 0.1 * v)
        gloss = 60 * np.exp(-(((u + rng.uniform(0.2, 0.5)) / 0.12) ** 2)).astype(np.float32)
    return np.clip(face * gain[..., None] + gloss[..., None], 0, 255).astype(np.uint8)
