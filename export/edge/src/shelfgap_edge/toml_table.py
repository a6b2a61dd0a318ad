"""Read a table of a TOML file key by key; whatever is missing, of another type, out of range or unknown is named."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shelfgap_edge.errors import ShelfgapError


class ConfigError(ShelfgapError):
    """A configuration file cannot be read, or says something that cannot be."""


_REQUIRED: Any = object()


class Table:
    """A table; `done` after the last key refuses what nobody asked for.

    Args:
        values: as tomllib gives them.
        where: file and name of the table, for messages.
        folder: to which paths in it are relative.

    >>> table = Table({"port": 80}, "edge.toml: http")
    >>> table.integer("port", low=1, high=65535), table.text("host", "127.0.0.1")
    (80, '127.0.0.1')
    >>> table.done()
    """

    def __init__(self, values: Mapping[str, Any], where: str, folder: Path = Path()) -> None:
        self.where, self._folder = where, folder
        self._left = dict(values)
        self._asked: list[str] = []

    def text(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return a non-empty string, or the default."""
        value = self._take(key, str, "a string", default)
        if value is not default and (not value or "\0" in value):  # the system takes no NUL in any name
            raise self.wrong(key, "a string that is not empty and has no NUL", value)
        return value

    def path(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return a path, relative to the folder of the file unless it is absolute, or the default."""
        value = self.text(key, default)
        return value if value is default else self._folder / value

    def flag(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return true or false, or the default."""
        return self._take(key, bool, "true or false", default)

    def integer(self, key: str, default: Any = _REQUIRED, *, low: int, high: int) -> Any:
        """Return an integer in [low, high], or the default."""
        value = self._take(key, int, f"an integer from {low} to {high}", default)
        if value is not default and not low <= value <= high:
            raise self.wrong(key, f"an integer from {low} to {high}", value)
        return value

    def number(self, key: str, default: Any = _REQUIRED, *, low: float, high: float) -> Any:
        """Return a finite number in [low, high] as a float, or the default."""
        value = self._take(key, (int, float), f"a number from {low:g} to {high:g}", default)
        if value is default:
            return value
        if not low <= value <= high:  # nor is NaN, or an integer beyond any float
            raise self.wrong(key, f"a number from {low:g} to {high:g}", value)
        return float(value)

    def text_or_number(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return a string or a number, or the default; what it may be is the caller's to check."""
        return self._take(key, (str, int, float), "a string or a number", default)

    def choice(self, key: str, choices: tuple[str, ...], default: Any = _REQUIRED) -> Any:
        """Return one of some words, or the default."""
        value = self._take(key, str, " or ".join(choices), default)
        if value is not default and value not in choices:
            raise self.wrong(key, " or ".join(choices), value)
        return value

    def items(self, key: str, kind: type, default: Any = _REQUIRED) -> Any:
        """Return a list whose members are all of a type, or the default."""
        value = self._take(key, list, f"a list of {kind.__name__}", default)
        if value is not default and not all(isinstance(one, kind) for one in value):
            raise self.wrong(key, f"a list of {kind.__name__}", value)
        return value

    def table(self, key: str) -> Table:
        """Return a table inside this one; an empty one where it is left out."""
        return self._inner(self._take(key, dict, "a table", {}), key)

    def tables(self, key: str) -> list[Table]:
        """Return an array of tables, which may be left out."""
        listed = self.items(key, dict, [])
        return [self._inner(values, f"{key}[{number}]") for number, values in enumerate(listed)]

    def named(self, key: str) -> dict[str, Table]:
        """Return the tables of a table of tables by name."""
        inner = self._take(key, dict, "a table of tables", {})
        for name, values in inner.items():
            if not isinstance(values, dict):
                raise self.wrong(f"{key}.{name}", "a table", values)
        return {name: self._inner(values, f"{key}.{name}") for name, values in inner.items()}

    def done(self) -> None:
        """Refuse keys that nobody asked for.

        Raises:
            ConfigError: there is one.
        """
        if self._left:
            unknown = ", ".join(sorted(self._left))
            known = ", ".join(sorted(self._asked)) or "none"
            raise ConfigError(f"{self.where}: unknown {unknown}; known here: {known}")

    def wrong(self, key: str, expected: str, got: object) -> ConfigError:
        """Return the error for a value of this table."""
        return ConfigError(f"{self.where}: {key}: expected {expected}, got {got!r}")

    def _inner(self, values: Mapping[str, Any], name: str) -> Table:
        return Table(values, f"{self.where}.{name}", self._folder)

    def _take(self, key: str, kind: type | tuple[type, ...], expected: str, default: Any) -> Any:
        self._asked.append(key)
        if key not in self._left:
            if default is _REQUIRED:
                raise ConfigError(f"{self.where}: {key} is missing; expected {expected}")
            return default
        value = self._left.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, expected, value)
        return value


def read_toml(path: Path) -> Table:
    """Read a TOML file.

    Raises:
        ConfigError: it is not there, not readable or not TOML.
    """
    try:
        return Table(tomllib.loads(path.read_text(encoding="utf-8")), path.name, path.parent)
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8, not TOML, thousands of digits or of brackets
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
