"""Facings learnt from what is found, for cameras whose zones nobody drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.watched_zone import WatchedZone
from shelfgap_edge.monitor.zones import Box, Zone

MOST_FACINGS = 64
_SPARE = 8  # of them are kept free for new ones
_KEPT_S = 30 * 86_400.0  # a facing without trouble is remembered that long after its last alert


def new_facings(
    zones: Sequence[Zone], boxes_norm: Mapping[str, Sequence[Box]], first_number: int, params: MonitorParams
) -> list[Zone]:
    """Return a zone for each gap or low stock that lies in none, unless occluders hide it or there are too many.

    The first box that is seen of a facing is its zone. A wider gap that covers it later, or a narrower one within it,
    belongs to it by `Zone.holds`, so a gap that grows or shrinks stays one.
    """
    known = list(zones)
    for box in (*boxes_norm["gap"], *boxes_norm["low"]):
        if len(known) >= MOST_FACINGS:
            break
        zone = Zone.from_box(f"facing-{first_number + len(known) - len(zones)}", box)
        if zone.covered_share(boxes_norm["occluder"]) > params.max_occluded_share:
            continue
        if not any(other.holds(box, params.min_share) for other in known):
            known.append(zone)
    return known[len(zones) :]


def is_worth_keeping(watched: WatchedZone, at: float) -> bool:
    """Say whether a learnt facing is remembered: while something speaks for trouble, and long after an alert."""
    if not watched.is_at_rest():
        return True
    alert = watched.alert
    return alert is not None and (alert.is_open or at - alert.changed_at < _KEPT_S)


def to_forget(watched: Mapping[str, WatchedZone], at: float) -> list[str]:
    """Return the names of learnt facings to forget: those that are not worth keeping, and what makes room for others.

    Where few are free, facings at rest go whose alert was resolved longest ago.
    """
    kept = {name: one for name, one in watched.items() if is_worth_keeping(one, at)}
    resting = [
        (one.alert.changed_at, name)
        for name, one in kept.items()
        if one.is_at_rest() and one.alert is not None and not one.alert.is_open
    ]
    excess = max(0, len(kept) - (MOST_FACINGS - _SPARE))
    return [name for name in watched if name not in kept] + [name for _, name in sorted(resting)[:excess]]
