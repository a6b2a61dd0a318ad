"""The figures that are read when metrics are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from shelfgap_edge.service.cameras import Cameras
from shelfgap_edge.service.mailbox import Mailbox
from shelfgap_edge.service.metrics import Metrics
from shelfgap_edge.service.parts import Outbox
from shelfgap_edge.service.worker import Worker
from shelfgap_edge.sources.state import SourceState


def watch_figures(
    metrics: Metrics,
    mailbox: Mailbox,
    worker: Worker,
    cameras: Cameras,
    outbox: Outbox,
    sources: Callable[[], Sequence[SourceState]],
) -> None:
    """Show what waits, where, and for how long; and how sources fare."""
    watch, figures = metrics.watch, outbox.figures
    watch("shelfgap_queue_frames", "Frames that wait.", lambda: len(mailbox))
    watch("shelfgap_queue_bytes", "Bytes of the frames that wait.", lambda: mailbox.waiting_bytes)
    watch("shelfgap_worker_idle_seconds", "Since its last sign of life.", lambda: worker.idle_seconds)
    watch("shelfgap_outbox_waiting", "Deliveries that wait, all sinks.", lambda: sum(figures().waiting.values()))
    watch("shelfgap_outbox_dropped", "Deliveries given up for want of room.", lambda: figures().dropped)
    metrics.watch_by(
        ("sink",),
        "shelfgap_outbox_refused",
        "Steps of alerts that a sink will not take.",
        lambda: {(sink,): count for sink, count in figures().refused.items()},
    )
    watch("shelfgap_outbox_unsaved", "Steps of alerts in memory alone.", lambda: figures().held)
    watch("shelfgap_alerts_open", "Alerts not resolved.", lambda: len(outbox.open_alerts()))
    metrics.watch_by(
        ("camera",),
        "shelfgap_camera_silence_seconds",
        "Since the last verdict.",
        lambda: {(camera_id,): seconds for camera_id, seconds in cameras.silence_seconds().items()},
    )

    def connected() -> Counter[tuple[str, ...]]:
        counts: Counter[tuple[str, ...]] = Counter()
        for state in sources():
            counts[_of(state)] += int(state.connected)
        return counts

    def failures() -> Counter[tuple[str, ...]]:
        counts: Counter[tuple[str, ...]] = Counter()
        for state in sources():
            for reason, count in state.failures.items():
                counts[(*_of(state), reason)] += count
        return counts

    source = ("kind", "where", "camera")
    metrics.watch_by(source, "shelfgap_sources_connected", "Sources whose connection stands.", connected)
    metrics.watch_by(
        (*source, "reason"), "shelfgap_source_failures_total", "Connections and frames that failed.", failures
    )


def _of(state: SourceState) -> tuple[str, str, str]:
    return state.kind, state.where, state.camera_id or ""
