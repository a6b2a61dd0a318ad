"""The gate on bundles, and as stages of a workspace."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shelfgap_datasets.synthetic.stills import render_still
from shelfgap_edge.contract import RUNTIMES
from shelfgap_edge.golden import parse_golden
from shelfgap_export.bundle import GOLDEN_SIZE
from shelfgap_export.gate.against import CHECKS_AGAINST
from shelfgap_export.gate.entrant import load_entrant
from shelfgap_export.gate.judge import Progress, judge, pictures_to_judge
from shelfgap_export.gate.latency import compare_latency, measure_alone
from shelfgap_export.gate.reports import clear_reports, write_reports

from shelfgap_flows.entrants import candidate_of, champion_of
from shelfgap_flows.params import Params
from shelfgap_flows.stage_files import StageError, read_stage_report, write_json
from shelfgap_flows.workspace import Workspace

PAIRS_FILE = "pairs.json"


def gate_bundles(
    candidate: Path,
    champion: Path | None,
    dataset: Path,
    folder: Path,
    params: Params,
    *,
    split: str = "test",
    device_class: str | None = None,
    runtime: str = RUNTIMES[0],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge a bundle, against another if one is given, and write the reports into a folder.

    Args:
        candidate: bundle directory or `.tar`.
        champion: the same, or None for floors alone.
        dataset: dataset directory.
        folder: for the reports; those of an earlier run are removed first.
        params: `gate` and `evaluation` of params.yaml.
        split: "test" or "all".
        device_class: what this machine stands for, to judge a latency budget.
        runtime: what runs the models.
        progress: told what is done.

    Returns:
        What `gate.json` holds.

    Raises:
        ShelfgapError: a bundle, the dataset or the folder cannot be used, or no budget is set for the class.
    """
    clear_reports(folder)
    _require_budget(device_class, params)
    ours = load_entrant(candidate)
    theirs = None if champion is None else load_entrant(champion)
    pictures_to_judge(dataset, split, ours, theirs)  # refused before minutes of measuring
    frames = [ours.files[name] for name in dict.fromkeys(g.file for g in parse_golden(ours.files, ours.where))]
    latency = None
    if theirs is not None:
        latency = compare_latency(
            ours,
            theirs,
            frames,
            params.gate,
            runtime=runtime,
            checks=CHECKS_AGAINST,
            progress=_named(progress, "latency"),
        )
    p90_ms = [] if device_class is None else measure_alone(ours, frames, params.gate, runtime=runtime)
    gate = judge(
        ours,
        theirs,
        dataset,
        params.gate,
        params.evaluation,
        latency=latency,
        split=split,
        device_class=device_class,
        p90_ms=p90_ms,
        runtime=runtime,
        threads=os.cpu_count() or 1,
        progress=progress,
    )
    return write_reports(gate, folder)


def pairs_stage(
    workspace: Workspace, device_class: str | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure the candidate's latency, against the champion's in turns and alone; writes reports/pairs.json.

    Args:
        workspace: of the candidate.
        device_class: what this machine stands for; None measures nothing alone.
        progress: told what is done.

    Raises:
        ShelfgapError: no budget is set for the class, or a model cannot be measured.
    """
    params = workspace.params()
    _require_budget(device_class, params)
    candidate, champion = candidate_of(workspace), champion_of(workspace)
    frames = [
        render_still(params.bundle.golden_seed, index, 0, GOLDEN_SIZE).jpeg
        for index in range(params.bundle.golden_frames)
    ]
    latency = None
    if champion is not None:
        latency = compare_latency(
            candidate,
            champion,
            frames,
            params.gate,
            runtime=RUNTIMES[0],
            checks=CHECKS_AGAINST,
            progress=_named(progress, "latency"),
        )
    p90_ms = [] if device_class is None else measure_alone(candidate, frames, params.gate, runtime=RUNTIMES[0])
    report = {
        "candidate": candidate.identity,
        "latency": latency,
        "device_class": device_class,
        "p90_ms": p90_ms,
    }
    write_json(workspace.reports / PAIRS_FILE, report)
    return report


def gate_stage(workspace: Workspace, progress: Progress | None = None) -> dict[str, Any]:
    """Judge the models of a workspace; writes reports/gate.json, gate.md, gate.xml and gate.html."""
    clear_reports(workspace.reports)
    params = workspace.params()
    pairs = read_stage_report(workspace, PAIRS_FILE, "shelfgap bench --pairs")
    device_class = pairs.get("device_class")
    _require_budget(device_class, params)
    candidate = candidate_of(workspace)
    if device_class is not None and pairs["candidate"] != candidate.identity:
        raise StageError(f"{PAIRS_FILE}: measured another candidate than that of now; run: shelfgap bench --pairs")
    gate = judge(
        candidate,
        champion_of(workspace),
        workspace.dataset,
        params.gate,
        params.evaluation,
        latency=pairs["latency"],
        device_class=device_class,
        p90_ms=pairs.get("p90_ms", []),
        threads=os.cpu_count() or 1,
        progress=progress,
    )
    return write_reports(gate, workspace.reports)


def measured_device_class(workspace: Workspace) -> str | None:
    """Return the class of device that the latency of a workspace was measured for; None for no class, or no report."""
    try:
        found: str | None = read_stage_report(workspace, PAIRS_FILE, "shelfgap bench --pairs").get("device_class")
    except StageError:
        return None
    return found


def _require_budget(device_class: str | None, params: Params) -> None:
    budgets = params.gate.latency.budgets_ms
    if device_class is not None and device_class not in budgets:
        known = ", ".join(sorted(budgets)) or "none"
        raise StageError(f"no latency budget for device class {device_class!r} in params.yaml (it has {known})")


def _named(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)
