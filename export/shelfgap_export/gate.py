"""The gate: floors that a candidate must reach on images it was never trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shelfgap_export.params import GateParams


@dataclass(frozen=True)
class Check:
    """One condition: the value, the bound and whether it holds; a value of None never does."""

    name: str
    value: float | None
    bound: float
    rule: Literal["at least", "at most"]
    passed: bool


@dataclass(frozen=True)
class Verdict:
    """Pass when every check holds."""

    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        """The verdict as one word."""
        return "pass" if all(check.passed for check in self.checks) else "fail"

    @property
    def reason(self) -> str:
        """One line: what failed, or that nothing did."""
        failed = [c for c in self.checks if not c.passed]
        if not failed:
            return f"all {len(self.checks)} checks hold"
        return "; ".join(
            f"{c.name} is {'unknown' if c.value is None else format(c.value, '.4f')}, must be {c.rule} {c.bound:g}"
            for c in failed
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what `gate.json` holds."""
        return {
            "schema": "shelfgap-gate/1",
            "verdict": self.verdict,
            "reason": self.reason,
            "checks": [asdict(check) for check in self.checks],
        }


def judge(int8: Mapping[str, Any], fp32: Mapping[str, Any], params: GateParams) -> Verdict:
    """Judge a candidate by its evaluation objects on the test split, one a precision."""

    def value_of(evaluation: Mapping[str, Any], name: str) -> float | None:
        value = evaluation[name]["value"]
        return None if value is None else float(value)

    floors = {"ap50": params.min_ap50, "recall": params.min_recall, "precision": params.min_precision}
    checks = []
    for name, floor in floors.items():
        value = value_of(int8, name)
        checks.append(Check(f"int8 {name}", value, floor, "at least", value is not None and value >= floor))
    before, after = value_of(fp32, "ap50"), value_of(int8, "ap50")
    loss = None if before is None or after is None else round(before - after, 6)
    bound = params.max_int8_ap50_loss
    checks.append(Check("ap50 lost to int8", loss, bound, "at most", loss is not None and loss <= bound))
    return Verdict(tuple(checks))
