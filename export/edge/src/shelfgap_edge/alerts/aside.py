"""Move a spoilt outbox out of the way, so that the service goes on and somebody may look at it later."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

KEPT = 3  # spoilt files, so that they do not fill the disk


def set_aside(path: Path) -> str:
    """Rename the file and its write-ahead log to `<name>.spoilt-<number>`; of older ones the last few stay.

    Returns:
        What was done, for a message.
    """
    older = sorted(path.parent.glob(f"{path.name}.spoilt-*[0-9]"), key=_number)
    number = _number(older[-1]) + 1 if older else 1
    aside = path.with_name(f"{path.name}.spoilt-{number}")
    log = path.with_name(f"{path.name}-wal")
    try:
        path.rename(aside)
    except FileNotFoundError:
        log.unlink(missing_ok=True)
        return "a new one is made"
    with suppress(FileNotFoundError):
        log.rename(aside.with_name(f"{aside.name}-wal"))
    for old in older[: 1 - KEPT]:
        old.unlink(missing_ok=True)
        old.with_name(f"{old.name}-wal").unlink(missing_ok=True)
    return f"it is set aside as {aside.name}, and a new one is made"


def _number(path: Path) -> int:
    text = path.name.rpartition("-")[2]
    return int(text) if text.isdigit() else 0
