"""The gate that a release rests on: a pass of exactly this model; for a promotion, against the present champion."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from shelfgap_edge.errors import ShelfgapError

from shelfgap_export.bundle import GATE_FILE


class PromotionError(ShelfgapError):
    """A version cannot become champion."""


@dataclass(frozen=True)
class GateRecord:
    """The gate that a promotion rests on.

    Attributes:
        sha256: of its gate.json, which the registry keeps.
        created_at: when it judged.
        reason: its line.
        champion: identity of what it compared with; None where there was nothing.
        dataset_sha256: of the annotations that it judged on.
    """

    sha256: str
    created_at: str
    reason: str
    champion: str | None
    dataset_sha256: str


def check_gate(content: bytes, identity: str, where: str) -> GateRecord:
    """Check that a gate.json is a pass of exactly this model.

    Args:
        content: of the file.
        identity: of the model.
        where: names it in messages.

    Raises:
        PromotionError: it is not; says why.
    """
    try:
        report: dict[str, Any] = json.loads(content)
        verdict, reason = report["verdict"], str(report["reason"])
        if not all(isinstance(check, dict) for check in report["checks"]):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PromotionError(f"{where}: its {GATE_FILE} is not the report of a gate; run: shelfgap gate") from None
    try:
        candidate, champion = report["candidate"]["identity"], report["champion"]
        record = GateRecord(
            sha256=hashlib.sha256(content).hexdigest(),
            created_at=str(report["created_at"]),
            reason=reason[:1000],
            champion=None if champion is None else str(champion["identity"]),
            dataset_sha256=str(report["dataset"]["sha256"]),
        )
    except (KeyError, TypeError):
        raise PromotionError(
            f"{where}: its {GATE_FILE} ({report.get('schema')}) does not say which model it judged, as those of "
            "earlier releases; judge it anew with: shelfgap gate"
        ) from None
    if candidate != identity:
        raise PromotionError(
            f"{where}: its {GATE_FILE} judged another model ({str(candidate)[:12]}...) than this one "
            f"({identity[:12]}...); judge this one with: shelfgap gate"
        )
    if verdict != "pass":
        raise PromotionError(f"{where}: the gate says {verdict}, only a pass is promoted or published: {reason}")
    return record


def check_compared(gate: GateRecord, champion: str | None, candidate: str, where: str) -> None:
    """Check that a gate compared with the present champion.

    Args:
        gate: of the candidate.
        champion: identity of the present champion's model; None where there is none, and nothing to compare with.
        candidate: identity of the model that was judged; the champion's own model needs no comparison.
        where: names the candidate in messages.

    Raises:
        PromotionError: it compared with something else, or with nothing.
    """
    if champion in (None, candidate, gate.champion):
        return
    against = "nothing" if gate.champion is None else f"model {gate.champion[:12]}..."
    raise PromotionError(
        f"{where}: its gate compared with {against}, the champion is model {champion[:12]}... now; get both with "
        "`shelfgap registry fetch`, judge again with `shelfgap gate --candidate ... --champion ...`, and promote with "
        "--gate gate/gate.json"
    )
