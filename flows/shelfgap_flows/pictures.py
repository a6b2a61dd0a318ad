"""Pictures with what a bundle finds in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from shelfgap_datasets.frames import read_frame
from shelfgap_edge.errors import FrameError, ShelfgapError
from shelfgap_edge.runtime import Detector
from shelfgap_training.gallery import draw_detections


def draw_predictions(
    bundle: Path, images: Sequence[Path], folder: Path, precision: str
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Draw the detections of a bundle on pictures.

    Args:
        bundle: directory or `.tar`.
        images: pictures; one that cannot be used is reported and the others are done.
        folder: where the drawn pictures go, as JPEG under the same names; made if needed.
        precision: "int8" or "fp32".

    Returns:
        Per picture `image`, `picture` and `detections`; and per refused one `image` and `reason`.

    Raises:
        ShelfgapError: the bundle or the folder cannot be used.
    """
    detector = Detector.load(bundle, precision=precision)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ShelfgapError(f"{folder}: cannot be made ({error.strerror})") from None
    drawn: list[dict[str, Any]] = []
    problems: list[dict[str, str]] = []
    taken: set[str] = set()
    for path in images:
        try:
            detections = detector.detect(read_frame(path))
            with Image.open(path) as image:
                pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (FrameError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            problems.append({"image": str(path), "reason": " ".join(reason.split())})
            continue
        name = path.stem
        while name in taken:
            name += "-2"
        taken.add(name)
        target = folder / f"{name}.jpg"
        picture = draw_detections(pixels, detections, detector.manifest.classes)
        Image.fromarray(picture).save(target, "JPEG", quality=92)
        found = detections.to_dicts(detector.manifest.classes)
        drawn.append({"image": str(path), "picture": str(target), "detections": found})
    return drawn, problems
