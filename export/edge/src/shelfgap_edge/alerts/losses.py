"""What to give up when there is room for no more: the least loss first. Nothing here is done without being reported."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping

from shelfgap_edge.alerts.lanes import Entry


def choose_losses(
    waiting: Mapping[str, Iterable[Entry]], open_alerts: Container[str], count: int
) -> list[tuple[str, str]]:
    """Choose which deliveries to give up, so that some steps wait for no sink any more.

    First whole alerts that are over and of which a sink was told nothing yet, its first step still waiting there: who
    never heard of such an alert misses nothing that still matters. Then the oldest steps.

    Args:
        waiting: sink -> the steps that wait for it and may be given up, in any order.
        open_alerts: ids of the alerts that are not over.
        count: of steps to free; fewer are freed if fewer wait.

    Returns:
        Pairs of sink and key.
    """
    sinks: dict[str, set[str]] = defaultdict(set)
    entries: dict[str, Entry] = {}
    untold: set[tuple[str, str]] = set()
    for sink, those in waiting.items():
        for entry in those:
            sinks[entry.event.key].add(sink)
            entries[entry.event.key] = entry
            if entry.event.sequence == 1:
                untold.add((sink, entry.event.alert_id))
    steps: dict[str, list[str]] = defaultdict(list)
    oldest_first = sorted(entries, key=lambda key: entries[key].position)
    for key in oldest_first:
        steps[entries[key].event.alert_id].append(key)

    losses: list[tuple[str, str]] = []
    freed = 0
    for alert_id, keys in steps.items():
        if freed >= count:
            return losses
        if alert_id in open_alerts:
            continue
        for key in keys:
            gone = {sink for sink in sinks[key] if (sink, alert_id) in untold}
            losses += sorted((sink, key) for sink in gone)
            sinks[key] -= gone
            freed += not sinks[key]
    for key in oldest_first:
        if freed >= count:
            break
        if sinks[key]:
            losses += sorted((sink, key) for sink in sinks[key])
            freed += 1
    return losses
