"""From an evenly lit picture to what a camera stores: lens, light, blur, noise and JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.synthetic.camera import Camera
from shelfgap_datasets.synthetic.warp import Image

_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def bend(image: Image, camera: Camera) -> Image:
    """Apply the camera's barrel distortion to an ideal picture, uint8 (H, W, 3)."""
    if camera.barrel == 0:
        return image
    position, fraction = _remap_tables(camera.size, camera.barrel)
    bent = cv2.remap(image, position, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return bent.astype(np.uint8, copy=False)


@lru_cache(maxsize=2)
def _remap_tables(size: tuple[int, int], barrel: float) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Tabulate where each pixel of the final frame samples the ideal picture, in OpenCV's fixed point."""
    straight = Camera(np.zeros(3, np.float32), np.eye(3, dtype=np.float32), 1.0, size, barrel)
    height, width = size
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32) + np.float32(0.5)
    ideal = straight.undistort(grid) - np.float32(0.5)
    position, fraction = cv2.convertMaps(ideal[..., 0], ideal[..., 1], cv2.CV_16SC2)
    return position.astype(np.int16, copy=False), fraction.astype(np.uint16, copy=False)


@dataclass(frozen=True)
class Light:
    """The light of one picture and the faults of the optics, as drawn for a scene.

    Attributes:
        gamma: of the tone curve.
        sigma_norm: blur, as a fraction of the longer side of the frame.
        motion_norm: reach and angle of a blur along a line, (fraction of the longer side, radians), or None.
        colour: (3, 3) matrix on RGB: exposure, colour temperature and saturation.
        field: (24, 32), how the light falls over the frame.
        lift: stray light that lifts the blacks, levels.
        glare: spots of reflected light, each (96, 128) levels.
        noise: standard deviation, levels.
    """

    gamma: float
    sigma_norm: float
    motion_norm: tuple[float, float] | None
    colour: NDArray[np.float32]
    field: NDArray[np.float32]
    lift: float
    glare: tuple[NDArray[np.float32], ...]
    noise: float


def draw_light(rng: np.random.Generator, aspect: float) -> Light:
    """Draw light and optics; `aspect` is height by width of the frame."""
    gamma = rng.uniform(0.8, 1.2)
    sigma = float(rng.uniform(0.3, 0.75) if rng.random() < 0.7 else rng.uniform(0.75, 1.7)) / 640
    motion = None
    if rng.random() < 0.12:
        motion = (float(rng.uniform(1, 4)) / 640, float(rng.uniform(0, np.pi)))
    return Light(
        gamma=gamma,
        sigma_norm=sigma,
        motion_norm=motion,
        colour=_colour_matrix(rng),
        field=_light_field(rng, aspect),
        lift=float(rng.choice([0.0, rng.uniform(0, 22)])),
        glare=_draw_glare(rng),
        noise=float(rng.uniform(0.6, 3) if rng.random() < 0.65 else rng.uniform(3, 9)),
    )


def develop(image: Image, light: Light, rng: np.random.Generator) -> Image:
    """Light a picture and pass it through optics and sensor; geometry stays as it is.

    Args:
        image: RGB in even light, uint8 (H, W, 3).
        light: brightness, colour temperature, glare, vignetting, blur and noise.
        rng: decides the grain of the noise.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    height, width = image.shape[:2]
    curve = (255 * (np.arange(256) / 255) ** light.gamma).astype(np.uint8)
    blurred = _blur(curve[image], light)
    picture = np.asarray(cv2.transform(blurred.astype(np.float32), light.colour), np.float32)
    picture *= _enlarge(light.field, image.shape[:2])[..., None]
    picture += light.lift
    for spot in light.glare:
        picture += _enlarge(spot, image.shape[:2])[..., None]
    grain = rng.standard_normal((height, width), np.float32) * np.float32(light.noise)
    coarse = rng.standard_normal(((height + 1) // 2, (width + 1) // 2, 3), np.float32)
    picture += grain[..., None] + _enlarge(coarse, image.shape[:2]) * np.float32(0.7 * light.noise)
    return np.clip(picture, 0, 255).astype(np.uint8)


def cheapen(image: Image) -> Image:
    """Treat a picture as the processor of a small camera does: smear colour and grain, let highlights bloom violet.

    Modelled on 640x480 pictures of an ESP32-CAM: hardly any grain is left, edges are soft, colour is smeared over
    blocks, and what is blown out turns violet and shines into its surroundings.

    Args:
        image: RGB, uint8 (H, W, 3).
    """
    side = max(image.shape[:2]) / 640
    luma, cr, cb = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    luma = cv2.GaussianBlur(cv2.medianBlur(luma, 3), (0, 0), 0.9 * side)
    cr, cb = (cv2.GaussianBlur(channel, (0, 0), 3.0 * side) for channel in (cr, cb))
    smeared = np.asarray(cv2.cvtColor(cv2.merge([luma, cr, cb]), cv2.COLOR_YCrCb2RGB), np.float32)
    blown = np.clip((luma.astype(np.float32) - 225) / 25, 0, 1)
    bloom = np.asarray(cv2.GaussianBlur(blown, (0, 0), 14 * side), np.float32)
    smeared += bloom[..., None] * np.array([26, 8, 30], np.float32)
    violet = np.array([244, 228, 255], np.float32)
    mixed = smeared * (1 - 0.7 * blown[..., None]) + violet * 0.7 * blown[..., None]
    return np.clip(mixed, 0, 255).astype(np.uint8)


def store(image: Image, quality: int) -> bytes:
    """Encode a picture, RGB uint8 (H, W, 3), as JPEG of a quality of 1 to 100."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def restore(jpeg: bytes) -> Image:
    """Decode a stored picture to RGB, uint8 (H, W, 3)."""
    bgr = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(bgr[..., ::-1])


def _enlarge(field: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Stretch a coarse field to a frame of `size` (h, w), linearly."""
    return np.asarray(cv2.resize(field, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _colour_matrix(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw saturation, colour temperature, tint and exposure as one (3, 3) matrix on RGB."""
    saturation, warmth, tint = rng.uniform(0.6, 1.3), rng.normal(0, 0.055), rng.normal(0, 0.02)
    exposure = float(np.clip(rng.normal(0.95, 0.14), 0.58, 1.4))
    gains = exposure * np.array([1 + warmth, 1 + tint, 1 - warmth], np.float32)
    mixed = saturation * np.eye(3, dtype=np.float32) + np.float32(1 - saturation) * _GREY[None, :]
    matrix: NDArray[np.float32] = (gains[:, None] * mixed).astype(np.float32)
    return matrix


def _light_field(rng: np.random.Generator, aspect: float) -> NDArray[np.float32]:
    """Draw how the light falls over the frame, (24, 32): a slope, lamps above, and vignetting."""
    y, x = np.mgrid[-1:1:24j, -1:1:32j].astype(np.float32)
    slope = rng.normal(0, 0.09) * x - abs(rng.normal(0, 0.1)) * y
    lamps = rng.uniform(0, 0.08) * np.sin(x * rng.uniform(2, 6) + rng.uniform(0, 6))
    corner = rng.uniform(0, 0.32) * ((x**2 + (aspect * y) ** 2) / (1 + aspect**2)) ** 1.5
    field: NDArray[np.float32] = np.clip((1 + slope + lamps) * (1 - corner), 0.25, 1.6).astype(np.float32)
    return field


def _draw_glare(rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
    """Draw spots of reflected light, each (96, 128) levels."""
    spots = []
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.68, 0.18, 0.09, 0.05]))):
        x, y = rng.uniform(0, 32), rng.uniform(0, 24)
        wide, high = rng.uniform(0.5, 3.0), rng.uniform(0.4, 2.2)
        rows, columns = np.mgrid[0:24, 0:32].astype(np.float32)
        spot = np.exp(-(((columns - x) / wide) ** 2) - ((rows - y) / high) ** 2)
        spot = (spot * rng.uniform(40, 190)).astype(np.float32)
        spots.append(np.asarray(cv2.resize(spot, (128, 96), interpolation=cv2.INTER_CUBIC), np.float32))
    return tuple(spots)


def _blur(image: Image, light: Light) -> Image:
    """Blur by focus or by motion along a line; both symmetric, so that nothing moves."""
    side = max(image.shape[:2])
    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), max(light.sigma_norm * side, 0.25)), np.uint8)
    if light.motion_norm is None:
        return soft
    reach, angle = max(1, round(light.motion_norm[0] * side)), light.motion_norm[1]
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    offset = np.array([np.cos(angle), np.sin(angle)]) * reach
    (x1, y1), (x2, y2) = (np.round(reach + s * offset).astype(int).tolist() for s in (-1, 1))
    cv2.line(kernel, (x1, y1), (x2, y2), 1.0, 1)
    kernel += kernel[::-1, ::-1]
    return np.asarray(cv2.filter2D(soft, -1, kernel / kernel.sum()), np.uint8)
