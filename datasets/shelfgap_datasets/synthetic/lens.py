"""From an evenly lit picture to what a camera stores: lens, light, blur, noise and JPEG."""

from __future__ import annotations

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


def develop(image: Image, rng: np.random.Generator) -> Image:
    """Light a picture and pass it through optics and sensor; geometry stays as it is.

    Args:
        image: RGB in even light, uint8 (H, W, 3).
        rng: decides brightness, colour temperature, glare, vignetting, blur and noise.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    height, width = image.shape[:2]
    gamma = rng.uniform(0.8, 1.2)
    curve = (255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    blurred = _blur(curve[image], rng)
    picture = np.asarray(cv2.transform(blurred.astype(np.float32), _colour_matrix(rng)), np.float32)
    picture *= _enlarge(_light_field(rng, height / width), image.shape[:2])[..., None]
    picture += float(rng.choice([0.0, rng.uniform(0, 22)]))  # stray light lifts the blacks
    _glare(picture, rng)
    noise = float(rng.uniform(0.6, 3) if rng.random() < 0.65 else rng.uniform(3, 9))
    grain = rng.standard_normal((height, width), np.float32) * np.float32(noise)
    coarse = rng.standard_normal(((height + 1) // 2, (width + 1) // 2, 3), np.float32)
    picture += grain[..., None] + _enlarge(coarse, image.shape[:2]) * np.float32(0.7 * noise)
    return np.clip(picture, 0, 255).astype(np.uint8)


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


def _glare(picture: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Add spots of reflected light, in place."""
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.68, 0.18, 0.09, 0.05]))):
        x, y = rng.uniform(0, 32), rng.uniform(0, 24)
        wide, high = rng.uniform(0.5, 3.0), rng.uniform(0.4, 2.2)
        rows, columns = np.mgrid[0:24, 0:32].astype(np.float32)
        spot = np.exp(-(((columns - x) / wide) ** 2) - ((rows - y) / high) ** 2)
        spot = (spot * rng.uniform(40, 190)).astype(np.float32)
        picture += _enlarge(cv2.resize(spot, (128, 96), interpolation=cv2.INTER_CUBIC), picture.shape[:2])[..., None]


def _blur(image: Image, rng: np.random.Generator) -> Image:
    """Blur by focus or by motion along a line; both symmetric, so that nothing moves."""
    scale = max(image.shape[:2]) / 640
    chance = rng.random()
    sigma = float(rng.uniform(0.3, 0.75) if chance < 0.7 else rng.uniform(0.75, 1.7)) * scale
    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.25)), np.uint8)
    if rng.random() >= 0.12:
        return soft
    reach = max(1, round(float(rng.uniform(1, 4)) * scale))
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    offset = np.array([np.cos(angle), np.sin(angle)]) * reach
    (x1, y1), (x2, y2) = (np.round(reach + s * offset).astype(int).tolist() for s in (-1, 1))
    cv2.line(kernel, (x1, y1), (x2, y2), 1.0, 1)
    kernel += kernel[::-1, ::-1]
    return np.asarray(cv2.filter2D(soft, -1, kernel / kernel.sum()), np.uint8)
