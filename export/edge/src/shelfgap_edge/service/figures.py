"""The figures that are read when metrics are asked for."""

from __future__ import annotations

from shelfgap_edge.service.cameras import Cameras
from shelfgap_edge.service.mailbox import Mailbox
from shelfgap_edge.service.metrics import Metrics
from shelfgap_edge.service.parts import Outbox
from shelfgap_edge.service.worker import Worker


def watch_figures(metrics: Metrics, mailbox: Mailbox, worker: Worker, cameras: Cameras, outbox: Outbox) -> None:
    """Show what waits, where, and for how long."""
    watch, figures = metrics.watch, outbox.figures
    watch("shelfgap_queue_frames", "Frames that wait.", lambda: len(mailbox))
    watch("shelfgap_queue_bytes", "Bytes of the frames that wait.", lambda: mailbox.waiting_bytes)
    watch("shelfgap_worker_idle_seconds", "Since its last sign of life.", lambda: worker.idle_seconds)
    watch("shelfgap_outbox_waiting", "Deliveries that wait, all sinks.", lambda: sum(figures().waiting.values()))
    watch("shelfgap_outbox_unsaved", "Steps of alerts in memory alone.", lambda: figures().held)
    watch("shelfgap_alerts_open", "Alerts not resolved.", lambda: len(outbox.open_alerts()))
    metrics.watch_cameras("shelfgap_camera_silence_seconds", "Since the last verdict.", cameras.silence_seconds)
