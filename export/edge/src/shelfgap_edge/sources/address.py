"""Addresses that may hold a user, a password or a token: used in full, shown only as scheme, host and port."""

from __future__ import annotations

import os
from urllib.parse import SplitResult, unquote, urlsplit

from shelfgap_edge.private_file import read_private
from shelfgap_edge.toml_table import ConfigError, Table

_MAX_LENGTH = 4096


class Address:
    """A URL; its text form leaves out everything but scheme, host and port.

    >>> address = Address("rtsp://viewer:secret@camera.lan/stream?token=7")
    >>> str(address), address.user, address.host, address.port
    ('rtsp://camera.lan', 'viewer', 'camera.lan', None)
    """

    __slots__ = ("_parts",)

    def __init__(self, url: str) -> None:
        if len(url) > _MAX_LENGTH or not (url.isascii() and url.isprintable()) or " " in url:
            raise ValueError("no URL")
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:  # .port raises ValueError for what is no number
            raise ValueError("no URL with a host")
        parts.hostname.encode("idna")  # UnicodeError, a ValueError, for an empty or an overlong part of a name
        self._parts: SplitResult = parts

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port is not None else "")

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    @property
    def scheme(self) -> str:
        """The scheme, in lower case."""
        return self._parts.scheme

    @property
    def host(self) -> str:
        """The host, without brackets."""
        return self._parts.hostname or ""

    @property
    def port(self) -> int | None:
        """The port; None for that of the scheme."""
        return self._parts.port

    @property
    def user(self) -> str | None:
        """The user."""
        return None if self._parts.username is None else unquote(self._parts.username)

    def password(self) -> str | None:
        """Return the password."""
        return None if self._parts.password is None else unquote(self._parts.password)

    def target(self) -> str:
        """Return path and query, as an HTTP request names them."""
        return (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")

    def reveal(self) -> str:
        """Return the whole URL, for a library that takes it so."""
        return self._parts.geturl()

    @classmethod
    def from_table(cls, table: Table, schemes: tuple[str, ...]) -> Address:
        """Read `url`, or `url_env` / `url_file` that say where it stands if it holds a password.

        Raises:
            ConfigError: not exactly one of the three, no address of one of the schemes, a password in the file of
                settings, an unset variable, or a file that others may read. What was found is not told.
        """
        read = {"url": table.text, "url_env": table.text, "url_file": table.path}
        given = {key: value for key, value_of in read.items() if (value := value_of(key, None)) is not None}
        if len(given) != 1:
            raise ConfigError(
                f"{table.where}: expected one of url, url_env, url_file, got {' and '.join(given) or 'none'}"
            )
        key, value = next(iter(given.items()))
        if key == "url_env":
            text = _from_environment(value, table.where)
        elif key == "url_file":
            text = read_private(value, f"{table.where}: url_file").strip()
        else:
            text = value
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        try:
            address = cls(text)
        except ValueError:
            raise ConfigError(f"{table.where}: {key}: expected an address that begins with {expected}") from None
        if address.scheme not in schemes:
            raise ConfigError(f"{table.where}: {key}: expected an address that begins with {expected}")
        if key == "url" and (address.user is not None or address.password() is not None):
            raise ConfigError(
                f"{table.where}: url: no user or password here; put the whole address into a variable or a file and "
                "name it with url_env or url_file"
            )
        return address


def _from_environment(name: str, where: str) -> str:
    text = os.environ.get(name, "").strip()
    if not text:
        raise ConfigError(f"{where}: url_env: the environment variable {name} is not set")
    return text
