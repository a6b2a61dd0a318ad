"""What waits for one sink: a lane for each zone, of which only the oldest step may be sent."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from shelfgap_edge.alerts.event import AlertEvent

Lane = tuple[str, str | None]


@dataclass(order=True, slots=True)
class Entry:
    """A step that waits.

    Attributes:
        position: number of the step in the outbox; later ones are higher.
        event: the step.
        attempts: how often it was tried since the service started.
        due: not to be tried before, on the clock of who tries.
    """

    position: int
    event: AlertEvent = field(compare=False)
    attempts: int = field(default=0, compare=False)
    due: float = field(default=-math.inf, compare=False)


class Lanes:
    """The steps that wait for one sink, by camera and zone."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, list[Entry]] = {}
        self._lane_of: dict[str, Lane] = {}

    def __len__(self) -> int:
        return len(self._lane_of)

    def __contains__(self, key: str) -> bool:
        return key in self._lane_of

    def __iter__(self) -> Iterator[Entry]:
        """All that waits, oldest first."""
        return iter(sorted(entry for lane in self._lanes.values() for entry in lane))

    def add(self, position: int, event: AlertEvent) -> None:
        """Put a step into its lane, at the place that its position gives it."""
        lane = (event.camera_id, event.zone)
        insort(self._lanes.setdefault(lane, []), Entry(position, event))
        self._lane_of[event.key] = lane

    def remove(self, key: str) -> Entry | None:
        """Take a step out; None if it does not wait here (any more)."""
        lane = self._lane_of.pop(key, None)
        if lane is None:
            return None
        entries = self._lanes[lane]
        found = next(entry for entry in entries if entry.event.key == key)
        entries.remove(found)
        if not entries:
            del self._lanes[lane]
        return found

    def postpone(self, key: str, due: float) -> None:
        """Note a failed try, and when the next one may be made; nothing if it does not wait here any more."""
        lane = self._lane_of.get(key)
        if lane is not None:
            entry = next(entry for entry in self._lanes[lane] if entry.event.key == key)
            entry.attempts += 1
            entry.due = due

    def next_due(self, now: float) -> Entry | None:
        """Return the head of a lane that may be tried now: the one that became due first, and of those the oldest."""
        heads = (lane[0] for lane in self._lanes.values())
        return min(
            (head for head in heads if head.due <= now), key=lambda head: (head.due, head.position), default=None
        )

    def next_due_at(self) -> float:
        """Return when the next try may be made; infinity if nothing waits."""
        return min((lane[0].due for lane in self._lanes.values()), default=math.inf)
