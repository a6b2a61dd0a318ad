"""How much the outbox may hold: `[outbox]` of edge.toml."""

from __future__ import annotations

from dataclasses import dataclass

from shelfgap_edge.toml_table import Table


@dataclass(frozen=True)
class OutboxLimits:
    """Bounds of the outbox.

    Attributes:
        max_events: steps kept, delivered ones included.
        max_bytes: of the file, the states of the cameras aside. Steps take half of it at most, as text; the rest is for
            indexes.
        max_held: steps kept in memory alone while the disk takes none.
        state_interval_s: states that come without a step are written this often, to spare the flash of small devices.
    """

    max_events: int = 20_000
    max_bytes: int = 64 * 1024 * 1024
    max_held: int = 2_000
    state_interval_s: float = 60.0

    @classmethod
    def from_table(cls, table: Table) -> OutboxLimits:
        """Read `[outbox]`; what is left out has its default."""
        limits = cls(
            max_events=table.integer("max_events", cls.max_events, low=100, high=1_000_000),
            max_bytes=table.integer("max_bytes", cls.max_bytes, low=1024 * 1024, high=16 * 1024**3),
            max_held=table.integer("max_held", cls.max_held, low=100, high=100_000),
            state_interval_s=table.number("state_interval_s", cls.state_interval_s, low=0, high=600),
        )
        table.done()
        return limits
