"""What keeps the service from its work: a kind, for which the page has words, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TroubleKind = Literal["worker-ended", "worker-stuck", "stopping", "outbox", "undelivered"]

_REASONS: Mapping[TroubleKind, str] = {
    "worker-ended": "the worker has ended",
    "worker-stuck": "the worker shows no sign of life for {} s",
    "stopping": "the service stops",
    "outbox": "the outbox cannot be written: {}",
    "undelivered": "alerts are not sent: the system allows no more threads",
}


@dataclass(frozen=True)
class Trouble:
    """One thing that keeps the service from its work; as a text, the reason that `/readyz` gives.

    >>> str(Trouble("outbox", "disk full"))
    'the outbox cannot be written: disk full'
    """

    kind: TroubleKind
    detail: str = ""

    def __str__(self) -> str:
        return _REASONS[self.kind].format(self.detail)
