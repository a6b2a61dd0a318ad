"""One update of a device at a time; a killed process holds no lock."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shelfgap_edge.errors import PullError


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock of a state folder.

    Raises:
        PullError: another process holds it.
    """
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PullError(f"{folder}: another pull is at work there; this one is not needed") from None
        yield
