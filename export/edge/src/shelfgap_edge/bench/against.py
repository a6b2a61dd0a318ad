"""Is a bundle slower than another one, on this machine, in one job?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfgap_edge.bench.compare import compared_run, comparison
from shelfgap_edge.bench.interval import paired_ratio
from shelfgap_edge.bench.plan import Plan
from shelfgap_edge.bench.turns import Side, run_in_turns, turns_report
from shelfgap_edge.bench.variants import Subject, Variant, load_subject

if TYPE_CHECKING:
    from shelfgap_edge.trust import TrustedKeys

PROCESSES = 10


def judge_against(
    subject: Subject,
    plan: Plan,
    head: dict[str, Any],
    other: Path,
    *,
    margin: float,
    trusted: TrustedKeys | None = None,
) -> dict[str, Any]:
    """Measure a bundle against another in turns, and judge whether it is slower.

    Args:
        subject: our bundle.
        plan: how; its minimums are those of each process, its precision that of both bundles (None: each its own).
        head: see `plan.head_of`.
        other: the other bundle.
        margin: how much slower is tolerated, as a share.
        trusted: what `plan.keys` holds.

    Returns:
        The report, with a run for each side and `comparison`.

    Raises:
        ShelfgapError: a bundle must not run, or a process failed.
    """
    theirs = load_subject(other, subject.frames, keys=trusted)
    sides = (Side("this", plan.bundle, _variant(subject, plan)), Side("against", other, _variant(theirs, plan)))
    is_interrupted = run_in_turns(sides, plan, plan.processes or PROCESSES)
    ours, reference = (side.judged() for side in sides)
    clock = next(iter(ours.values))
    ratio = paired_ratio(ours.values[clock], reference.values[clock])
    precisions = [side.variant.precision for side in sides]
    named = f"{other} ({theirs.manifest.name} {theirs.manifest.version}, {precisions[1]})"
    notes = [] if len(set(precisions)) == 1 else [f"each by its default precision: {precisions[0]}, {precisions[1]}"]
    runs = [compared_run("this", ours.figure, clock, ratio, margin)]
    report = turns_report(sides, head, is_interrupted=is_interrupted)
    return report | {"comparison": comparison("bundle", named, margin, runs, notes)}


def _variant(subject: Subject, plan: Plan) -> Variant:
    precisions = plan.precisions or (subject.manifest.default_precision,)
    (variant,) = subject.variants(precisions, plan.runtimes, plan.threads)
    return variant
