"""Files that only the service's user may read: keys, tokens, passwords."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from shelfgap_edge.toml_table import ConfigError

_LARGEST_BYTES = 1 << 20
_OF_OTHERS, _OF_OTHERS_BUT_TO_READ = 0o077, 0o037


def check_private(path: Path, where: str) -> None:
    """Refuse a file that group or others can read or write.

    A credential of systemd may seem to be open to its group: the mode then shows what an access list at most allows.

    Args:
        path: the file.
        where: file and key that name it, for messages.

    Raises:
        ConfigError: it is open to others, of another user, or not there.
    """
    try:
        _check(path.stat(), path, where)
    except OSError as error:
        raise ConfigError(f"{where}: {path}: {error.strerror}") from None


def read_private(path: Path, where: str) -> str:
    """Return the text of a file that is closed to others.

    Raises:
        ConfigError: as `check_private`; or it is empty, larger than a megabyte, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            _check(os.fstat(file.fileno()), path, where)
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{where}: {path}: {error.strerror}") from None
    if len(content) > _LARGEST_BYTES:
        raise ConfigError(f"{where}: {path}: larger than {_LARGEST_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: {path}: not UTF-8 text") from None
    if not text.strip():
        raise ConfigError(f"{where}: {path}: empty")
    return text


def _check(found: os.stat_result, path: Path, where: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{where}: {path}: not a file")
    if found.st_mode & (_OF_OTHERS_BUT_TO_READ if _is_credential(path) else _OF_OTHERS):
        raise ConfigError(
            f"{where}: {path}: its mode is {stat.S_IMODE(found.st_mode):04o}, expected 0600 or 0400; "
            f"run chmod 600 {path}"
        )
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{where}: {path}: belongs to user {found.st_uid}, expected {os.geteuid()} or root")


def _is_credential(path: Path) -> bool:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and path.resolve().parent == Path(str(folder)).resolve()
