"""How long to wait before the next try: exponential backoff with full jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass

from shelfgap_edge.toml_table import Table


@dataclass(frozen=True)
class Backoff:
    """Bounds of the waits.

    Attributes:
        base_s: upper end of the first wait.
        max_s: upper end of the longest.
    """

    base_s: float = 1.0
    max_s: float = 30.0

    @classmethod
    def from_table(cls, table: Table) -> Backoff:
        """Read `retry_base_s` and `retry_max_s` of a sink's table, which others read on."""
        base_s = table.number("retry_base_s", cls.base_s, low=0.01, high=3600)
        return cls(base_s, table.number("retry_max_s", max(cls.max_s, base_s), low=base_s, high=86400))

    def wait_s(self, attempts: int, rng: random.Random) -> float:
        """Draw the wait after so many failed tries in a row, from 0 to base * 2 ** (attempts - 1), at most max.

        Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ (full jitter).
        """
        return rng.uniform(0, min(self.max_s, self.base_s * 2.0 ** min(attempts - 1, 60)))
