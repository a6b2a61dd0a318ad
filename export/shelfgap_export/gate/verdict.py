"""Checks, and what they say together.

A candidate passes when every check that is judged passes. Those that rest on an interval (accuracy and latency against
the champion, the latency budget) pass at alpha each, which together is still alpha, since one check that rightly does
not pass is enough (intersection-union test; Berger 1982, doi:10.1080/00401706.1982.10487790). Floors, the loss to INT8,
size and memory pass by the value that was measured. It fails when any check fails; those that compare with the champion
share alpha for that (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shelfgap_export.gate.difference import Decision

Judgement = Literal["pass", "fail", "inconclusive", "not judged"]
Provided = Literal["it equals the champion", "the truth is what was measured"]
Kind = Literal["floor", "slice floor", "non-inferiority", "limit", "budget"]

_MOST_TIMES = 10  # what is there: nobody collects more than that for a fail


@dataclass(frozen=True)
class Needs:
    """The data that would decide a check with a power of 0.8, provided that something is so; or what would instead.

    Attributes:
        what: what more of it there would have to be.
        count: how many in all; None where no number can be told, or none that helps (see `needs_of`).
        images: in as many groups, if each has as many as now.
        provided: what must be so.
        remedy: what passes, where what was measured is on the wrong side of the bound: more data would then show that
            it fails.
    """

    what: Literal["groups", "pairs of processes"]
    count: int | None
    images: int | None
    provided: Provided
    remedy: str | None = None

    def text(self) -> str:
        """Say it in a sentence.

        >>> Needs("groups", 120, 360, "it equals the champion").text()
        'about 120 groups (360 pictures) would decide, if it equals the champion'
        >>> Needs("groups", 120, None, "the truth is what was measured", "a better detector").text()
        'about 120 groups would show that it fails, if the truth is what was measured; what passes is a better detector'
        >>> Needs("groups", None, None, "the truth is what was measured", "a better detector").text()
        'so near to the bound that more groups alone hardly decide it; what passes is a better detector'
        """
        images = "" if self.images is None else f" ({self.images:,} pictures)"
        if self.remedy is None:
            if self.count is None:
                return f"how many {self.what} would decide cannot be told"
            return f"about {self.count:,} {self.what}{images} would decide, if {self.provided}"
        told = f"so near to the bound that more {self.what} alone hardly decide it"
        if self.count is not None:
            told = f"about {self.count:,} {self.what}{images} would show that it fails, if {self.provided}"
        return f"{told}; what passes is {self.remedy}"


def needs_of(
    what: Literal["groups", "pairs of processes"],
    count: int | None,
    there: int,
    provided: Provided,
    *,
    images: int | None = None,
    remedy: str | None = None,
) -> Needs:
    """Return what an open check needs.

    A figure that lies just on the wrong side of its bound would take data without end to be told from it, for a fail
    if that is the truth: more than ten times what is there is no number to ask for.

    Args:
        what: see `Needs`.
        count: the same.
        there: how many there are now.
        provided: see `Needs`.
        images: pictures in those that are there now, if that is what they hold.
        remedy: see `Needs`.
    """
    if count is not None and remedy is not None and count > _MOST_TIMES * there:
        count = None
    pictures = None if count is None or images is None else round(count * images / there)
    return Needs(what, count, pictures, provided, remedy)


@dataclass(frozen=True)
class Check:
    """One condition, with its numbers; `value` is what is held against `bound`."""

    name: str
    kind: Kind
    verdict: Judgement
    reason: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    candidate: float | None = None
    champion: float | None = None
    needs: Needs | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, numbers to six digits."""
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


def verdict_of(checks: Sequence[Check]) -> Decision:
    """Return what checks say together."""
    said = {check.verdict for check in checks}
    return "fail" if "fail" in said else "inconclusive" if "inconclusive" in said else "pass"


def reason_of(checks: Sequence[Check], has_champion: bool) -> str:
    """Return one line: what failed, else what is open, else that everything holds."""
    verdict = verdict_of(checks)
    judged = [check for check in checks if check.verdict != "not judged"]
    if verdict == "pass":
        together = f"all {len(judged)} checks hold"
        return together if has_champion else f"{together}; there was no champion to compare with"
    told = [check.reason + _needs(check) for check in judged if check.verdict == verdict]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


def _needs(check: Check) -> str:
    return "" if check.needs is None or check.verdict != "inconclusive" else f" ({check.needs.text()})"
