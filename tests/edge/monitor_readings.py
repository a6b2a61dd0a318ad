"""Readings of frames for tests of the monitor, made of boxes instead of pixels."""

from __future__ import annotations

import numpy as np
from shelfgap_edge.contract import CLASSES
from shelfgap_edge.monitor.camera import CameraMonitor
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.reading import FrameReading, Glance, Look
from shelfgap_edge.monitor.zones import Zone
from shelfgap_edge.postprocess import Detections

SIZE = (200, 400)
LEFT = Zone.from_box("left", (0.0, 0.0, 0.2, 1.0), shelf="upper")
RIGHT = Zone.from_box("right", (0.5, 0.0, 0.7, 1.0), weight=2.0)
ON_LEFT, ON_RIGHT = (0.05, 0.2, 0.15, 0.8), (0.55, 0.2, 0.65, 0.8)
NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC
FIVE_MINUTES = 300.0
PARAMS = MonitorParams(
    open_frames=3,
    open_minutes=10,
    low_frames=2,
    low_minutes=5,
    close_frames=2,
    close_minutes=5,
    escalate_minutes=10_000,
)
FULL, GAP, LOW = {}, {"gap": [ON_LEFT]}, {"low": [ON_LEFT]}

USUAL = Glance(Look(100.0, 50.0, 6.0), tuple(Look(50.0 + 10 * (i * 5 % 12), 20.0 + i, 6.0) for i in range(12)))
OTHER = Glance(Look(100.0, 50.0, 6.0), tuple(Look(50.0 + 10 * (i * 7 % 12), 32.0 - i, 6.0) for i in range(12)))
FLAT = Glance(Look(4.0, 1.0, 0.5), (Look(4.0, 1.0, 0.5),) * 12)
BLURRED = Glance(Look(100.0, 40.0, 0.6), USUAL.areas)


def reading(at, *, gap=(), low=(), occluder=(), glance=USUAL, camera="aisle-3", score=0.9):
    """Return a reading with boxes given as fractions of the frame, all of one score."""
    named = [(name, box) for name, boxes in zip(CLASSES, (gap, low, occluder), strict=True) for box in boxes]
    boxes = np.array([box for _, box in named], np.float32).reshape(-1, 4) * np.array([400, 200, 400, 200], np.float32)
    found = Detections(
        boxes.astype(np.float32),
        np.full(len(named), score, np.float32),
        np.array([CLASSES.index(name) for name, _ in named], np.int64),
    )
    return FrameReading(camera, at, found, SIZE, glance)


def watch(watched, *frames, start=NOON, every=FIVE_MINUTES):
    """Show frames (keywords of `reading`) one after another; return (number of the frame, action, kind, zone)."""
    told = []
    for number, frame in enumerate(frames):
        at = start + every * number
        told += [(number, event) for event in watched.observe(reading(at, **frame))]
    return [(number, event.action, event.kind, event.zone) for number, event in told]


def monitor(params=PARAMS, zones=(LEFT, RIGHT)):
    """Return a monitor of two zones, unless others are given."""
    return CameraMonitor("aisle-3", zones, params, shelf="lower", store="lyon-3")
