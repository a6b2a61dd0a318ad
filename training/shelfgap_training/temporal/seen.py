"""What a detector sees in the frames of shelf-days, kept in a file so that a stopped evaluation goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from shelfgap_datasets.frames import read_frame
from shelfgap_datasets.pictures import read_picture
from shelfgap_edge.errors import FrameError
from shelfgap_edge.monitor.reading import FrameReading, Glance, Look, glance
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.runtime import Detector

from shelfgap_training.temporal.days import ShelfDay

logger = logging.getLogger(__name__)

Readings = dict[str, tuple[FrameReading, ...]]
"""Name of a day -> its frames, in order."""


def read_all(
    detector: Detector,
    root: Path,
    days: Sequence[ShelfDay],
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Readings:
    """Run a detector over the frames of days at its own thresholds; frames in the cache are not looked at again.

    A frame that cannot be read is left out with a warning, each time.

    Args:
        detector: of the bundle.
        root: dataset directory.
        days: its days.
        cache: file of one line a frame; its name must tell detector and dataset. A line that a kill cut short is
            dropped.
        progress: told (frames done, frames in all).
    """
    cache.parent.mkdir(parents=True, exist_ok=True)
    kept = _kept(cache)
    total, done = sum(len(day.files) for day in days), 0
    found: Readings = {}
    with cache.open("w" if not kept else "a", encoding="utf-8") as file:
        for day in days:
            readings = []
            for name, at in zip(day.files, day.times, strict=True):
                if name not in kept:
                    kept[name] = _look(detector, root, name, day)
                    if "error" not in kept[name]:  # what cannot be read now may be there another time
                        file.write(json.dumps({"file": name, **kept[name]}) + "\n")
                        file.flush()
                done += 1
                if progress is not None:
                    progress(done, total)
                if "error" not in kept[name]:
                    readings.append(_reading(day.name, at, kept[name], detector.manifest.classes))
            found[day.name] = tuple(readings)
    return found


def _look(detector: Detector, root: Path, name: str, day: ShelfDay) -> dict[str, Any]:
    try:
        frame = detector.decode(read_frame(read_picture(root, name)))
    except (FrameError, OSError) as error:
        logger.warning("%s: left out of the evaluation: %s", name, error)
        return {"error": str(error)}
    seen = detector.postprocess(detector.infer(detector.preprocess(frame)))
    return {
        "size": list(frame.full_size),
        "boxes_xyxy": seen.boxes_xyxy.round(2).tolist(),
        "scores": seen.scores.round(4).tolist(),
        "class_ids": seen.class_ids.tolist(),
        "glance": asdict(glance(frame.pixels, day.zones)),
    }


def _reading(camera: str, at: float, seen: dict[str, Any], classes: tuple[str, ...]) -> FrameReading:
    height, width = seen["size"]
    detections = Detections(
        np.array(seen["boxes_xyxy"], np.float32).reshape(-1, 4),
        np.array(seen["scores"], np.float32),
        np.array(seen["class_ids"], np.int64),
    )
    look = seen["glance"]
    areas = tuple(Look(**area) for area in look["areas"])
    return FrameReading(camera, at, detections, (height, width), Glance(Look(**look["whole"]), areas), classes)


def _kept(cache: Path) -> dict[str, dict[str, Any]]:
    """Return the whole lines of a cache, and cut off what follows them."""
    if not cache.exists():
        return {}
    data = cache.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with cache.open("r+b") as file:
            file.truncate(len(whole))
    lines = [json.loads(line) for line in whole.splitlines()]
    return {line.pop("file"): line for line in lines if "error" not in line}
