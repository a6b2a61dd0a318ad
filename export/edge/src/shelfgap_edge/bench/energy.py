"""Energy of the processor packages, where the machine meters it (RAPL)."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Adds up the energy counters of the processor packages; they measure the machine, not one process.

    Args:
        root: where the kernel shows its counters.

    Attributes:
        absence: why there is no figure, in words; None where there is one.

    Source: https://docs.kernel.org/power/powercap/powercap.html
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self.absence: str | None = f"this machine shows no energy counter of its processors (RAPL, {root})"
        self._counters: dict[Path, tuple[int, int]] = {}  # zone -> where it wraps, last value; in microjoules
        for zone in sorted(root.glob("intel-rapl:*")):  # AMD's are called so too
            try:
                if (zone / "name").read_text().startswith("package"):  # others are parts of packages, or hold them
                    self._counters[zone] = (int((zone / "max_energy_range_uj").read_text()), _energy_uj(zone))
                    self.absence = None
            except (OSError, ValueError) as error:  # most systems let only root read them: a part would mislead
                self._give_up(error)
                return

    def joules(self) -> float | None:
        """Return what was used since the last call or the start; None where nothing is metered.

        A counter wraps in minutes to hours: ask more often than that.
        """
        used_uj = 0
        try:
            for zone, (wraps_at, before) in self._counters.items():
                now = _energy_uj(zone)
                used_uj += now - before if now >= before else wraps_at - before + now
                self._counters[zone] = (wraps_at, now)
        except (OSError, ValueError) as error:
            self._give_up(error)
        return used_uj / 1e6 if self._counters else None

    def _give_up(self, error: OSError | ValueError) -> None:
        self._counters = {}
        reason = getattr(error, "strerror", None) or "no number"
        self.absence = f"the energy counters of the processors cannot be read here ({reason}; most systems: root only)"


def _energy_uj(zone: Path) -> int:
    return int((zone / "energy_uj").read_text())
