"""What a device runs and knows, read from its state folder without any network."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from shelfgap_edge.errors import PullError
from shelfgap_edge.pull.accept import is_expired, kept_index
from shelfgap_edge.pull.installation import Installation


def device_status(state: Path, clock: datetime) -> dict[str, Any]:
    """Return the status as a JSON-ready dict.

    Args:
        state: the state folder.
        clock: time in UTC.

    Returns:
        `bundle` (where it runs from), `slot`, `release`, `version`, `intact` (None where nothing runs),
        `highest_release`, `trial`, `failed` by release, `gathered_bytes` of an unfinished update, and `index`:
        product, number, issued_at, expires_at, expired, withdrawn (whether what runs was); None before the first.

    Raises:
        PullError: no such folder, or what it remembers was spoilt.
    """
    if not state.is_dir():
        raise PullError(f"{state}: no such state folder; nothing was pulled there yet")
    here = Installation(state)
    running, index = here.running(), kept_index(state)
    known = None if running is None or index is None else index.release(running.release)
    return {
        "bundle": None if running is None else str(here.slots.current_path),
        "slot": here.slots.current(),
        "release": None if running is None else running.release,
        "version": None if running is None else running.version,
        "intact": None if running is None else here.is_intact(),
        "highest_release": here.state.highest_release,
        "trial": None if here.state.trial is None else here.state.slots[here.state.trial.slot].release,
        "failed": {
            str(number): {"version": failure.version, "reason": failure.reason, "at": failure.at}
            for number, failure in here.state.failed.items()
        },
        "gathered_bytes": sum(_size(path) for path in (state / "store").glob("*")),
        "index": None
        if index is None
        else {
            "product": index.product,
            "number": index.number,
            "issued_at": index.issued_at.isoformat(),
            "expires_at": index.expires_at.isoformat(),
            "expired": is_expired(index, clock),
            "withdrawn": known is not None and known.withdrawn_at is not None,
        },
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a pull that is at work has moved it
        return 0
