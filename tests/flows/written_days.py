"""Shelf-days whose truth and detections are written by hand."""

from __future__ import annotations

import json

import numpy as np
import simplejpeg
from shelfgap_edge.contract import CLASSES
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.reading import FrameReading, Glance, Look
from shelfgap_edge.postprocess import Detections
from shelfgap_training.temporal.days import read_days

SIZE = (100, 200)
BOXES = {0: (20, 10, 40, 60), 1: (100, 10, 120, 60)}
CALM = Glance(Look(100.0, 50.0, 6.0), tuple(Look(50.0 + 10 * (i * 5 % 12), 20.0 + i, 6.0) for i in range(12)))
PARAMS = MonitorParams(open_frames=2, open_minutes=5, close_frames=2, close_minutes=5)


def clock(minute):
    return f"2026-01-01T{8 + minute // 60:02d}:{minute % 60:02d}:00"


def write_day(root, changes, frames=60, box_xyxy=BOXES, looks_empty=None):
    """Write a day of a frame every five minutes.

    changes: facing -> (minute, state); looks_empty: facing -> minutes from and to which its low stock is hidden.
    """
    facings = [
        {
            "facing": facing,
            "shelf": 0,
            "article": facing,
            "box_xyxy": box_xyxy.get(facing),
            "changes": [{"time": clock(minute), "state": state, "cause": "sold"} for minute, state in mine],
            "occluded": [],
            "looks_empty": [[clock(start), clock(end)] for start, end in (looks_empty or {}).get(facing, [])],
        }
        for facing, mine in changes.items()
    ]
    names = [{"file_name": f"day-00/{n:04d}.jpg", "time": clock(5 * n)} for n in range(frames)]
    day = {"day": 0, "camera": "c", "frames": names, "visits": [], "facings": facings}
    (root / "images" / "day-00").mkdir(parents=True)
    for name in names:
        picture = np.full((*SIZE, 3), 90, np.uint8)
        (root / "images" / name["file_name"]).write_bytes(simplejpeg.encode_jpeg(picture, colorspace="RGB"))
    (root / "timeline.json").write_text(json.dumps({"days": [day]}))
    return read_days(root)[0]


def seen(day, shown):
    """Return readings of a day; shown(minute) -> list of (class, facing or box)."""
    readings = []
    for at in day.times:
        found = [(name, BOXES.get(box, box)) for name, box in shown((at - day.times[0]) / 60)]
        detections = Detections(
            np.array([box for _, box in found], np.float32).reshape(-1, 4),
            np.full(len(found), 0.9, np.float32),
            np.array([CLASSES.index(name) for name, _ in found], np.int64),
        )
        readings.append(FrameReading(day.name, at, detections, SIZE, CALM))
    return readings


def truth(minute):
    return [("gap", 0)] if 60 <= minute < 180 or 200 <= minute < 215 else []
