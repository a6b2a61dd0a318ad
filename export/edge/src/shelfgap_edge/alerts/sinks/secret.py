"""Secrets of sinks: from the environment or from a file that only its owner can read; never shown."""

from __future__ import annotations

import os
from collections.abc import Mapping

from shelfgap_edge.private_file import read_private
from shelfgap_edge.toml_table import ConfigError, Table


class Secret:
    """A text that neither repr, str, a log nor an error shows.

    >>> Secret("hunter2")
    Secret(...)
    >>> Secret("hunter2").reveal()
    'hunter2'
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret(...)"

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text


def read_secret(table: Table, name: str, environment: Mapping[str, str] | None = None) -> Secret | None:
    """Read a secret from where `<name>_env` or `<name>_file` points; None if neither is given.

    Args:
        table: of edge.toml.
        name: of the secret.
        environment: None for that of the process.

    Raises:
        ConfigError: both are given, the variable is not set, or the file is not readable, empty, or open to others.
    """
    variable, file = table.text(f"{name}_env", None), table.path(f"{name}_file", None)
    if variable is not None and file is not None:
        raise ConfigError(f"{table.where}: {name}_env and {name}_file: expected one of them, got both")
    if variable is not None:
        text = (os.environ if environment is None else environment).get(variable, "").strip()
        if not text:
            raise ConfigError(f"{table.where}: {name}_env: the environment variable {variable} is not set")
        return Secret(text)
    if file is not None:
        return Secret(read_private(file, f"{table.where}: {name}_file").strip())
    return None


def require_secret(table: Table, name: str) -> Secret:
    """Read a secret that must be there.

    Raises:
        ConfigError: as `read_secret`, and if it is left out.
    """
    secret = read_secret(table, name)
    if secret is None:
        raise ConfigError(
            f"{table.where}: {name}_env or {name}_file is missing; secrets do not stand in the configuration itself"
        )
    return secret
