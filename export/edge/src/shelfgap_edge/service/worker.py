"""One thread that judges frames: decode, detect, tell the monitor, overwrite."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from shelfgap_edge.errors import FrameError
from shelfgap_edge.image import DecodedFrame, decode_jpeg, frame_from_array
from shelfgap_edge.overwrite import overwrite
from shelfgap_edge.runtime import Detector
from shelfgap_edge.service.arrival import Arrival
from shelfgap_edge.service.cameras import Cameras
from shelfgap_edge.service.mailbox import Mailbox
from shelfgap_edge.service.metrics import Metrics
from shelfgap_edge.service.parts import Plan, Seen

_BEAT_SECONDS = 1.0
_TICK_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Worker(threading.Thread):
    """Takes frames until the mailbox is closed and empty.

    Args:
        mailbox: where frames wait.
        cameras: who is told what was seen.
        metrics: counts.
        detector: the first detector; `use` gives another one.
        plan: the first plan.
        max_pixels: of a frame.
    """

    def __init__(
        self, mailbox: Mailbox, cameras: Cameras, metrics: Metrics, detector: Detector, plan: Plan, max_pixels: int
    ) -> None:
        super().__init__(name="worker", daemon=True)
        self._mailbox, self._cameras, self._metrics = mailbox, cameras, metrics
        self.max_pixels = max_pixels
        self._next: tuple[Detector, Plan] | None = None
        self._detector = detector
        self._ticked_at = time.monotonic()
        self._alive_at = time.monotonic()
        cameras.use(plan, detector.manifest)

    @property
    def detector(self) -> Detector:
        """The detector that judges, or is about to."""
        waiting = self._next
        return self._detector if waiting is None else waiting[0]

    @property
    def idle_seconds(self) -> float:
        """How long ago it showed a sign of life; it does so at least each second, and after each frame."""
        return time.monotonic() - self._alive_at

    def use(self, detector: Detector, plan: Plan) -> None:
        """Judge by another detector or plan from the next frame on."""
        self._next = (detector, plan)

    def run(self) -> None:
        """Judge until told to stop."""
        while True:
            self._alive_at = time.monotonic()
            arrival = self._mailbox.take(_BEAT_SECONDS)
            self._take_over()  # after the wait for a frame, which may be the first of a new camera
            if arrival is not None:
                self._judge(arrival)
            elif self._mailbox.closed:
                return
            if time.monotonic() - self._ticked_at >= _TICK_SECONDS:
                self._tick()

    def _tick(self) -> None:
        self._ticked_at = time.monotonic()
        try:
            self._cameras.tick()
        except Exception as error:  # of a monitor; frames must go on
            _log.error("a tick failed", exc_info=error)

    def _take_over(self) -> None:
        waiting, self._next = self._next, None
        if waiting is None:
            return
        try:
            self._cameras.use(waiting[1], waiting[0].manifest)
        except Exception as error:
            _log.error("the monitors cannot be made anew; the old ones go on", exc_info=error)
            return
        self._detector = waiting[0]

    def _judge(self, arrival: Arrival) -> None:
        frames: list[DecodedFrame] = []
        verdict: dict[str, Any]
        began = time.monotonic()
        try:
            found, events = self._see(arrival, frames, began)
        except FrameError as error:
            outcome, verdict = error.reason, {"status": "refused", "reason": error.reason, "detail": str(error)}
        except Exception as error:  # of the model or a monitor: this frame is lost, the next one is served
            _log.error("a frame could not be judged", extra={"camera": arrival.camera_id}, exc_info=error)
            outcome, verdict = "failed", {"status": "failed", "reason": "internal"}
        else:
            outcome = "seen"
            verdict = {"status": "seen", "detections": found, "alerts": [_step(event) for event in events]}
        finally:
            for frame in frames:
                overwrite(frame.pixels)
            arrival.wipe()
        latency = time.monotonic() - arrival.received
        self._metrics.latency.observe(latency)
        self._metrics.frames.labels(arrival.camera_id, outcome).inc()
        arrival.settle({"camera": arrival.camera_id, "latency_ms": round(1000 * latency, 2), **verdict})

    def _see(self, arrival: Arrival, frames: list[DecodedFrame], began: float) -> tuple[Any, Any]:
        detector, stages = self._detector, self._metrics.stages
        if arrival.jpeg is not None:
            size = detector.manifest.input_size
            frames.append(decode_jpeg(arrival.jpeg, size, max_pixels=self.max_pixels))
        else:
            frames.append(frame_from_array(arrival.pixels))
        decoded = time.monotonic()
        frames.append(detector.preprocess(frames[0]))
        detections = detector.postprocess(detector.infer(frames[1]))
        detected = time.monotonic()
        seen = Seen(
            camera_id=arrival.camera_id,
            at=arrival.at,
            detections=detections,
            classes=detector.manifest.classes,
            frame_size=frames[0].full_size,
            pixels=frames[0].pixels,
        )
        events = self._cameras.observe(seen)
        judged = time.monotonic()
        for stage, seconds in (
            ("wait", began - arrival.received),
            ("decode", decoded - began),
            ("detect", detected - decoded),
            ("judge", judged - detected),
        ):
            stages.labels(stage).observe(seconds)
        return detections.to_dicts(detector.manifest.classes), events


def _step(event: Any) -> dict[str, Any]:
    return {"alert_id": event.alert_id, "kind": event.kind, "action": event.action, "zone": event.zone}
