"""A verdict as text: Markdown for a pull request, and the rows that the terminal shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shelfgap_training.report import TITLES, markdown_table

from shelfgap_export.gate.judge import Gate
from shelfgap_export.gate.verdict import Check

SIGNS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "not judged": "➖"}

_WORST_FIRST = ("fail", "inconclusive", "pass", "not judged")


def headline(gate: Gate) -> str:
    """Return who was judged against whom, on what."""
    evaluation = gate.candidate.evaluation
    ours = gate.candidate.entrant
    against = "nothing: there was no champion"
    if gate.champion is not None:
        theirs = gate.champion.entrant
        told = theirs.precision if theirs.origin is None else f"{theirs.precision}; {theirs.origin}"
        against = f"{theirs.manifest.name} {theirs.manifest.version} ({told})"
    return (
        f"{ours.manifest.name} {ours.manifest.version} ({ours.precision}) against {against}, on "
        f"{evaluation['images']} pictures in {evaluation['groups']} groups of {gate.dataset.name}"
    )


def shown_checks(gate: Gate) -> tuple[list[Check], str]:
    """Return the checks to list, worst first, and a line on those that are not: slices that hold or are too small."""
    shown = [check for check in gate.checks if check.kind != "slice floor" or check.verdict in ("fail", "inconclusive")]
    hidden = [check for check in gate.checks if check not in shown]
    shown.sort(key=lambda check: _WORST_FIRST.index(check.verdict))
    hold = sum(check.verdict == "pass" for check in hidden)
    return shown, f"{hold} slices hold their floor; {len(hidden) - hold} have too few boxes and were not judged."


def gate_markdown(gate: Gate) -> str:
    """Return the verdict as Markdown."""
    shown, slices = shown_checks(gate)
    rows = [[SIGNS[check.verdict], check.name, check.reason, needs_text(check)] for check in shown]
    lines = [
        f"## {SIGNS[gate.verdict]} Gate: {gate.verdict}",
        "",
        headline(gate),
        "",
        gate.reason,
        "",
        markdown_table(["", "check", "what was found", "what more data would do"], rows),
        "",
        slices,
        *_operating_point(gate),
        "",
        f"alpha {gate.params.alpha:g} one-sided. Candidate `{gate.candidate.entrant.identity[:16]}`, data "
        f"`{gate.dataset_sha256[:16]}`.",
    ]
    return "\n".join(lines) + "\n"


def needs_text(check: Check) -> str:
    """Return what would decide an open check, else nothing."""
    return check.needs.text() if check.needs is not None else ""


def operating_point_rows(gate: Gate) -> list[Sequence[str]]:
    """Return figure and difference at the operating points, those that are defined."""
    return [
        [TITLES[name], f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"]
        for name, d in gate.differences.items()
        if name in TITLES and name not in ("ap50", "recall_at_p90") and not math.isnan(d.value)
    ]


def _operating_point(gate: Gate) -> list[str]:
    rows = operating_point_rows(gate)
    if not rows:
        return []
    table = markdown_table(["at the operating points", "candidate minus champion"], rows)
    return ["", "Shown, not judged, since they trade against each other:", "", table]
