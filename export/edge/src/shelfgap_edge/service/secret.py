"""Files that only the service's user may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from shelfgap_edge.toml_table import ConfigError


def check_private(path: Path, where: str) -> None:
    """Refuse a file that group or others can read or write.

    Args:
        path: the file.
        where: file and key that name it, for messages.

    Raises:
        ConfigError: it is open to others, of another user, or not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"{where}: {path}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{where}: {path}: not a file")
    if found.st_mode & 0o077:
        raise ConfigError(
            f"{where}: {path}: its mode is {stat.S_IMODE(found.st_mode):04o}, expected 0600 or 0400; "
            f"run chmod 600 {path}"
        )
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{where}: {path}: belongs to user {found.st_uid}, expected {os.geteuid()} or root")


def read_private(path: Path, where: str) -> str:
    """Return the text of a file that is closed to others.

    Raises:
        ConfigError: as `check_private`, or it is not UTF-8.
    """
    check_private(path, where)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
