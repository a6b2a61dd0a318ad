"""One at a time: a lock that a second process waits for, and that a killed one does not hold."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def hold(path: Path, holder: str) -> Iterator[None]:
    """Hold a lock file, after whoever has it; `holder` names that one while we wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("%s: waiting for %s", path.parent, holder)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
