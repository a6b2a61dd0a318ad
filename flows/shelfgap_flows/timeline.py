"""`shelfgap evaluate --timeline`: what a bundle's alerts are worth on shelf-days, and which settings suit it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shelfgap_datasets.coco import ANNOTATIONS_FILE, write_text_atomic

from shelfgap_flows.hashes import code_hash
from shelfgap_flows.params import Params
from shelfgap_flows.stage_files import write_json
from shelfgap_flows.workspace import Workspace

Progress = Callable[[str, int, int], None]


def evaluate_timeline(
    workspace: Workspace,
    params: Params,
    bundle: Path,
    dataset: Path,
    precision: str,
    with_sweep: bool,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Replay shelf-days through the monitor; writes timeline.json, .md, -day.png and, of a sweep, .png to reports.

    What was detected is kept in the workspace, so that a second call, or one after a kill, looks at no frame twice.

    Args:
        workspace: where reports and detections go.
        params: `monitor`, unless the bundle has its own; `timeline` and `evaluation`.
        bundle: directory or `.tar`; its checksums are verified.
        dataset: shelf-days.
        precision: "int8" or "fp32".
        with_sweep: also try the settings of `timeline`.
        progress: told (what, done, in all).

    Raises:
        BundleError: the bundle cannot be used.
        DatasetError: no timeline.
    """
    from shelfgap_edge.monitor.params import MonitorParams
    from shelfgap_edge.runtime import Detector
    from shelfgap_training.temporal.chart import draw_day
    from shelfgap_training.temporal.days import TIMELINE_FILE, read_days
    from shelfgap_training.temporal.report import timeline_markdown
    from shelfgap_training.temporal.seen import read_all
    from shelfgap_training.temporal.sweep import measure, sweep
    from shelfgap_training.temporal.trade_off import draw_trade_off
    from shelfgap_training.temporal.widths import by_width

    def told(what: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(what, done, total)

    detector = Detector.load(bundle, precision=precision, threads=os.cpu_count() or 1)
    manifest = detector.manifest
    days = read_days(dataset)
    thresholds = repr(sorted(manifest.score_thresholds.items()))
    # the timeline tells no pictures: days of other products have the same
    files = [path.read_bytes() for name in (TIMELINE_FILE, ANNOTATIONS_FILE) if (path := dataset / name).is_file()]
    zones = [day.zones for day in days]  # what is looked at beside the whole; other code may find others
    identity = f"{manifest.version} {precision} {thresholds} {zones} {code_hash('edge')}".encode()
    key = hashlib.sha256(b"".join([identity, *files])).hexdigest()[:16]
    readings = read_all(detector, dataset, days, workspace.scratch / f"timeline-{key}.jsonl", told("detecting"))
    settings = params.monitor.on_device() if manifest.monitor is None else MonitorParams.from_bundle(manifest.monitor)
    least, widths = params.timeline.min_gap_minutes, params.timeline.width_percent
    point = measure(days, readings, settings, least, params.evaluation)
    report: dict[str, Any] = {
        "bundle": manifest.version,
        "precision_mode": precision,
        "days": len(days),
        "frames": sum(len(of_day) for of_day in readings.values()),
        "facings": sum(len(day.zones) for day in days),
        "gaps": sum(len(day.gaps(least)) for day in days),
        "monitor": settings.to_bundle(),
        **point.to_dict(),
        "by_width": by_width(days, point.outcomes, widths, least, params.evaluation),
    }
    if with_sweep:
        tried = sweep(days, readings, settings, params.timeline, params.evaluation, told("replaying"))
        report["scores"] = [one.to_dict() for one in tried.scores]
        report["persistence"] = [one.to_dict() for one in tried.persistence]
        report["chosen"] = tried.chosen.to_dict()
        draw_trade_off(workspace.reports / "timeline.png", tried, params.timeline)
    day, outcome = max(zip(days, point.outcomes, strict=True), key=lambda one: len(one[1].missed) + len(one[1].false))
    draw_day(workspace.reports / "timeline-day.png", day, outcome)
    write_json(workspace.reports / "timeline.json", report)
    write_text_atomic(workspace.reports / "timeline.md", timeline_markdown(report))
    return report
